"""rescale equals the reference over foldings, signs, rounding modes and shifts, at the interval it states."""

from typing import Any

import numpy as np
import pytest

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.runner import run_bench, wide_literal

CASES: dict[str, dict[str, Any]] = {
    "down": {"Round": 0},
    "half up, all at once": {"Round": 1, "Pe": 6, "Low": -8, "High": 7},
    "half to even, narrow": {"Round": 2, "Pe": 3, "Low": -7, "High": 7},
    "half to even, short shift": {"Round": 2, "Shift": 1, "Low": -127, "High": 127, "OutWidth": 8},
    "no shift": {"Round": 2, "Shift": 0, "OutWidth": 16, "Low": -30000, "High": 30000},
    "ones, unsigned": {"One": True, "InSigned": 0, "Shift": 6, "Round": 1, "Pe": 1},
    "minus ones, of a bit": {"One": True, "MultiplierWidth": 1, "Low": -8, "High": 7},  # 1'b1 is no 1
    "shift beyond the product": {"Shift": 24, "Round": 1, "Low": -1, "High": 1, "OutWidth": 2},
}


@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str) -> None:
    base: dict[str, Any] = {"Channels": 6, "Pe": 2, "InWidth": 10, "InSigned": 1, "MultiplierWidth": 7}
    base |= {"OffsetWidth": 12, "Shift": 9, "Round": 0, "OutWidth": 4, "Low": 0, "High": 15}
    parameters = base | CASES[case]
    rng, channels = np.random.default_rng(6), parameters["Channels"]
    ones = parameters.pop("One", False)
    drawn = reference.random_values(rng, (channels,), parameters["MultiplierWidth"], True)
    packed = {
        "Multiplier": reference.pack(np.ones(channels, np.int64) if ones else drawn, parameters["MultiplierWidth"]),
        "Offset": reference.pack(
            reference.random_values(rng, (channels,), parameters["OffsetWidth"], True), parameters["OffsetWidth"]
        ),
    }
    literals = {name: wide_literal(value, channels * parameters[f"{name}Width"]) for name, value in packed.items()}
    settings = {name.upper(): f"{value:x}" for name, value in packed.items()}
    run_bench("rescale", parameters | literals, settings=settings)
