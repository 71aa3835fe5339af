"""hls4ml's project of an integer network: hls4ml's own writer, with real values outside of the integers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from hls4ml.writer.vitis_writer import VitisWriter

from edgesight.hls.cpp.placement import Route

_HEADER = '#include "firmware/nnet_utils/nnet_helpers.h"\n'
_REAL = '#include "firmware/nnet_utils/nnet_real_values.h"\n'
_ENTER = re.compile(r"nnet::convert_data<(float|double), ([\w:]+), ([\d*]+)>\((\w+), (\w+)\);")
_LEAVE = re.compile(r"nnet::convert_data<([\w:]+), (float|double), ([\d*]+)>\((\w+), (\w+)\);")
# hls4ml asserts that poolings do not overlap, though its code for streams computes those that do.
_CFLAGS, _WITHOUT_ASSERTIONS = 'CFLAGS="-O3 -fPIC"', 'CFLAGS="-O3 -fPIC -DNDEBUG"'


class RTLWriter(VitisWriter):  # type: ignore[misc] # hls4ml carries no types
    """Vitis' writer; the bridge to Python quantises what comes in and scales what goes out."""

    def write_bridge(self, model: Any) -> None:
        """hls4ml's bridge, with real values outside."""
        super().write_bridge(model)
        project = model.config.get_project_name()
        path = Path(model.config.get_output_dir()) / f"{project}_bridge.cpp"
        text = path.read_text()
        namespace = model.config.get_writer_config().get("Namespace")
        if namespace is not None:  # by its full name: the namespace may be called as the function
            text = re.sub(rf"^( +){project}\(", rf"\1{namespace}::{project}(", text, flags=re.MULTILINE)
        path.write_text(_with_real_values(text, model.rtl_route))

    def write_build_script(self, model: Any) -> None:
        """hls4ml's script of g++, without its assertions."""
        super().write_build_script(model)
        script = Path(model.config.get_output_dir()) / "build_lib.sh"
        script.write_text(script.read_text().replace(_CFLAGS, _WITHOUT_ASSERTIONS))


def _with_real_values(text: str, route: Route) -> str:
    network = route.network
    entry, first = network.entry, route.channels_first or (False,) * (1 + len(network.outputs))
    bounds = f"{entry.scale!r}, {entry.output.low}, {entry.output.high}, {_bool(first[0])}"
    text, entered = _ENTER.subn(rf"nnet::enter<\1, \2, \3>(\4, \5, {bounds});", text)
    order = iter(list(range(len(network.outputs))) * 2)  # floats, then doubles

    def leave(found: re.Match[str]) -> str:
        integers, real, size, stream, values = found.groups()
        number = next(order)
        output = network.outputs[number]
        channels = network.operators[output.source].output.shape.channels
        tables = f"scale_{number}, offset_{number}, {_bool(output.softmax)}, {_bool(first[1 + number])}"
        return f"nnet::leave<{integers}, {real}, {size}, {channels}>({stream}, {values}, {tables});"

    text, left = _LEAVE.subn(leave, text)
    assert (entered, left, text.count(_HEADER)) == (2, 2 * len(network.outputs), 1)  # the bridge of the pinned hls4ml
    tables = ""
    for number, output in enumerate(network.outputs):
        scale, offset = output.scale, output.offset
        if output.name in route.bipolar:  # -1 and 1
            scale, offset = np.full(len(scale), 0.5), np.full(len(scale), 0.5)
        tables += f"static const double scale_{number}[] = {{{_numbers(scale)}}};\n"
        tables += f"static const double offset_{number}[] = {{{_numbers(offset)}}};\n"
    return text.replace(_HEADER, _HEADER + _REAL + tables)


def _bool(value: bool) -> str:
    return "true" if value else "false"


def _numbers(values: Iterable[float]) -> str:
    return ", ".join(repr(float(value)) for value in values)
