"""The link's benches: beside other transports, under attack, under faults."""
