"""Synthesis for an ECP5: Yosys' own script with arithmetic mapped to fewer look-up tables and shorter paths.

Words owned here: netlist.
"""

from __future__ import annotations

import json
import shutil
from collections import Counter
from pathlib import Path

from edgesight.hls.ecp5.absorption import absorb
from edgesight.hls.yosys import run_yosys

_FOLDER = Path(__file__).resolve().parent
_MAPS = ("products.v", "adders.v")
# Without the muxes that join look-up tables, nextpnr has more freedom, and the mapper no reason to repeat logic bit by
# bit.
_OPTIONS = "-nowidelut"
# Products that their source asks a multiplier for (attribute `use_dsp`), and no others: a 4 x 4 bit product in look-up
# tables costs less than a way to a multiplier's column and back.
_MULTIPLIERS = """\
select -set multipliers a:use_dsp %ci4 t:$mul %i
techmap -map +/mul2dsp.v -D DSP_A_MAXWIDTH=18 -D DSP_B_MAXWIDTH=18 -D DSP_A_MINWIDTH=2 -D DSP_B_MINWIDTH=2 \
-D DSP_NAME=$__MUL18X18 @multipliers
chtype -set $mul t:$__soft_mul
techmap -map +/lattice/dsp_map_18x18.v
"""
# What else is here is what synth_ecp5 does between its labels `coarse` and `map_ram`, but for `share`, which finds
# nothing to share in a pipeline and takes long to say so.
_COARSE = f"""\
proc
flatten
tribuf -logic
opt_expr
check
opt_clean
opt -nodffe -nosdff
fsm
opt
wreduce
peepopt
opt_clean
{_MULTIPLIERS}techmap -map products.v
opt_clean
opt_balance_tree -arith
wreduce
opt_clean
techmap -map +/cmp2lut.v -D LUT_WIDTH=4
opt_expr
opt_clean
techmap -map adders.v
opt_clean
alumacc
opt
memory -nomap
opt_clean
"""


def synthesise(read: str, top: str, folder: Path, netlist: str) -> dict[str, int]:
    """Make the `netlist`, a file of `folder`, of what the commands `read` read there; returns its cells by type.

    Raises BoardError where Yosys is absent or fails.
    """
    for name in _MAPS:
        shutil.copyfile(_FOLDER / name, folder / name)
    run_yosys(
        f"{read}synth_ecp5 {_OPTIONS} -top {top} -run begin:coarse\n{_COARSE}"
        f"synth_ecp5 {_OPTIONS} -top {top} -json {netlist} -run map_ram:\n",
        folder,
    )
    design = json.loads((folder / netlist).read_text())
    module = design["modules"][top]
    absorb(module)
    (folder / netlist).write_text(json.dumps(design))
    return dict(Counter(cell["type"] for cell in module["cells"].values()))
