"""Every check of a parameter in `hw/` stops the build, says what would be right and which values it found."""

import re
import subprocess

import pytest

from edgesight.sim.rtl.runner import RTL, missing_tools, tools_on_path

SERIAL = RTL.parent / "serial"
PACKAGES = [*sorted(RTL.glob("*_pkg.sv")), *sorted(SERIAL.glob("*_pkg.sv"))]

# Module, parameters that are wrong, and all that its check says.
REFUSED = [
    ("stream_fifo", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("stream_fifo", {"Depth": 0}, "Depth must be at least 1, but is 0"),
    ("slot_pool", {"Slots": 1}, "Slots must be at least 2, but is 1"),
    ("slot_pool", {"Givers": 0}, "Givers must be at least 1, but is 0"),
    ("frame_buffer", {"Readers": 0}, "Readers must be at least 1, but is 0"),
    ("block_fifo", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("block_fifo", {"Depth": 1}, "Depth must be at least 2, but is 1"),
    ("stream_gather", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("stream_gather", {"Parts": 1}, "Parts must be at least 2, but is 1"),
    ("stream_scatter", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("stream_scatter", {"Parts": 0}, "Parts must be at least 1, but is 0"),
    ("record_logits", {"Width": 33}, "Width must be 1 to 32, but is 33"),
    ("record_logits", {"Classes": 0}, "Classes must be at least 1, but is 0"),
    ("frame_buffer", {"Words": 1}, "Words must be at least 2, but is 1"),
    ("frame_input", {"PayloadBytes": 0}, "PayloadBytes must be at least 1, but is 0"),
    ("frame_input", {"Slots": 1}, "Slots must be at least 2, but is 1"),
    ("pixel_feeder", {"Channels": 9}, "Channels must be 1 to 8, but is 9"),
    ("pixel_feeder", {"Channels": 0}, "Channels must be 1 to 8, but is 0"),
    ("pixel_feeder", {"Pixels": 0}, "Pixels must be at least 1, but is 0"),
    ("margin", {"Classes": 0}, "Classes must be at least 1, but is 0"),
    ("margin", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("pipeline_output", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("stream_split", {"Parts": 0}, "Width and Parts must be at least 1, but are 8 and 0"),
    ("replay_buffer", {"Turns": 0}, "Width, Words and Turns must be at least 1, but are 8, 4 and 0"),
    ("group_pipeline", {"OutWidth": 0},
     "Groups, InWidth, OutWidth and Latency must be at least 1, but are 2, 8, 0 and 1"),
    ("thresholding", {"Pe": 3}, "Pe must divide Channels, but they are 3 and 4"),
    ("rescale", {"Pe": 3}, "Pe must divide Channels, but they are 3 and 4"),
    ("thresholding", {"Levels": 17}, "Levels must be 1 to 16, but is 17"),
    ("thresholding", {"ThresholdWidth": 0}, "ThresholdWidth must be at least 1, but is 0"),
    ("rescale", {"OffsetWidth": 0}, "MultiplierWidth and OffsetWidth must be at least 1, but are 2 and 0"),
    ("rescale", {"Round": 3}, "Round must be 0, 1 or 2, but is 3"),
    ("rescale", {"Low": 16}, "Low must not be above High, but they are 16 and 15"),
    ("stream_fork", {"Users": 0}, "Width and Users must be at least 1, but are 8 and 0"),
    ("stream_concat", {"Sources": 0}, "Sources and Width must be at least 1, but are 0 and 16"),
    ("stream_add", {"Values": 0}, "Values must be at least 1, but is 0"),
    ("upsample", {"ImgW": 0}, "Width, ImgW, FactorH and FactorW must be at least 1, but are 8, 0, 2 and 2"),
    ("sliding_window", {"Channels": 0}, "Channels and Width must be at least 1, but are 0 and 8"),
    ("sliding_window", {"Width": 0}, "Channels and Width must be at least 1, but are 1 and 0"),
    ("sliding_window", {"ImgH": 0, "PadTop": 4}, "ImgH and ImgW must be at least 1, but are 0 and 4"),
    ("sliding_window", {"ImgW": 0, "PadLeft": 4}, "ImgH and ImgW must be at least 1, but are 4 and 0"),
    ("sliding_window", {"Kernel": 0},
     "kernel, stride and dilation must be at least 1, but are 0 x 0, 1 x 1 and 1 x 1"),
    ("sliding_window", {"Stride": 0},
     "kernel, stride and dilation must be at least 1, but are 3 x 3, 0 x 0 and 1 x 1"),
    ("sliding_window", {"DilationW": 0},
     "kernel, stride and dilation must be at least 1, but are 3 x 3, 1 x 1 and 1 x 0"),
    ("sliding_window", {"ImgH": 2, "Kernel": 4, "PadTop": 1},
     "the window (4 x 4) is larger than the padded image (3 x 4)"),
    ("sliding_window", {"ImgW": 2, "Kernel": 4, "PadRight": 1},
     "the window (4 x 4) is larger than the padded image (4 x 3)"),
    ("runtime_memory", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("runtime_memory", {"Depth": 0}, "Depth must be 1 to 1048576, but is 0"),
    ("runtime_memory", {"Memory": 65536}, "Memory must be 0 to 65535, but is 65536"),
    ("weight_loader", {"Words": 0}, "Words must be at least 1, but is 0"),
    ("weight_loader", {"Settle": 0}, "Settle must be at least 1, but is 0"),
    ("window_memory", {"Turns": 0}, "Width, ImgH, ImgW and Turns must be at least 1, but are 8, 4, 4 and 0"),
    ("window_memory", {"ImgW": 0, "PadLeft": 4},
     "Width, ImgH, ImgW and Turns must be at least 1, but are 8, 4, 0 and 1"),
    ("window_memory", {"KernelH": 0},
     "kernel, stride and dilation must be at least 1, but are 0 x 3, 1 x 1 and 1 x 1"),
    ("window_memory", {"StrideW": 0},
     "kernel, stride and dilation must be at least 1, but are 3 x 3, 1 x 0 and 1 x 1"),
    ("window_memory", {"ImgH": 2}, "the window (3 x 3) is larger than the padded image (2 x 4)"),
    ("window_memory", {"Blocks": 3}, "Blocks must divide Channels, and SideBlocks Blocks, but they are 3, 4 and 1"),
    ("window_memory", {"SideBlocks": 2}, "Blocks must divide Channels, and SideBlocks Blocks, but they are 1, 4 and 2"),
    ("window_memory", {"Simd": 3}, "Simd must divide Channels / Blocks, but they are 3 and 4"),
    ("window_memory", {"Pixels": 10}, "Pixels must be at least 11, or no window would ever be whole, but is 10"),
    ("mvu", {"Pe": 3}, "Pe must divide Outputs, but they are 3 and 4"),
    ("mvu", {"Simd": 3}, "Simd must divide InLanes / Blocks, but they are 3 and 4"),
    ("mvu", {"Blocks": 3}, "Blocks must divide Outputs, and Blocks * Taps InLanes, but they are 3 and 4, 3 * 1 and 4"),
    ("mvu", {"Blocks": 2, "Outputs": 12, "InLanes": 8, "Pe": 4},
     "Pe must divide Outputs / Blocks or be a multiple of it, but they are 4 and 6"),
    ("mvu", {"Beats": 0}, "Beats, Outputs and InLanes must be at least 1, but are 0, 4 and 4"),
    ("mvu", {"InWidth": 0},
     "InWidth, WeightWidth, BiasWidth, AccWidth and OutWidth must be at least 1, but are 0, 4, 8, 16 and 4"),
    ("mvu", {"OutWidth": 0},
     "InWidth, WeightWidth, BiasWidth, AccWidth and OutWidth must be at least 1, but are 4, 4, 8, 16 and 0"),
    ("mvu", {"Agree": 1}, "InWidth and WeightWidth must be 1 where bits are to agree, but are 4 and 4"),
    ("dot_products", {"Agree": 1}, "InWidth and WeightWidth must be 1 where bits are to agree, but are 4 and 4"),
    ("dot_products", {"Multipliers": 4}, "Multipliers must be 0, 1, 2 or 3, but is 4"),
    ("dot_products", {"PackWidth": 1}, "PackWidth must be 2 to 64, but is 1"),
    ("dot_products", {"SideBlocks": 3}, "Simd must be at least 1, and SideBlocks divide Pe, but they are 2, 3 and 2"),
    ("mvu", {"BiasShift": 17}, "BiasShift must be 0 to AccWidth (16), but is 17"),
    ("mvu", {"Runtime": 1, "BiasShift": 1}, "with Runtime, BiasShift must be 0, but is 1"),
    ("mvu", {"Runtime": 1, "ShiftBits": 5}, "ShiftBits must be 0, or with Runtime and Saturate up to 4, but is 5"),
    ("mvu", {"Multipliers": 4}, "Multipliers must be 0, 1, 2 or 3, but is 4"),
    ("mvu", {"PackWidth": 65}, "PackWidth must be 2 to 64, but is 65"),
    ("mvu", {"Round": 3}, "Round must be 0, 1 or 2, but is 3"),
    ("weight_memory", {"Width": 0}, "Width must be at least 1, but is 0"),
    ("weight_memory", {"Depth": 0}, "Depth must be at least 1, but is 0"),
    ("stage_lane", {"Stage": 4}, "Stage must be 0 to 3, but is 4"),
    ("stage_lane", {"Classes": 65537}, "Classes must be 1 to 65536, but is 65537"),
    ("stage_lane", {"LogitBeats": 2}, "LogitBeats must divide Classes, and be 1 unless Serial, but is 2"),
    ("stage_lane", {"LogitBeats": 3, "Serial": 1}, "LogitBeats must divide Classes, and be 1 unless Serial, but is 3"),
    ("stage_lane", {"LogitWidth": 32},
     "LogitWidth must be 1 to 31, so that no margin reaches ThresholdNever, but is 32"),
    ("cascade", {"Stages": 0}, "Stages must be 1 to 4, but is 0"),
    ("cascade", {"Stages": 5}, "Stages must be 1 to 4, but is 5"),
    ("cascade", {"FromTrunk": 1}, "FromTrunk must not name stage 0, before which there is none, but is 1"),
    ("feature_gate", {"Beats": 0, "Depth": 2}, "Beats must be at least 1, but is 0"),
    ("feature_gate", {"Depth": 15},
     "Depth must be at least Beats, or a frame could never come to its verdict, but is 15"),
    ("soft_reset", {"Cycles": 0}, "Cycles must be at least 1, but is 0"),
    ("cascade", {"LogitsInRecord": 1},
     "only a network alone has its logits in the record, but there are 2 stages"),
    ("cascade", {"FrameSlots": 12}, "FrameSlots must be a power of two from 4 to 256, but is 12"),
    ("cascade", {"FrameSlots": 2}, "FrameSlots must be a power of two from 4 to 256, but is 2"),
    ("cascade", {"FrameSlots": 512}, "FrameSlots must be a power of two from 4 to 256, but is 512"),
    ("packet_fifo", {"Depth": 6}, "Depth must be a power of two from 2, but is 6"),
    ("packet_fifo", {"Depth": 1}, "Depth must be a power of two from 2, but is 1"),
    ("uart_rx", {"ClockHz": 1000, "Baud": 126}, "Baud must be 1 to ClockHz / 8 (125), but is 126"),
    ("uart_rx", {"Baud": 0}, "Baud must be 1 to ClockHz / 8 (12500000), but is 0"),
    ("uart_tx", {"ClockHz": 1000, "Baud": 501}, "Baud must be 1 to ClockHz / 2 (500), but is 501"),
    ("uart_tx", {"Baud": 0}, "Baud must be 1 to ClockHz / 2 (50000000), but is 0"),
]  # fmt: skip


def _lint(module: str, parameters: dict[str, int]) -> str:
    """What Verilator says of the module; fails where it takes it."""
    source = next(folder / f"{module}.sv" for folder in (RTL, SERIAL) if (folder / f"{module}.sv").exists())
    command = ["verilator", "--lint-only", "--quiet", "-Wno-lint", "-y", str(RTL), "-y", str(SERIAL)]
    command += ["--top-module", module, *(f"-G{name}={value}" for name, value in parameters.items())]
    with tools_on_path():
        lint = subprocess.run(
            [*command, *map(str, PACKAGES), str(source)], capture_output=True, text=True, check=False, timeout=120
        )
    assert lint.returncode != 0
    return lint.stderr


@pytest.mark.skipif(bool(missing_tools(("verilator", "perl"))), reason="verilator or perl not found")
@pytest.mark.parametrize(("module", "parameters", "message"), REFUSED)
def test_a_wrong_parameter_is_refused_with_its_value(module: str, parameters: dict[str, int], message: str) -> None:
    said = _lint(module, parameters)
    assert f"{module}: {message}" in said, said


@pytest.mark.skipif(bool(missing_tools(("verilator", "perl"))), reason="verilator or perl not found")
@pytest.mark.parametrize(("rows", "columns"), [(2, 5), (5, 2)])
def test_a_pooling_larger_than_its_image_is_refused_by_the_window_in_it(rows: int, columns: int) -> None:
    said = _lint("max_pool", {"ImgH": rows, "ImgW": columns, "Kernel": 3})
    assert f"sliding_window: the window (3 x 3) is larger than the padded image ({rows} x {columns})" in said, said


def test_the_table_has_every_check() -> None:
    for source in [*RTL.glob("*.sv"), *SERIAL.glob("*.sv")]:
        for said in re.findall(r'^    \$error\("([^"]+)"', source.read_text(), re.MULTILINE):
            pattern = re.sub(r"%0d", r"\\d+", re.escape(said).replace("%0d", "%0d"))
            assert any(re.fullmatch(pattern, f"{module}: {message}") for module, _, message in REFUSED), said


def test_every_check_prints_a_value() -> None:
    checks = [
        said
        for source in [*RTL.glob("*.sv"), *SERIAL.glob("*.sv")]
        for said in re.findall(r'^    \$error\("([^"]+)"', source.read_text(), re.MULTILINE)
    ]
    assert len(checks) > 25
    assert all("%0d" in said for said in checks)
