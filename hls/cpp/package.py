"""What a kernel package carries of an integer network's C++: enough to compile it where hls4ml's headers are."""

from __future__ import annotations

import contextlib
import io
import tempfile
from pathlib import Path

from edgesight.hls.cpp.layers import SOURCES
from edgesight.hls.cpp.model import model_graph
from edgesight.hls.dataflow.operators import IntegerNetwork


def csim_files(network: IntegerNetwork, name: str) -> dict[str, bytes]:
    """The C++ of `network` as function and namespace `name`: path in the package -> content.

    It is what hls4ml generates, with the weights and our own layers' header; hls4ml's own headers stay with hls4ml.
    Raises NotStated where hls4ml has no layer for an operator, so that a package says why it carries none.
    """
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        model = model_graph(network, name, Path(folder))
        model.write()
        firmware = Path(folder) / "firmware"
        utilities = firmware / "nnet_utils"
        chosen = [
            *sorted(firmware.glob("*.cpp")),
            *sorted(firmware.glob("*.h")),
            *sorted((firmware / "weights").iterdir()),
            *(utilities / source for source in (*SOURCES, "nnet_code_gen.h")),
        ]
        return {f"csim/{name}/{path.relative_to(firmware).as_posix()}": path.read_bytes() for path in chosen}
