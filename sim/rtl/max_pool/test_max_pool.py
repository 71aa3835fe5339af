"""max_pool equals the reference, signed and unsigned, also where the image is no multiple of the stride."""

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
