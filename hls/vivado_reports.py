"""What Vivado said: its reports of utilisation and timing, and why it failed."""

from __future__ import annotations

import re
from collections.abc import Sequence

from edgesight.hls.boards import BoardError
from edgesight.host.board_build import Used

_LINES_SHOWN = 10  # of what Vivado said when it failed
# Rows of Vivado's utilisation report, by our name; the first column's text depends on the family.
_REPORT_ROWS = {
    "LUT": ("Slice LUTs", "CLB LUTs"),
    "FF": ("Slice Registers", "CLB Registers"),
    "BRAM36": ("Block RAM Tile",),
    "DSP": ("DSPs",),
}
# Vivado's timing summary: a line for each clock that is missing, and the figures under their titles.
_NO_CLOCK = re.compile(r"There (?:is|are) (\d+) register/latch pins? with no clock")
_TIMING_SUMMARY = re.compile(r"WPWS\(ns\).*\n[ -]+\n\s*(?:\S+\s+){8}(?P<pulse_width>-?\d+\.\d+)")


def used_of_report(text: str) -> dict[str, Used]:
    """What Vivado's utilisation report says the part's resources come to, by our names.

    Raises BoardError if a row is not there.
    """
    rows: dict[str, Used] = {}
    columns: list[str] = []
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        if "Site Type" in cells:
            columns = cells
        elif columns and len(cells) == len(columns):
            row = dict(zip(columns, cells, strict=True))
            for name, titles in _REPORT_ROWS.items():
                # Vivado marks rows that need a remark with an asterisk.
                if row["Site Type"].rstrip("*") in titles and name not in rows:
                    rows[name] = Used(used=float(row["Used"]), available=int(row["Available"]))
    absent = [name for name in _REPORT_ROWS if name not in rows]
    if absent:
        raise BoardError(
            f"Vivado's utilisation report has no row for {', '.join(absent)}: use a Vivado that these builds know"
        )
    return rows


def timing_of_report(text: str) -> tuple[int, float]:
    """Of Vivado's timing summary: how many registers have no clock, and the worst pulse width slack in ns.

    Neither shows in the slack of a path. Raises BoardError if either is not there.
    """
    unclocked = _NO_CLOCK.findall(text)
    summary = _TIMING_SUMMARY.search(text)
    if not unclocked or summary is None:
        raise BoardError(
            "Vivado's timing report does not say how many registers have no clock, or no WPWS"
            ": use a Vivado that these builds know"
        )
    return sum(int(count) for count in unclocked), float(summary["pulse_width"])


def reason(said: Sequence[str]) -> list[str]:
    """Of all that a failed Vivado said, the lines that say why.

    Those are its errors, and the message that ended the script, which Tcl tells right before where it happened.
    """
    lines = [line for line in said if line.strip()]
    found = [line for line in lines if line.startswith("ERROR")]
    ends = [at for at, line in enumerate(lines) if line.startswith("    while executing")]
    if ends:
        message: list[str] = []
        for line in reversed(lines[: ends[0]]):
            if line.startswith(("#", "INFO", "WARNING", "CRITICAL WARNING", "ERROR")):
                break  # an echo of the script, or something that a command said
            message.insert(0, line)
        found += message[-_LINES_SHOWN:]
    # The first ones are the cause, what ended the script comes last.
    return found[:_LINES_SHOWN] + found[_LINES_SHOWN:][-1:] or lines[-_LINES_SHOWN:]
