"""Builds the cascade with stand-in stages for several frame shapes and runs its coroutines."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesight.sim.rtl.runner import RTL, run_bench

HERE = Path(__file__).parent
DEFAULTS = {"Classes": 4, "LogitsInRecord": 0, "FromTrunk": 0}
PACKAGES = [RTL / f"{name}_pkg.sv" for name in ("registers", "cascade", "weights")]
SOURCES = [*PACKAGES, HERE / "stub_stage.sv", HERE / "kernel.sv"]


@pytest.mark.parametrize(
    ("stages", "pixels", "channels"),
    [
        (2, 20, 1),  # half a word is left over
        (2, 20, 3),  # pixels lie across words, half a word is left over
        (2, 11, 3),  # the last pixel lies across words
        (2, 16, 1),  # whole words
        (1, 20, 1),
        (3, 11, 3),
        (4, 20, 1),
    ],
)
def test_cascade(stages: int, pixels: int, channels: int) -> None:
    run_bench(
        "kernel",
        {"Stages": stages, "Pixels": pixels, "Channels": channels, "Delay0": 3, "DelayLater": 60, **DEFAULTS},
        sources=SOURCES,
        bench="edgesight.sim.rtl.cascade.cascade_bench",
    )


@pytest.mark.parametrize(
    ("stages", "from_trunk", "depth"),
    [
        (2, 0b10, 1),  # one frame of features: no more than it must be
        (3, 0b110, 2),  # two exits and what follows them
        (3, 0b010, 4),  # the last stage begins at the pixels again; enough for full speed
    ],
)
def test_a_stage_goes_on_from_the_features_of_the_one_before(stages: int, from_trunk: int, depth: int) -> None:
    pixels = 12
    parameters = {"Stages": stages, "Pixels": pixels, "Channels": 3, "Delay0": 3, "DelayLater": 60}
    run_bench(
        "kernel",
        {**DEFAULTS, **parameters, "FromTrunk": from_trunk, "FeatureDepth": depth * pixels},
        sources=SOURCES,
        bench="edgesight.sim.rtl.cascade.cascade_bench",
    )


@pytest.mark.parametrize(
    ("pixels", "channels", "classes", "beats"),
    [
        (12, 3, 10, 1),
        (9, 20, 15, 5),  # a map of five pixels; pixels wider than a word of the buffer
        (1, 26, 7, 1),  # a flat input
    ],
)
def test_a_network_alone_says_its_logits(pixels: int, channels: int, classes: int, beats: int) -> None:
    shape = {"Pixels": pixels, "Channels": channels, "Classes": classes, "LogitBeats": beats}
    run_bench(
        "kernel",
        {"Stages": 1, "LogitsInRecord": 1, "FromTrunk": 0, **shape, "Delay0": 3, "DelayLater": 60},
        sources=SOURCES,
        bench="edgesight.sim.rtl.cascade.cascade_bench",
    )
