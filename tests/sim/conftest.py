"""Fixtures that simulated boards share."""

from tests.digits import digits, expected, images, rows, sets

__all__ = ["digits", "expected", "images", "rows", "sets"]
