"""Calibrations that tell themselves apart by the confidence of their answers."""

from __future__ import annotations

from edgesight.host.kernel import Calibration, ConfidenceCurve
from tests.host.by_hand import calibration


def telling(known: Calibration, said: float, ways: list[float]) -> Calibration:
    """`known`, each target with its confidence parameter from `ways`; whatever it answers has confidence `said`."""
    targets = []
    for index, (target, way) in enumerate(zip(known.targets, ways, strict=True)):
        curve = ConfidenceCurve(margins=[0], confidences=[said], expected_calibration_error=0.0)
        changed = {
            "confidence": way,
            "set_index": index,
            "thresholds": [one.threshold(way) for one in known.curves],
            "curves": [curve] * len(target.curves),
            "backend_confidences": [said] * len(known.buckets),
        }
        targets.append(target.model_copy(update=changed))
    return Calibration.model_validate(known.model_copy(update={"targets": targets}).model_dump())


def many(count: int, offset: int, said: float, step: int = 100) -> Calibration:
    """`count` targets for the kernel by hand, no thresholds of which are those of another `offset`."""
    known = calibration()
    steps = [offset + step * (index + 1) for index in range(count)]
    ways = [0.5 + index / 100 for index in range(count)]
    curve = ConfidenceCurve(margins=[0, *steps], confidences=[0.0, *ways], expected_calibration_error=0.0)
    first = known.targets[0]
    targets = [first.model_copy(update={"accuracy": way, "lower_bound": way}) for way in ways]
    return telling(known.model_copy(update={"curves": [curve, curve], "targets": targets}), said, ways)
