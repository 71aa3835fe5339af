"""mvu equals the reference over folds, widths, signs, rounding modes and shifts, at the interval that it states."""

from typing import Any

import numpy as np
import pytest

from sim import reference
from sim.bench import run_bench, wide_literal

BASE: dict[str, Any] = {
    "InLanes": 12,
    "InWidth": 4,
    "InSigned": 0,
    "Beats": 1,
    "Outputs": 6,
    "Pe": 2,
    "Simd": 4,
    "WeightWidth": 4,
    "AccWidth": 14,
    "BiasWidth": 6,
    "BiasShift": 3,
    "OutWidth": 5,
    "OutSigned": 0,
    "Shift": 4,
    "Round": 0,
    "Saturate": 1,
}

CASES: dict[str, dict[str, Any]] = {
    "relu": {},
    "half up, signed": {"InSigned": 1, "OutSigned": 1, "Round": 1, "Pe": 3, "Simd": 3},
    "half even, signed, dense on a map": {"OutSigned": 1, "Round": 2, "Shift": 3, "Beats": 5, "Pe": 2, "Simd": 12},
    "identity into the accumulator": {"Shift": 0, "OutWidth": 14, "OutSigned": 1, "Beats": 3, "Pe": 6, "Simd": 2},
    "one of everything": {"InLanes": 1, "Outputs": 1, "Pe": 1, "Simd": 1, "Round": 1, "InWidth": 8, "WeightWidth": 8, "AccWidth": 18},
    "a vector a cycle, one level wraps": {"Pe": 6, "Simd": 12, "Saturate": 0, "Round": 2, "OutWidth": 3, "OutSigned": 1},
    "shift left, binary weights": {"WeightWidth": 1, "InWidth": 1, "Shift": -2, "OutWidth": 6, "OutSigned": 1, "Simd": 1, "Pe": 1, "Beats": 2},
    "shift beyond the accumulator": {"AccWidth": 12, "Shift": 14, "Round": 1, "OutSigned": 1, "InSigned": 1},
    "accumulator wraps": {"AccWidth": 7, "Shift": 1, "Round": 2, "OutWidth": 8, "OutSigned": 1, "BiasShift": 0},
    "many lanes": {"InLanes": 90, "Simd": 45, "Outputs": 4, "Pe": 4, "InWidth": 3, "AccWidth": 16, "Shift": 6, "Beats": 2},
}  # fmt: skip


def _run(parameters: dict[str, Any], bias_seed: int = 7) -> None:
    bias = reference.random_values(
        np.random.default_rng(bias_seed), (parameters["Outputs"],), parameters["BiasWidth"], True
    )
    word, bits = reference.pack(bias, parameters["BiasWidth"]), parameters["Outputs"] * parameters["BiasWidth"]
    run_bench("mvu", {**parameters, "Bias": wide_literal(word, bits)}, settings={"MVU_BIAS": f"{word:x}"})


@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str) -> None:
    _run(BASE | CASES[case])
