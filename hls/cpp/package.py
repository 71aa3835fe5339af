"""What a kernel package carries of an integer network's C++: enough to compile it where hls4ml's headers are."""

from __future__ import annotations

import tempfile
from pathlib import Path

from edgesight.hls.cpp.model import UNROLLED, model_graph
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.folding import Folding
from edgesight.hls.qonnx_graph import calling


def csim_files(network: IntegerNetwork, name: str, folding: Folding = UNROLLED) -> dict[str, bytes]:
    """The C++ of `network` as function and namespace `name`: path in the package -> content.

    It is what hls4ml generates, with the weights and our own layers' header; hls4ml's own headers stay with hls4ml.
    Raises NotStated where hls4ml has no layer for an operator, so that a package says why it carries none.
    """
    with tempfile.TemporaryDirectory() as folder, calling("writing hls4ml's project"):
        model_graph(network, name, Path(folder), folding).write()
        firmware = Path(folder) / "firmware"
        chosen = [
            *sorted(firmware.glob("*.cpp")),
            *sorted(firmware.glob("*.h")),
            *sorted((firmware / "weights").iterdir()),
            *(firmware / "nnet_utils" / header for header in ("nnet_code_gen.h", "nnet_integers.h")),
        ]
        return {f"csim/{name}/{path.relative_to(firmware).as_posix()}": path.read_bytes() for path in chosen}
