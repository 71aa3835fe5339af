"""A kernel package whose networks are stand-ins that Python can predict."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from edgesight.host.kernel import Input, Kernel, Stage
from edgesight.host.package import Package, write_package
from edgesight.host.registers import OFFSETS
from edgesight.sim.rtl.cascade.model import Shape
from edgesight.sim.rtl.runner import ROOT, RTL

HEIGHT, WIDTH = 5, 9
CHANNELS: Literal[3] = 3
SHAPE = Shape(HEIGHT * WIDTH, CHANNELS, 5, (9, 31))
DELAYS = (3, 150)


def stub_package(path: Path, build_hash: str = "0badcafe", says: str | None = None) -> Package:
    """A package whose stages are the stand-ins of sim/rtl/cascade; its RTL says the build hash `says`."""
    values = {
        "Pixels": SHAPE.pixels,
        "Channels": CHANNELS,
        "Classes": SHAPE.classes,
        "Stages": len(SHAPE.logit_widths),
        "LogitWidth0": SHAPE.logit_widths[0],
        "LogitWidth1": SHAPE.logit_widths[1],
        "Delay0": DELAYS[0],
        "DelayLater": DELAYS[1],
        "BuildHash": f"32'h{says or build_hash}",
        "WeightsHash": "32'h0",
    }
    top = (ROOT / "sim" / "rtl" / "cascade" / "kernel.sv").read_text()
    for name, value in values.items():
        top, changed = re.subn(rf"(parameter .*\b{name} = )[^,\n]+", rf"\g<1>{value}", top)
        assert changed == 1, name
    files = {f"rtl/{source.name}": source.read_bytes() for source in RTL.glob("*.sv")}
    files["rtl/stub_stage.sv"] = (ROOT / "sim" / "rtl" / "cascade" / "stub_stage.sv").read_bytes()
    files["rtl/kernel.sv"] = top.encode()
    stages = [
        Stage(
            name=f"stage{k}",
            parameters=0,
            multiplications=0,
            outputs=SHAPE.classes,
            logit_bits=SHAPE.logit_widths[k],
            logit_scale=1.0,
            layers=[],
            bound_cycles=max(SHAPE.pixels, DELAYS[k]),
            bound_layer="stand-in",
        )
        for k in range(len(SHAPE.logit_widths))
    ]
    kernel = Kernel(
        schema_version=6,
        name="stand-in",
        build_hash=build_hash,
        weights_sha256="0" * 64,
        classes=[str(c) for c in range(SHAPE.classes)],
        input=Input(height=HEIGHT, width=WIDTH, channels=CHANNELS),
        backend_input=None,
        stages=stages,
        threshold_sets=16,
        frame_slots=4,
        clock_mhz=100.0,
        registers=OFFSETS,
        dataset="none",
        dataset_sha256="0" * 64,
        tools={},
        calibration=None,
        files={},
    )
    return write_package(path, kernel, files)
