"""Planners: pure functions from measured profiles and stated needs to a plan. None of them runs anything."""
