"""Models in replicas of Ray Serve on one machine or many: the engine for what is beyond one machine.

`app` is what is deployed: one deployment, whose replicas (`replica`) hold several models each. `engine` makes the
hosted versions (`hosted`) of the door, which asks replicas by `calls` and lets its callers take `turns`. Placing,
routing, batching, holding several models, autoscaling and replacing what is lost is Ray Serve's.
"""
