"""hls4ml's own C++ in the place of our RTL: all stages by Vitis HLS, inside the same kernel.

Each stage's network gets a C++ function around it, whose ports are streams of plain integers as wide as the kernel's,
and a SystemVerilog module `stage<k>`, which takes the place of the one that our backend emits.
Words owned here: adapter.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from edgesight.hls.boards import FOLDER, STAND_INS, Board, BoardError
from edgesight.host.kernel import Stage
from edgesight.host.package import Package

SCRIPT = "synthesise.tcl"
_SHARED = FOLDER / "zynq"
_DRY_RUN_SECONDS = 60
_HLS_SECONDS = 6 * 3600

_FUNCTION = """\
// Generated. hls4ml's network `{name}` between streams of integers, one frame a call: {pixels} pixels of {channels}
// bytes in, one beat of {classes} logits of {bits} bits out, the first in the lowest bits.
#include "ap_int.h"
#include "hls_stream.h"

#include "{name}.h"

typedef ap_uint<{pixel_bits}> {name}_pixel_t;
typedef ap_uint<{beat_bits}> {name}_logits_t;

static void {name}_take(hls::stream<{name}_pixel_t> &pixels, hls::stream<{name}::input_t> &in) {{
    for (int pixel = 0; pixel < {pixels}; pixel++) {{
        #pragma HLS PIPELINE II=1
        {name}_pixel_t bytes = pixels.read();
        {name}::input_t value;
        for (int channel = 0; channel < {channels}; channel++) {{
            #pragma HLS UNROLL
            ap_uint<8> byte = bytes.range(8 * channel + 7, 8 * channel);
            value[channel] = byte;
        }}
        in.write(value);
    }}
}}

static void {name}_give(hls::stream<{name}::result_t> &out, hls::stream<{name}_logits_t> &logits) {{
    #pragma HLS PIPELINE II=1
    {name}::result_t result = out.read();
    {name}_logits_t beat = 0;
    for (int label = 0; label < {classes}; label++) {{
        #pragma HLS UNROLL
        // As wide as the kernel's logits, which hold every value that the network can give.
        ap_int<{bits}> logit = result[label];
        beat.range({bits} * label + {bits} - 1, {bits} * label) = logit.range({bits} - 1, 0);
    }}
    logits.write(beat);
}}

void {name}_hls(hls::stream<{name}_pixel_t> &pixels, hls::stream<{name}_logits_t> &logits) {{
    #pragma HLS INTERFACE axis port=pixels
    #pragma HLS INTERFACE axis port=logits
    #pragma HLS INTERFACE ap_ctrl_none port=return
    #pragma HLS DATAFLOW
    hls::stream<{name}::input_t> in("in");
    #pragma HLS STREAM variable=in depth=2
    hls::stream<{name}::result_t> out("out");
    #pragma HLS STREAM variable=out depth=2
    {name}_take(pixels, in);
    {name}::{name}(in, out);
    {name}_give(out, logits);
}}
"""

_ADAPTER = """\
/// Generated. Network `{name}` as Vitis HLS made it of hls4ml's C++, with the ports of the stage that our backend
/// emits: pixels in, one beat of {classes} signed {bits}-bit logits out a frame.
///
/// Interval and latency are those of Vitis HLS' report. Flow control: AXI4-Stream on both sides, handed through.
/// Does not reset the layers' line buffers: Vitis HLS resets registers alone.
module {name} (
  input  logic clk_i,
  input  logic rst_ni,
  input  logic s_valid_i,
  output logic s_ready_o,
  input  logic [{pixel_top}:0] s_data_i,
  output logic m_valid_o,
  input  logic m_ready_i,
  output logic [{logits_top}:0] m_data_o
);
  // A stream of Vitis HLS has whole bytes; the bits above the logits are 0.
  /* verilator lint_off UNUSEDSIGNAL */
  logic [{beat_top}:0] logits;
  /* verilator lint_on UNUSEDSIGNAL */
  assign m_data_o = logits[{logits_top}:0];
  {name}_hls u_hls (
    .ap_clk(clk_i), .ap_rst_n(rst_ni),
    .pixels_TDATA(s_data_i), .pixels_TVALID(s_valid_i), .pixels_TREADY(s_ready_o),
    .logits_TDATA(logits), .logits_TVALID(m_valid_o), .logits_TREADY(m_ready_i)
  );
endmodule
"""


def function(package: Package, stage: Stage) -> str:
    """C++ of the function around one stage's network that Vitis HLS makes a module of."""
    return _FUNCTION.format(**_sizes(package, stage))


def adapter(package: Package, stage: Stage) -> str:
    """SystemVerilog of the module that stands where our backend's stage stood."""
    return _ADAPTER.format(**_sizes(package, stage))


