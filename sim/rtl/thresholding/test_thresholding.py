"""thresholding equals the reference over foldings, counts of thresholds, signs and steps, at the interval it states."""

from typing import Any

import numpy as np
import pytest

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.runner import run_bench, wide_literal

CASES: dict[str, dict[str, Any]] = {
    "one threshold": {"Channels": 5, "Pe": 1, "Levels": 1, "OutWidth": 1},
    "bipolar": {"Channels": 4, "Pe": 2, "Levels": 1, "OutWidth": 2, "Step": 2},
    "three, in two groups": {"Channels": 6, "Pe": 3, "Levels": 2, "OutWidth": 2},
    "all channels at once": {"Channels": 4, "Pe": 4, "Levels": 3, "OutWidth": 4},
    "some channels fall": {"Channels": 6, "Pe": 2, "Levels": 4, "OutWidth": 4, "Step": None},
    "each channel's sense in its thresholds": {"Channels": 6, "Pe": 2, "Levels": 3, "OutWidth": 4, "Senses": 1},
    "255 thresholds": {"Channels": 3, "Pe": 1, "Levels": 8, "OutWidth": 8, "InWidth": 20, "ThresholdWidth": 21},
    "unsigned, wider than thresholds": {"InSigned": 0, "InWidth": 9, "ThresholdWidth": 6, "Channels": 2, "Pe": 1},
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str) -> None:
    base: dict[str, Any] = {"InWidth": 10, "InSigned": 1, "Levels": 2, "ThresholdWidth": 10, "OutWidth": 2, "Step": 1}
    parameters = base | CASES[case]
    rng = np.random.default_rng(5)
    channels, bits = parameters["Channels"], parameters["OutWidth"]
    step = parameters.pop("Step")
    steps = np.full(channels, step) if step is not None else rng.choice([-1, 1], channels)
    firsts = reference.random_values(rng, (channels,), bits, False)
    packed = {"First": reference.pack(firsts, bits), "Step": reference.pack(steps, bits)}
    literals = {name: wide_literal(value, channels * bits) for name, value in packed.items()}
    run_bench("thresholding", parameters | literals, settings={k.upper(): f"{v:x}" for k, v in packed.items()})
