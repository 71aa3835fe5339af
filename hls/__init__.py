"""From QONNX to a kernel: hls4ml with our `RTL` backend plugin, folding, and the kernel package."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

from edgesight.hls.build_report import read_report as read_report


def register(register_backend: Callable[..., None], register_writer: Callable[..., None]) -> None:
    """Entry point `hls4ml.backends`: called by hls4ml when it is imported.

    Nothing is said where what compiles is not installed: whoever has the extra `sim` alone uses hls4ml's headers. The
    backend registers itself: where its own imports load hls4ml, it is not whole yet when this is called.
    """
    if find_spec("onnx") is not None and find_spec("qonnx") is not None:
        import edgesight.hls.backend  # noqa: F401
