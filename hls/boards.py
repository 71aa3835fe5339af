"""The boards that a bitstream can be made for: facts of `hw/boards/<name>/board.toml`.

Words owned here: board, part, flow, capacity.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import tomllib
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edgesight.host.errors import EdgeSightError

_ROOT = Path(__file__).resolve().parent.parent
FOLDER = _ROOT / "hw" / "boards"
# Programs for tclsh that stand in for the vendor's tools in a dry run.
STAND_INS = _ROOT / "sim" / "vivado"


class BoardError(EdgeSightError, ValueError):
    """A board that is not known, or a bitstream that cannot be made: says what is missing and what to do."""


class Board(BaseModel):
    """One board's facts; each value's source stands beside it in the file."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str  # of its folder
    title: str
    flow: Literal["vivado", "open"]
    part: str
    clock_mhz: Annotated[float, Field(gt=0.0)]  # of the kernel
    capacity: dict[str, int]  # of the part: LUT, FF, BRAM36 or EBR, DSP
    # Boards with a processor.
    processing_system: Literal["processing_system7", "zynq_ultra_ps_e"] | None = None
    preset: str | None = None  # pattern of Vivado's board part, whose preset configures the processing system
    pynq_board: str | None = None  # what PYNQ's image calls the board (environment variable BOARD)
    memory_mib: Annotated[int, Field(ge=1)] | None = None  # of the processor's memory, from address 0, that a DMA sees
    xmutil: bool = False  # the board's own Linux loads bitstreams by `xmutil loadapp`
    # Boards without one.
    same_as: str | None = None  # board whose top and constraints this one shares
    sites: dict[str, str] = Field(default_factory=dict)  # pins by name that lie elsewhere than on that board
    serial_baud: Annotated[int, Field(ge=9_600)] | None = None  # of the line that the host drives the kernel over
    ever_run: str | None = None  # who ran the flow with the vendor's tools, and when; None: nobody yet

    @property
    def folder(self) -> Path:
        """Where the board's sources and constraints lie."""
        return FOLDER / (self.same_as or self.name)


def board_names() -> list[str]:
    """Every board that there is a folder for."""
    return sorted(path.parent.name for path in FOLDER.glob("*/board.toml"))


def load_board(name: str) -> Board:
    """Facts of board `name`; BoardError naming the known ones, or the field at fault."""
    path = FOLDER / name / "board.toml"
    if name not in board_names():
        raise BoardError(f"no board is called {name!r}: choose one of {', '.join(board_names())}")
    try:
        return Board.model_validate({"name": name, **tomllib.loads(path.read_text())})
    except (tomllib.TOMLDecodeError, ValidationError) as error:
        raise BoardError(f"{path}: {error}") from error
