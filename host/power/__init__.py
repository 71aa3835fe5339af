"""Power and energy: sensors, energy an image above idle, and projections that say that they are some."""