def write_sources(package: Package, folder: Path, sources: Path) -> None:
    """Put hls4ml's C++ of all stages into the prepared `folder`, and into `sources` the adapters for our stages.

    Raises BoardError for stages that go on from features, which the adapters do not hand on.
    """
    later = [stage.name for stage in package.kernel.stages if stage.trunk is not None]
    if later:
        raise BoardError(
            f"{package.path}: {later[0]} goes on from features of the stage before, which the flow vitis does not hand "
            "on; build the package with BACKEND=rtl"
        )
    from edgesight.hls import csim  # needs hls4ml, which the RTL's flow does without

    (folder / SCRIPT).write_bytes((_SHARED / SCRIPT).read_bytes())
    for stage in package.kernel.stages:
        for path in [*sources.glob(f"{stage.name}*.sv"), *sources.glob(f"{stage.name}*.mem")]:
            path.unlink()
        (sources / f"{stage.name}.sv").write_text(adapter(package, stage))
        csim.lay_out(package, stage, folder / "hls" / stage.name)
        (folder / "hls" / stage.name / f"{stage.name}_hls.cpp").write_text(function(package, stage))


def dry_run(board: Board, folder: Path, sources: Path, tclsh: str) -> list[str]:
    """What is wrong with the script and the C++ in `folder`, by sim/vivado/hls_recorder.tcl in the tool's place.

    Its place holders of the stages' modules are put into `sources`, where the tool's Verilog belongs.
    """
    command = [tclsh, str(STAND_INS / "hls_recorder.tcl"), SCRIPT, board.part]
    try:
        done = subprocess.run(
            command, cwd=folder, capture_output=True, text=True, timeout=_DRY_RUN_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return [f"{SCRIPT} did not end within {_DRY_RUN_SECONDS} s"]
    if done.stderr or done.returncode not in (0, 1):
        raise BoardError(f"{command[1]} failed (status {done.returncode}); see why:\n{done.stderr}")
    return done.stdout.splitlines() or _take_over(folder, sources)


def synthesise(folder: Path, sources: Path) -> dict[str, str]:
    """Run Vitis HLS in the prepared `folder` and take its Verilog over into `sources`; returns the tool's version.

    Raises BoardError if it is not on the PATH, fails, or leaves no Verilog.
    """
    vitis_run, vitis_hls = shutil.which("vitis-run"), shutil.which("vitis_hls")
    if vitis_run is not None:
        command = [vitis_run, "--mode", "hls", "--tcl", SCRIPT]
    elif vitis_hls is not None:
        command = [vitis_hls, "-f", SCRIPT]
    else:
        raise BoardError(
            "Vitis HLS is missing: neither `vitis-run` nor `vitis_hls` is on the PATH; source its settings64.sh"
        )
    log = folder / "vitis_hls.log"
    try:
        with log.open("w") as output:
            done = subprocess.run(
                command, cwd=folder, stdout=output, stderr=subprocess.STDOUT, timeout=_HLS_SECONDS, check=False
            )
    except subprocess.TimeoutExpired as error:
        raise BoardError(f"Vitis HLS did not end within {_HLS_SECONDS // 3600} hours; see its log {log}") from error
    if done.returncode != 0:
        raise BoardError(f"Vitis HLS ended with status {done.returncode}; see its log {log}")
    missing = _take_over(folder, sources)
    if missing:
        raise BoardError("\n".join(missing))
    return {"Vitis HLS": Path(command[0]).resolve().parent.parent.name}


def _take_over(folder: Path, sources: Path) -> list[str]:
    """Copy what was synthesised, Verilog and memories' contents, into the component; what is missing, in words."""
    missing = []
    for stage in sorted(path.name for path in (folder / "hls").iterdir() if (path / f"{path.name}_hls.cpp").is_file()):
        made = folder / "hls" / f"{stage}_project" / "solution" / "syn" / "verilog"
        if not (made / f"{stage}_hls.v").is_file():
            missing.append(f"{made}: holds no {stage}_hls.v; see the log of Vitis HLS")
            continue
        for path in sorted(made.iterdir()):
            if path.suffix in (".v", ".dat"):
                shutil.copyfile(path, sources / path.name)
    return missing


def _sizes(package: Package, stage: Stage) -> dict[str, object]:
    kernel = package.kernel
    bits, pixel_bits = stage.logit_bits, 8 * kernel.input.channels
    logits = bits * kernel.outputs
    beat = (logits + 7) // 8 * 8
    return {
        "name": stage.name,
        "pixels": kernel.input.height * kernel.input.width,
        "channels": kernel.input.channels,
        "classes": kernel.outputs,
        "bits": bits,
        "pixel_bits": pixel_bits,
        "pixel_top": pixel_bits - 1,
        "beat_bits": beat,
        "beat_top": beat - 1,
        "logits_top": logits - 1,
    }
