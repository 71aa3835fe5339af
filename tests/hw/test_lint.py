"""Every module of `hw/rtl` and `hw/serial` is clean under Verilator's lint with all warnings, as a top of its own; so
are the tops of open boards."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from edgesight.sim.rtl.runner import ROOT, RTL, missing_tools, tools_on_path

SERIAL = RTL.parent / "serial"
PACKAGES = [*sorted(RTL.glob("*_pkg.sv")), *sorted(SERIAL.glob("*_pkg.sv"))]
MODULES = sorted({*RTL.glob("*.sv"), *SERIAL.glob("*.sv")} - set(PACKAGES))

KERNEL = ("stub_stage", "kernel")

pytestmark = pytest.mark.skipif(bool(missing_tools(("verilator", "perl"))), reason="verilator or perl not found")


def test_there_are_modules() -> None:
    assert MODULES


def _lint(module: Path, parameters: dict[str, int], beside: Sequence[Path] = ()) -> None:
    files = [str(path) for path in [RTL.parent / "lint.vlt", *PACKAGES, *beside, module]]
    values = [f"-G{name}={value}" for name, value in parameters.items()]
    command = ["verilator", "--lint-only", "-Wall", "--quiet", "-y", str(RTL), "-y", str(SERIAL)]
    command += ["--top-module", module.stem]
    with tools_on_path():
        lint = subprocess.run([*command, *values, *files], capture_output=True, text=True, check=False)
    assert lint.returncode == 0, lint.stderr
    assert "%Warning" not in lint.stderr, lint.stderr


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_lint_is_clean(module: Path) -> None:
    _lint(module, {})


@pytest.mark.parametrize(
    ("module", "parameters"),
    [
        ("stream_fifo", {"Width": 1, "Depth": 1}),
        ("sliding_window", {"Kernel": 1, "Stride": 2}),
        ("sliding_window", {"Kernel": 2, "PadTop": 1, "PadRight": 1}),
        ("sliding_window", {"Kernel": 5, "ImgH": 5, "ImgW": 5, "Channels": 3, "Width": 2}),
        ("sliding_window", {"Kernel": 2, "ImgW": 1, "PadRight": 1, "Channels": 3}),
        ("max_pool", {"Kernel": 3, "Stride": 1, "Signed": 1, "Width": 1, "Channels": 3}),
        ("mvu", {"InLanes": 1, "Outputs": 1, "Pe": 1, "Simd": 1, "Shift": 0, "OutWidth": 16, "OutSigned": 1}),
        ("mvu", {"InLanes": 18, "Simd": 9, "Outputs": 3, "Pe": 1, "Shift": 20, "Round": 2, "Beats": 3, "InWidth": 1}),
        ("mvu", {"Multipliers": 1, "InSigned": 1, "Simd": 4}),
        ("mvu", {"Multipliers": 2, "WeightWidth": 8}),
        ("mvu", {"Multipliers": 3, "Outputs": 12, "Pe": 3, "InLanes": 5, "Simd": 5, "WeightWidth": 3}),
        ("mvu", {"Multipliers": 3, "Pe": 4, "InSigned": 1, "PackWidth": 25}),
        ("mvu", {"Pe": 4, "Simd": 4, "Shift": -2, "Round": 1, "Saturate": 0, "WeightWidth": 1, "InSigned": 1}),
        ("sliding_window", {"KernelH": 1, "KernelW": 3, "ImgH": 1, "ImgW": 9, "StrideW": 2, "PadLeft": 1}),
        ("sliding_window", {"KernelH": 3, "KernelW": 1, "DilationH": 2, "ImgH": 7, "StrideH": 4}),
        ("max_pool", {"Signed": 1, "KernelW": 3, "DilationW": 2, "ImgW": 9, "PadTop": 1, "PadRight": 1}),
        ("mvu", {"InLanes": 12, "Outputs": 8, "Pe": 4, "Simd": 1, "Blocks": 4, "Taps": 3}),
        (
            "mvu",
            {"InLanes": 12, "Outputs": 8, "Pe": 2, "Simd": 3, "Blocks": 2, "Taps": 3, "InWidth": 30} | {"AccWidth": 40},
        ),
        ("mvu", {"InLanes": 90, "Outputs": 10, "Pe": 1, "Simd": 1, "Blocks": 10, "Taps": 9, "Beats": 2}),
        ("thresholding", {"Channels": 1, "Pe": 1, "Levels": 1, "OutWidth": 1}),
        ("thresholding", {"Channels": 6, "Pe": 2, "Levels": 8, "OutWidth": 8, "InSigned": 0, "ThresholdWidth": 5}),
        ("rescale", {"Pe": 4, "Round": 2, "Shift": 0, "InSigned": 0}),
        ("rescale", {"Channels": 1, "Pe": 1, "Round": 1, "Shift": 40, "MultiplierWidth": 1, "OutWidth": 1}),
        ("stream_fork", {"Users": 1}),
        ("stream_add", {"Sources": 1, "Values": 1}),
        ("upsample", {"ImgW": 1, "FactorH": 1, "FactorW": 1}),
        ("margin", {"Classes": 2, "Width": 1}),
        ("margin", {"Classes": 1, "Serial": 1}),
        ("stage_lane", {"Serial": 1, "LogitBeats": 5, "Channels": 26}),
        ("cascade", {"Stages": 1}),
        ("cascade", {"Stages": 4}),
        ("cascade", {"Stages": 2, "FromTrunk": 2}),
        ("cascade", {"Stages": 3, "FromTrunk": 2}),
        ("stage_lane", {"Fed": 0}),
        ("feature_gate", {"Beats": 1}),
        ("cascade", {"Stages": 1, "LogitsInRecord": 1, "LogitBeats": 5, "Channels": 26, "Pixels": 1}),
        ("record_logits", {"Classes": 1, "Width": 32}),
        ("mvu", {"InLanes": 12, "Outputs": 8, "Pe": 4, "Simd": 1, "Blocks": 4, "Taps": 3, "Sliced": 1}),
        ("window_memory", {"Channels": 1, "Simd": 1, "ImgH": 1, "ImgW": 1, "KernelH": 1, "KernelW": 1, "Pixels": 1}),
        ("window_memory", {"Channels": 6, "Blocks": 6, "SideBlocks": 2, "Simd": 1, "PadTop": 1, "PadRight": 2}),
        ("window_memory", {"ImgH": 224, "ImgW": 224, "Channels": 64, "Pixels": 700, "StrideW": 2, "Turns": 3}),
        ("window_memory", {"Worded": 1, "Simd": 4}),
        ("mvu", {"InWidth": 1, "WeightWidth": 1, "Agree": 1, "InLanes": 40, "Simd": 20, "Shift": 0, "Saturate": 0}),
        ("mvu", {"InWidth": 2, "WeightWidth": 2, "InSigned": 1, "InLanes": 7, "Simd": 7}),
        ("replay_buffer", {"Turns": 1}),
        ("replay_buffer", {"Words": 1, "Turns": 3}),
        ("group_pipeline", {"Groups": 1}),
        ("weight_memory", {"Width": 1, "Depth": 1}),
        ("weight_memory", {"Width": 770, "Depth": 9}),
        ("runtime_memory", {"Width": 1, "Depth": 1}),
        ("runtime_memory", {"Width": 32, "Depth": 9}),
        ("runtime_memory", {"Width": 770, "Depth": 9, "Memory": 65535}),
        ("mvu", {"Runtime": 1}),
        ("mvu", {"Runtime": 1, "ShiftBits": 4, "InLanes": 18, "Simd": 9, "Outputs": 3, "Pe": 1, "OutSigned": 1}),
        (
            "mvu",
            {
                "Runtime": 1,
                "ShiftBits": 1,
                "AccWidth": 9,
                "OutWidth": 9,
                "InLanes": 1,
                "Outputs": 1,
                "Pe": 1,
                "Simd": 1,
            },
        ),
        ("thresholding", {"Channels": 6, "Pe": 2, "Levels": 3, "OutWidth": 3, "Senses": 1}),
        ("cascade", {"Stages": 2, "WeightsWords": 100}),
    ],
)
def test_lint_is_clean_at_the_edges_of_the_parameters(module: str, parameters: dict[str, int]) -> None:
    _lint(RTL / f"{module}.sv", parameters)


def test_lint_of_the_ulx3s_is_clean() -> None:
    # The cascade's stand-in for a kernel has the ports of a compiled one.
    stand_ins = [
        ROOT / "sim" / "ulx3s" / "EHXPLLL.sv",
        *(ROOT / "sim" / "rtl" / "cascade" / f"{name}.sv" for name in KERNEL),
    ]
    _lint(ROOT / "hw" / "boards" / "ulx3s" / "ulx3s_top.sv", {"FrameBytes": 20}, stand_ins)


def test_a_fold_that_does_not_divide_is_refused() -> None:
    with pytest.raises(AssertionError, match="Simd must divide InLanes"):
        _lint(RTL / "mvu.sv", {"Simd": 3})
