"""Benches of the planners: our method, the authors', the exact one or a bound, and simple baselines, in one run."""
