"""A network cut between this device and a data centre, as a plan says: its pieces, and what runs them."""
