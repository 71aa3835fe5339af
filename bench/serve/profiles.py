"""A GPU's times, as `make bench-gpu` measured them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from edgesight.bench.serve.material import Profile
from edgesight.host.errors import EdgeSightError

_MOST_BYTES = 1 << 26
_AGAIN = "measure again with `make bench-gpu` on a machine with a GPU"


class ProfileError(EdgeSightError, ValueError):
    """A report that holds no times of a GPU: says what was found and what would be right."""


def gpu_profile(path: Path, most: int) -> tuple[Profile, str]:
    """The times of the fastest executor in full batches, for batches of 1 to `most`; and whose they are.

    Raises ProfileError.
    """
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ProfileError(f"{path} is too large for a report of GPUs: name another")
        report = json.loads(path.read_text())
        found = [
            (
                Profile(tuple(_seconds(model["batch_seconds"][str(size)]) for size in range(1, most + 1))),
                f"{model['executor']} on {report['device']}",
            )
            for model in report.get("models", [])
            if "batch_seconds" in model
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        if isinstance(error, ProfileError):
            raise
        raise ProfileError(f"{path} is no report of GPUs ({type(error).__name__}: {error}): {_AGAIN}") from error
    usable = [
        (one, whose)
        for one, whose in found
        if all(row and all(0.0 < seconds < math.inf for seconds in row) for row in one.seconds)
    ]
    if not usable:
        why = report.get("skipped") or "it holds no seconds by batch"
        raise ProfileError(f"{path} holds no times of a GPU ({why}): {_AGAIN}")
    best, whose = min(usable, key=lambda one: one[0].usual(most))
    return best, f"EfficientNet-Lite0, larger than these pictures' own back end, by {whose}"


def _seconds(row: Any) -> tuple[float, ...]:
    """Of a batch's runs; raises TypeError where they are no numbers."""
    if not isinstance(row, list) or not all(type(one) in (int, float) for one in row):
        raise TypeError("seconds of a batch are no list of numbers")
    return tuple(map(float, row))
