"""max_pool equals the reference, signed and unsigned, padded, dilated, also where a stride leaves pixels over."""

import pytest

from edgesight.sim.rtl.runner import run_bench


@pytest.mark.parametrize(
    ("channels", "width", "signed", "height", "columns", "kernel", "stride"),
    [
        (3, 4, 0, 6, 8, 2, 2),
        (2, 5, 1, 7, 5, 2, 2),
        (3, 8, 1, 7, 9, 3, 2),
        (1, 1, 1, 5, 5, 3, 1),
        (4, 3, 0, 4, 4, 4, 4),
        (5, 2, 1, 3, 4, 1, 1),
    ],
)
def test_equals_reference(
    channels: int, width: int, signed: int, height: int, columns: int, kernel: int, stride: int
) -> None:
    run_bench(
        "max_pool",
        {
            "Channels": channels,
            "Width": width,
            "Signed": signed,
            "ImgH": height,
            "ImgW": columns,
            "Kernel": kernel,
            "Stride": stride,
        },
    )


@pytest.mark.parametrize(
    "parameters",
    [
        {
            "Signed": 1,
            "KernelH": 3,
            "KernelW": 2,
            "StrideH": 1,
            "StrideW": 2,
            "PadTop": 1,
            "PadBottom": 1,
            "PadRight": 1,
        },
        {"Signed": 1, "ImgH": 1, "ImgW": 15, "KernelH": 1, "KernelW": 3, "StrideH": 1, "PadLeft": 1, "PadRight": 1},
        {"Signed": 0, "KernelH": 2, "KernelW": 3, "DilationH": 3, "DilationW": 2, "StrideH": 1, "StrideW": 1},
    ],
    ids=["padded rectangle", "signal", "dilated"],
)
def test_equals_reference_by_axis(parameters: dict[str, int]) -> None:
    run_bench("max_pool", {"Channels": 2, "Width": 4, "ImgH": 6, "ImgW": 7, "Kernel": 2, "Stride": 2, **parameters})
