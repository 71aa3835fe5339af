"""What the bench runs on: which device, with which versions, and what it draws.

Words owned here: meter.
"""

from __future__ import annotations

import asyncio
import importlib.metadata
import platform
from collections.abc import Coroutine
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, TypeVar

from edgesight.host.datacenter.executors.base import first_line
from edgesight.host.power.readings import DropOut, PowerSensor
from edgesight.host.power.sensors import NvmlSensor

_PACKAGES = ("torch", "torchvision", "triton", "onnxruntime-gpu", "onnxruntime", "tensorrt", "nvidia-ml-py", "numpy")

T = TypeVar("T")


def lacking() -> str | None:
    """Why there is no GPU to measure on; None where there is one."""
    try:
        import torch
    except ImportError:
        return "torch is not installed: `pip install 'edgesight[gpu]'`"
    if torch.version.cuda is None:
        return (
            f"PyTorch {torch.__version__} is built without CUDA: `pip install 'edgesight[gpu]'` on a machine with a GPU"
        )
    if not torch.cuda.is_available():
        return f"PyTorch {torch.__version__} finds no NVIDIA GPU here: look at `nvidia-smi`"
    return None


def told(device: str) -> dict[str, Any]:
    """The device's name, and what is known of it and of the libraries."""
    import torch

    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    found: dict[str, Any] = {"device": _processor(), "processor": _processor(), "versions": versions}
    if device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        found["device"] = properties.name
        found["memory_bytes"] = properties.total_memory
        found["compute_capability"] = f"{properties.major}.{properties.minor}"
        versions["cuda"] = str(torch.version.cuda)
        with suppress(Exception):  # whatever NVML raises: its version alone is unknown then
            nvml: Any = import_module("pynvml")
            nvml.nvmlInit()
            versions["driver"] = str(nvml.nvmlSystemGetDriverVersion())
    return found


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


class Meter:
    """Mean power of the GPU while something is done, by NVML; or why there is none."""

    def __init__(self, device: str) -> None:
        """Of PyTorch's first GPU, which need not be NVML's first."""
        self._sensor: PowerSensor | None = None
        self.lacking = ""
        if device != "cuda":
            self.lacking = "NVML knows of GPUs alone"
            return
        try:
            import torch

            nvml: Any = import_module("pynvml")
            nvml.nvmlInit()
            handle = nvml.nvmlDeviceGetHandleByUUID(f"GPU-{torch.cuda.get_device_properties(0).uuid}")
            self._sensor = NvmlSensor(nvml.nvmlDeviceGetIndex(handle))
        except Exception as error:  # whatever NVML raises: all else is measured without it
            self.lacking = first_line(error)

    @property
    def name(self) -> str | None:
        """The sensor's."""
        return None if self._sensor is None else self._sensor.name

    async def over(self, work: Coroutine[Any, Any, T]) -> tuple[T, float | None]:
        """What comes of `work`, and the mean power meanwhile in watts, None where it is not known."""
        task = asyncio.get_running_loop().create_task(work)
        joules = seconds = 0.0
        self._read()  # where NVML counts energy, it is counted from here
        try:
            while not task.done():
                await asyncio.wait([task], timeout=self._sensor.update_seconds if self._sensor is not None else None)
                watts, span = self._read()
                joules, seconds = joules + watts * span, seconds + span
        finally:
            task.cancel()
        return await task, joules / seconds if seconds else None

    def _read(self) -> tuple[float, float]:
        """Watts, and over how many seconds; 0.0: nothing new."""
        try:
            reading = self._sensor.read() if self._sensor is not None else None
        except DropOut:
            reading = None
        return (0.0, 0.0) if reading is None else (reading.watts, reading.span)
