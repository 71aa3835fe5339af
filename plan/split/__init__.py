"""Where to cut a network between device and data centre, and where to stop (Edgent)."""
