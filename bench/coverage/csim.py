"""What hls4ml's C++ answers of a network, and how long that takes."""

from __future__ import annotations

import contextlib
import io
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.hls.cpp.model import model_graph
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.network import Reals


def without_softmax(network: IntegerNetwork) -> IntegerNetwork:
    """The network up to its logits: a softmax in C++ and in numpy may differ in the last bit of a double."""
    return replace(network, outputs=tuple(replace(output, softmax=False) for output in network.outputs))


def csim_answers(network: IntegerNetwork, values: Reals, folder: Path) -> tuple[list[npt.NDArray[Any]], float]:
    """What hls4ml's C++ answers, and its milliseconds an input."""
    with contextlib.redirect_stdout(io.StringIO()):
        model = model_graph(network, "csim", folder)
        model.compile()
    began = time.perf_counter()
    answers = model.predict(np.ascontiguousarray(values))
    spent = (time.perf_counter() - began) * 1e3 / len(values)
    return (list(answers) if isinstance(answers, list) else [answers]), spent
