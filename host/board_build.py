"""Builds for boards, as a kernel package's `kernel.json` tells of them."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from edgesight.host.manifest_fields import Strict


class Used(Strict):
    """How much of one kind of a part's resources a build takes."""

    used: Annotated[float, Field(ge=0.0)]  # Vivado counts block RAMs in halves
    available: Annotated[int, Field(ge=1)]


class Serial(Strict):
    """The serial line that a board without a processor answers on."""

    baud: Annotated[int, Field(ge=9_600)]
    frames_in_flight: Annotated[int, Field(ge=1)]  # frames sent and not yet answered that its buffers hold


class BoardBuild(Strict):
    """A bitstream of this kernel for one board. Files are paths inside the package."""

    board: Annotated[str, Field(pattern=r"^[a-z0-9-]+$")]  # as `make bitstream BOARD=` names it
    part: str
    flow: Literal["vivado", "vitis", "open"]  # vitis: hls4ml's own C++ synthesised, behind the same wrapper
    bitstream: str
    handoff: str | None  # .hwh beside a PYNQ board's bitstream, of the same name
    device_tree: str | None  # .dtbo, where the board's loader wants one
    pynq_board: str | None  # what PYNQ's image calls the board (environment variable BOARD)
    serial: Serial | None
    clock_mhz: Annotated[float, Field(gt=0.0)]  # declared: timing was met at it
    fmax_mhz: Annotated[float, Field(gt=0.0)]  # highest clock that the timing analysis allows
    worst_slack_ns: float  # at the declared clock
    utilisation: dict[str, Used]  # by the tool's own names, such as LUT, FF, BRAM, DSP
    tools: dict[str, str]
    reports: list[str]
