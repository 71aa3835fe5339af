"""A workflow's operators on the workers of a Ray cluster: see `edgesight.host.workflow.run`."""
