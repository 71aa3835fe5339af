"""Adaptation as it runs: frames of many clients behind the doors, and the client's side."""
