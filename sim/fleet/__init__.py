"""A fleet of edges and their data centre as a simulation by events, from measured profiles."""
