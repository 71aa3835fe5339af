"""The PYNQ board that this machine is, as far as it is known before anything of its logic is touched.

Which board, which PYNQ it has, which of a package's builds fits it, and what its block design says of itself.
"""

from __future__ import annotations

import importlib
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from edgesight.host.board_build import BoardBuild
from edgesight.host.fabric.base import FabricError
from edgesight.host.package import Package

# What makes a shell ready for PYNQ: Kria's image has all of it in the first file, the Zynq boards' in three.
_READY_SHELL = (
    "in a root shell (`sudo -i`) `source /etc/profile.d/pynq_venv.sh`, and xrt_setup.sh and boardname.sh beside it "
    "where they exist"
)
_OLDEST, _NEWEST = (3, 0, 1), (4, 0)  # the newest is compared by major and minor
_WITHOUT_FOUR = ("Pynq-Z1", "Pynq-Z2")  # boards that PYNQ 4.0 has no image for


class NoBoardError(FabricError):
    """This machine is no PYNQ board."""


def board_name() -> str:
    """What PYNQ's image calls this board; NoBoardError where nothing says so."""
    name = os.environ.get("BOARD")
    if name:
        return name
    try:
        return Path("/proc/device-tree/chosen/pynq_board").read_text().strip("\0\n ")
    except OSError:
        raise NoBoardError(
            f"this needs a PYNQ board, and here is none, or its environment was lost: BOARD is not set; on a "
            f"board, run {_READY_SHELL}"
        ) from None


def build_for(package: Package, board: str) -> BoardBuild:
    """The package's build for the board that PYNQ calls `board`."""
    for build in package.kernel.boards.values():
        if build.pynq_board == board:
            return build
    built = ", ".join(f"{build.pynq_board or build.board}" for build in package.kernel.boards.values()) or "none"
    raise FabricError(
        f"{package.path}: has no bitstream for this board, {board} (built: {built}): make one with `make bitstream "
        f"KERNEL={package.path} BOARD=...` and copy the package here again"
    )


def bitstream_of(package: Package, build: BoardBuild) -> Path:
    """Where the build's bitstream lies, with its .hwh beside it."""
    bitstream = package.path / build.bitstream
    handoff = bitstream.with_suffix(".hwh")
    if build.handoff is None or package.path / build.handoff != handoff:
        raise FabricError(
            f"{package.path}: field boards.{build.board}.handoff is {build.handoff!r}, PYNQ needs {handoff.name!r} "
            f"beside the bitstream: make it again with `make bitstream BOARD={build.board}`"
        )
    for file in (bitstream, handoff):
        if not file.is_file():
            raise FabricError(
                f"{file}: is missing; PYNQ needs the .bit and the .hwh of the same name, which says where the DMA and "
                "the kernel are: copy the whole package again"
            )
    return bitstream


def import_pynq(board: str) -> Any:
    """The module `pynq`, after a look at everything that it silently needs."""
    if not os.environ.get("XILINX_XRT"):
        raise FabricError(
            f"XILINX_XRT is not set, without which PYNQ finds no device, on boards without XRT, too: run {_READY_SHELL}"
        )
    if os.geteuid() != 0:
        raise FabricError(f"PYNQ needs root to reach the logic: run {_READY_SHELL}, or in the board's Jupyter")
    try:
        pynq: Any = importlib.import_module("pynq")
    except ImportError as error:
        raise FabricError(
            f"PYNQ cannot be imported ({error}): install edgesight into the Python of the board's image and run it "
            f"there: {_READY_SHELL}"
        ) from error
    version = str(getattr(pynq, "__version__", "unknown"))
    found = tuple(int(part) for part in re.findall(r"\d+", version)[:3])
    if not found or found < _OLDEST or found[:2] > _NEWEST:
        raise FabricError(
            f"PYNQ {version} is not among those that this was written for, 3.0.1 to 4.0: write the board's SD card "
            "with an image of one of these"
        )
    if found[0] >= 4 and board in _WITHOUT_FOUR:
        raise FabricError(f"PYNQ {version} no longer knows {board}: write its SD card with the image of PYNQ 3.1")
    return pynq


def block_of(overlay: Any, name: str, bitstream: Path) -> dict[str, Any]:
    """What the handoff says of the block `name`: `phys_addr`, `addr_range`, `parameters`."""
    for path, block in overlay.ip_dict.items():
        # Some versions of PYNQ append the interface to the block's name.
        if (path == name or path.startswith(f"{name}/")) and "phys_addr" in block:
            return dict(block)
    raise FabricError(
        f"{bitstream.with_suffix('.hwh')}: has no block {name!r} (it has {', '.join(sorted(overlay.ip_dict)) or 'none'}"
        "): this is no EdgeSight design; make it with `make bitstream`"
    )


def check_addresses(blocks: Mapping[str, Mapping[str, Any]], handoff: Path) -> None:
    """Raise FabricError unless PYNQ has each of `blocks`, by name, where the package's own handoff says.

    PYNQ keeps what it read last and may take that for the design just loaded (github.com/Xilinx/PYNQ, issue 1652).
    """
    said: dict[str, list[tuple[int, int]]] = {name: [] for name in blocks}
    try:
        for each in ElementTree.parse(handoff).iter("MEMRANGE"):
            if each.get("INSTANCE") in said:
                ends = int(each.attrib["BASEVALUE"], 16), int(each.attrib["HIGHVALUE"], 16)
                said[each.attrib["INSTANCE"]].append(ends)
    except ElementTree.ParseError:
        return  # PYNQ has just loaded by it, and refuses what is no XML: there is nothing to compare with
    except (OSError, KeyError, ValueError) as error:
        raise FabricError(f"{handoff}: is no handoff of Vivado's ({error}): copy the whole package again") from error
    for name, block in blocks.items():
        first = int(block["phys_addr"])
        found = (first, first + int(block["addr_range"]) - 1)
        if found not in said[name]:
            wanted = " or ".join(f"{low:#x} to {high:#x}" for low, high in said[name]) or "nothing"
            raise FabricError(
                f"{handoff}: says {wanted} of block {name!r}, PYNQ says {found[0]:#x} to {found[1]:#x}: PYNQ remembers "
                "another design; restart the board and open this one first"
            )
