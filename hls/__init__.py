"""From QONNX to a kernel: hls4ml with our `RTL` backend plugin, folding, and the kernel package."""

from __future__ import annotations

from edgesight.hls.build import read_report as read_report
