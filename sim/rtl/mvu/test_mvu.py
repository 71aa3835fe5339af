"""mvu equals the reference over folds, widths, signs, rounding modes and shifts, at the interval that it states."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.sim.rtl import reference
from edgesight.sim.rtl.runner import run_bench, wide_literal

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
    "half even, dense on a map": {"OutSigned": 1, "Round": 2, "Shift": 3, "Beats": 5, "Pe": 2, "Simd": 12},
    "identity into the accumulator": {"Shift": 0, "OutWidth": 14, "OutSigned": 1, "Beats": 3, "Pe": 6, "Simd": 2},
    "one of everything": {"InLanes": 1, "Outputs": 1, "Pe": 1, "Simd": 1, "Round": 1}
    | {"InWidth": 8, "WeightWidth": 8, "AccWidth": 18},
    "a vector a cycle, output wraps": {"Pe": 6, "Simd": 12, "Saturate": 0, "Round": 2, "OutWidth": 3, "OutSigned": 1},
    "shift left, single bits": {"WeightWidth": 1, "InWidth": 1, "Shift": -2, "OutWidth": 6, "OutSigned": 1}
    | {"Simd": 1, "Pe": 1, "Beats": 2},
    "shift beyond the accumulator": {"AccWidth": 12, "Shift": 14, "Round": 1, "OutSigned": 1, "InSigned": 1},
    "accumulator wraps": {"AccWidth": 7, "Shift": 1, "Round": 2, "OutWidth": 8, "OutSigned": 1, "BiasShift": 0},
    "many lanes": {"InLanes": 90, "Simd": 45, "Outputs": 4, "Pe": 4, "Beats": 2}
    | {"InWidth": 3, "AccWidth": 16, "Shift": 6},
    "depthwise, a channel at a time": {"InLanes": 54, "Outputs": 6, "Pe": 1, "Simd": 3, "Blocks": 6, "Taps": 9}
    | {"InSigned": 1, "OutSigned": 1},
    "depthwise, channels side by side": {"InLanes": 20, "Outputs": 8, "Pe": 4, "Simd": 5, "Blocks": 4, "Taps": 5},
    "groups, several outputs in turn": {"InLanes": 24, "Outputs": 12, "Pe": 2, "Simd": 4, "Blocks": 2, "Taps": 3},
    "groups side by side": {"InLanes": 24, "Outputs": 8, "Pe": 4, "Simd": 3, "Blocks": 4, "Taps": 2},
    "groups over a map": {"InLanes": 8, "Outputs": 8, "Pe": 2, "Simd": 2, "Blocks": 4, "Beats": 5, "Round": 2},
    "sliced": {"Sliced": 1},
    "sliced, one step a vector": {"Sliced": 1, "Pe": 6, "Simd": 12, "Beats": 2},
    "sliced, depthwise side by side": {"InLanes": 20, "Outputs": 8, "Pe": 4, "Simd": 5, "Blocks": 4, "Taps": 5}
    | {"Sliced": 1, "InSigned": 1, "OutSigned": 1},
    "sliced, groups in turn": {"InLanes": 24, "Outputs": 12, "Pe": 2, "Simd": 4, "Blocks": 2, "Taps": 3, "Sliced": 1},
    "bits agree": {"InWidth": 1, "WeightWidth": 1, "Agree": 1, "InLanes": 40, "Simd": 20, "Shift": 0, "Saturate": 0},
    "bits agree, few": {"InWidth": 1, "WeightWidth": 1, "Agree": 1, "Simd": 3, "Beats": 3},
    "two bits each": {"InWidth": 2, "WeightWidth": 2, "InLanes": 56, "Simd": 28, "Shift": 1},
    "two signed bits each": {"InWidth": 2, "WeightWidth": 2, "InSigned": 1, "OutSigned": 1, "Shift": 1},
    "a bit by three": {"InWidth": 1, "WeightWidth": 3, "InLanes": 14, "Simd": 7, "Shift": 0},
    "four signed bits by one": {"InWidth": 4, "WeightWidth": 1, "InSigned": 1, "OutSigned": 1, "Shift": 1},
    "packed, two to a factor": {"Multipliers": 3},
    "packed, three to a factor": {"Multipliers": 3, "WeightWidth": 3, "Pe": 6, "Simd": 6},
    "packed, one left over": {"Multipliers": 3, "Pe": 3, "Simd": 1, "Beats": 2},
    "packed, signed, four to a factor": {"Multipliers": 3, "PackWidth": 25, "WeightWidth": 3, "InWidth": 4, "Pe": 6}
    | {"InSigned": 1, "OutSigned": 1, "Simd": 12},
    "packed, signed, two to a factor": {"Multipliers": 3, "InSigned": 1, "OutSigned": 1, "Pe": 6, "Beats": 3},
    "packed, eight bits by three": {
        "Multipliers": 3,
        "InWidth": 8,
        "WeightWidth": 3,
        "AccWidth": 15,
        "Pe": 6,
        "Simd": 3,
    },
    "packed, groups side by side": {"InLanes": 24, "Outputs": 12, "Pe": 6, "Simd": 4, "Blocks": 2, "Taps": 3}
    | {"Multipliers": 3, "WeightWidth": 3, "InSigned": 1, "OutSigned": 1},
    "packed, nothing beside it": {"Multipliers": 3, "Pe": 1, "Simd": 12},
    "packed, too wide for two": {"Multipliers": 3, "InWidth": 9, "WeightWidth": 8, "AccWidth": 22, "Pe": 2},
    "wide inputs": {"InLanes": 2, "Outputs": 2, "Pe": 1, "Simd": 1, "InWidth": 30, "WeightWidth": 8, "InSigned": 1}
    | {"AccWidth": 40, "Shift": 0, "OutWidth": 40, "OutSigned": 1, "Saturate": 0},
}

# Where bias and rounding come from outside: shift and rounding mode, 0 down, 1 half up, 2 half to even.
RUNTIME: dict[str, tuple[int, int, dict[str, Any]]] = {
    "no shift": (0, 0, {}),
    "half even": (4, 2, {"Pe": 3, "Simd": 3}),
    "half up, signed": (3, 1, {"InSigned": 1, "OutSigned": 1, "Beats": 5, "Pe": 2, "Simd": 12}),
    "down, one lane a cycle": (2, 0, {"Pe": 1, "Simd": 1}),
    "one bit is left": (13, 2, {"InSigned": 1, "OutSigned": 1}),
    "more than there is": (15, 1, {"InSigned": 1, "OutSigned": 1, "Beats": 2}),
    "wider than the sum": (1, 2, {"AccWidth": 8, "OutWidth": 9, "OutSigned": 1, "ShiftBits": 3}),
    "a vector a cycle": (5, 2, {"Pe": 6, "Simd": 12}),
}

# The same layer at three foldings, from one multiplier to a vector a cycle but one beat.
FOLDS = [(1, 1), (3, 4), (6, 12)]


def _run(parameters: dict[str, Any], digest: Path | None = None, rounding: tuple[int, int] = (0, 0)) -> None:
    """Build with a random bias; with `digest`, the bench also writes there what the layer answered."""
    bias = reference.random_values(np.random.default_rng(7), (parameters["Outputs"],), parameters["BiasWidth"], True)
    word, bits = reference.pack(bias, parameters["BiasWidth"]), parameters["Outputs"] * parameters["BiasWidth"]
    settings = {"MVU_BIAS": f"{word:x}"} | ({"MVU_ANSWERS": str(digest)} if digest else {})
    settings |= {"MVU_SHIFT": str(rounding[0]), "MVU_ROUND": str(rounding[1])}
    run_bench("mvu", {**parameters, "Bias": wide_literal(word, bits)}, settings=settings)


@pytest.mark.parametrize("case", CASES)
def test_equals_reference(case: str) -> None:
    _run(BASE | CASES[case])


@pytest.mark.parametrize("case", RUNTIME)
def test_equals_reference_with_bias_and_rounding_from_outside(case: str) -> None:
    shift, rounding, changes = RUNTIME[case]
    _run(BASE | {"BiasShift": 0, "Shift": 0, "Runtime": 1, "ShiftBits": 4} | changes, rounding=(shift, rounding))


def test_sums_with_a_bias_from_outside_and_no_rounding() -> None:
    _run(BASE | {"BiasShift": 0, "Shift": 0, "Runtime": 1, "OutWidth": 14, "OutSigned": 1, "Saturate": 0, "Beats": 3})


def test_folding_does_not_change_answers(tmp_path: Path) -> None:
    answers = []
    for pe, simd in FOLDS:
        listed = tmp_path / f"{pe}x{simd}"
        _run(BASE | {"Beats": 2, "AccWidth": 15, "Pe": pe, "Simd": simd}, listed)
        answers.append(listed.read_text())
    assert answers[0]
    assert answers[1:] == answers[:1] * (len(FOLDS) - 1)
