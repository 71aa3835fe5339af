"""One network over several nodes of a Ray cluster: see `edgesight.host.cluster.pipeline`."""
