"""Profiles that are shipped: each is a file, and each number in it says how it was obtained."""
