"""Which model and input size each client gets under a latency SLO (Jellyfish)."""
