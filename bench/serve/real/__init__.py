"""Systems under load for real, between processes of this machine, and the simulator against them."""
