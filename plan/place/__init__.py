"""One network over a cluster of small nodes (SEIFER)."""
