"""Plans, executed: see `edgesight.bench.cluster.bench`."""
