"""sliding_window equals the reference over kernels, strides, paddings and odd sizes, at the interval that it states."""

import pytest

from edgesight.sim.rtl.runner import run_bench

VALID = (0, 0, 0, 0)


@pytest.mark.parametrize(
    ("channels", "width", "height", "columns", "kernel", "stride", "pads"),
    [
        (3, 8, 5, 7, 1, 1, VALID),
        (1, 4, 7, 6, 1, 2, VALID),
        (2, 3, 6, 6, 2, 2, VALID),
        (3, 5, 5, 7, 2, 1, (0, 0, 1, 1)),
        (3, 8, 7, 5, 3, 1, (1, 1, 1, 1)),
        (1, 1, 9, 6, 3, 2, VALID),
        (4, 4, 8, 8, 3, 2, (0, 0, 1, 1)),
        (3, 2, 7, 9, 5, 1, (2, 2, 2, 2)),
        (3, 8, 11, 10, 5, 2, (2, 1, 2, 2)),
        (2, 4, 6, 1, 2, 1, (0, 0, 0, 1)),
        (2, 4, 3, 3, 3, 1, VALID),
        (1, 8, 6, 5, 2, 3, VALID),
        (1, 6, 4, 1, 1, 1, VALID),
    ],
)
def test_equals_reference(
    channels: int, width: int, height: int, columns: int, kernel: int, stride: int, pads: tuple[int, int, int, int]
) -> None:
    top, left, bottom, right = pads
    run_bench(
        "sliding_window",
        {
            "Channels": channels,
            "Width": width,
            "ImgH": height,
            "ImgW": columns,
            "Kernel": kernel,
            "Stride": stride,
            "PadTop": top,
            "PadLeft": left,
            "PadBottom": bottom,
            "PadRight": right,
        },
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {"ImgH": 6, "ImgW": 7, "KernelH": 2, "KernelW": 3, "StrideH": 3, "StrideW": 1, "Channels": 2, "PadTop": 1},
        {"ImgH": 1, "ImgW": 17, "KernelH": 1, "KernelW": 5, "StrideW": 2, "Channels": 3, "PadLeft": 2, "PadRight": 1},
        {"ImgH": 9, "ImgW": 5, "KernelH": 4, "KernelW": 1, "StrideH": 4, "StrideW": 2, "Width": 3},
        {
            "ImgH": 8,
            "ImgW": 9,
            "Kernel": 3,
            "DilationH": 2,
            "DilationW": 3,
            "PadLeft": 2,
            "PadBottom": 1,
            "Channels": 2,
        },
        {"ImgH": 5, "ImgW": 8, "KernelH": 2, "KernelW": 2, "DilationH": 4, "StrideH": 1, "StrideW": 4, "PadValue": 200},
        {"ImgH": 4, "ImgW": 3, "Kernel": 1, "PadTop": 2, "PadLeft": 1, "PadRight": 1},  # windows of padding alone
    ],
    ids=["rectangle", "signal", "column", "dilated", "pad value", "padding alone"],
)
def test_equals_reference_by_axis(parameters: dict[str, int]) -> None:
    run_bench("sliding_window", {"Channels": 1, "Width": 8, "Kernel": 2, "Stride": 1, **parameters})
