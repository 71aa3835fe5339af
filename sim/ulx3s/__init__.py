"""The whole ULX3S top in simulation, driven at its pins by the same host code that drives a board.

What is simulated is everything that goes into the bitstream but the PLL: serial line at its real baud rate, packets,
kernel. Words owned here: pins, noise (what a test does to the line on purpose).
"""

from __future__ import annotations

import importlib.util
import subprocess
import tempfile
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesight.host.errors import EdgeSightError
from edgesight.host.fabric.base import Images, Records
from edgesight.host.package import RTL, Package
from edgesight.sim.rtl.runner import ROOT, missing_tools, run_bench

SERIAL = ROOT / "hw" / "serial"
BOARD = ROOT / "hw" / "boards" / "ulx3s"
HERE = Path(__file__).resolve().parent
PYTHON_NEEDS = ("cocotb", "pytest")  # beside what `missing_tools` looks for


class PinSimulationError(EdgeSightError):
    """The simulation cannot run or did not end as it should: says what is missing or what failed."""


def answers_at_pins(
    package: Package, images: Images, rows: list[list[int]], sets: npt.NDArray[np.uint8], *, noise: float = 0.0
) -> Records:
    """Records [N] of images uint8 [N, H, W, C], each under its threshold set [N], through the simulated board's pins.

    `rows`: what the first rows of the threshold table are set to. `noise`: probability that a packet to the board is
    lost, damaged or has garbage before it, and that one from the board is damaged; the host has to get by.
    Every test of `edgesight.sim.ulx3s.ulx3s_bench` runs. Raises PinSimulationError if a tool is missing, the build
    fails or a
    test does.
    """
    absent = [*missing_tools(), *(name for name in PYTHON_NEEDS if importlib.util.find_spec(name) is None)]
    if absent:
        raise PinSimulationError(
            f"not found: {', '.join(absent)}: simulating the board needs g++, make and perl, and "
            "`pip install 'edgesight[sim,dev]'`"
        )
    with tempfile.TemporaryDirectory(prefix="edgesight-ulx3s-") as scratch:
        asked, answered = Path(scratch) / "asked.npz", Path(scratch) / "answered.npy"
        np.savez(asked, images=images, rows=np.array(rows, np.uint32), sets=sets)
        packages = sorted(SERIAL.glob("*_pkg.sv"))
        try:
            run_bench(
                "ulx3s_top",
                {"FrameBytes": package.kernel.input.frame_bytes, "RecordBeats": package.kernel.record_beats},
                sources=[*packages, HERE / "EHXPLLL.sv", *package.source_paths(), BOARD / "ulx3s_top.sv"],
                bench="edgesight.sim.ulx3s.ulx3s_bench",
                settings={
                    "EDGESIGHT_PACKAGE": str(package.path.resolve()),
                    "EDGESIGHT_ASKED": str(asked),
                    "EDGESIGHT_ANSWERED": str(answered),
                    "EDGESIGHT_NOISE": str(noise),
                },
                build_args=["-y", str(SERIAL), "-O3"],
                memories=package.path / RTL,
            )
        except (AssertionError, RuntimeError, EdgeSightError, subprocess.SubprocessError) as error:
            raise PinSimulationError(f"the simulated top failed at its pins; see its log above: {error}") from error
        records: Records = np.load(answered)
    return records
