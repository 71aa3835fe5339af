"""Who measures us: the benches, the demo and the verification, with their reports and pictures."""
