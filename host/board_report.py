"""What somebody sends in who has built a bitstream or run one on a board: facts of the build and of the board.

Nothing private is in it: no host or user name, no address, no path, no serial number.
Words owned here: board report.
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path

from edgesight.host.files import check_reports, json_claim, read_at_most, sha256, write_atomically
from edgesight.host.kernel import KernelError
from edgesight.host.package import MANIFEST, Package
from edgesight.host.selftest import SelfTestReport

SCHEMA_VERSION = 1
_MOST_BYTES = 1 << 20  # of a self-test
_ON_BOARDS = ("pynq", "serial")  # fabrics that are one
_LIBRARIES = ("pynq", "numpy")
_SELF_TEST = (*(field.name for field in fields(SelfTestReport)), "passed")


def read_selftest(path: Path) -> dict[str, object]:
    """What `edgesight board selftest --json` printed into the file `path`; raises KernelError."""
    try:
        found = json.loads(read_at_most(path, _MOST_BYTES))
    except OSError as error:
        raise KernelError(f"{path}: cannot be read ({error.strerror}): make it by `selftest --json`") from error
    except ValueError as error:
        raise KernelError(f"{path}: is no self-test's JSON ({error}): make it by `selftest --json`") from error
    if not isinstance(found, dict):
        raise KernelError(f"{path}: is no self-test's JSON, which is an object: make it by `selftest --json`")
    return found


def board_report(package: Package, board: str, selftest: Mapping[str, object] | None) -> dict[str, object]:
    """The report of `package`'s build for `board`, as plain values for JSON.

    `selftest` is the outcome of `edgesight board selftest --json` on that board, None if it was not run; of it the
    fields of a SelfTestReport are taken over and nothing else. The host's facts are this machine's. Raises KernelError
    if the package has no build for the board, if one of its files is missing, or if the self-test is of something else.
    """
    build = package.board(board)
    kernel = package.kernel
    if selftest is not None:
        _check_same(package, board, selftest)
    names = [build.bitstream, build.handoff, build.device_tree, *build.reports]
    return {
        "schema_version": SCHEMA_VERSION,
        "package": {
            "name": kernel.name,
            "build_hash": kernel.build_hash,
            "manifest_sha256": sha256((package.path / MANIFEST).read_bytes()),
        },
        "board": {"name": build.board, "pynq_board": build.pynq_board, "part": build.part},
        "build": {
            "flow": build.flow,
            "tools": dict(build.tools),
            "clock_mhz": build.clock_mhz,
            "fmax_mhz": build.fmax_mhz,
            "worst_slack_ns": build.worst_slack_ns,
            "utilisation": {name: row.model_dump() for name, row in build.utilisation.items()},
            "files": {name: sha256(package.read(name)) for name in names if name is not None},
        },
        "selftest": None if selftest is None else {name: selftest[name] for name in _SELF_TEST if name in selftest},
        "host": _host(),
    }


def as_text(report: Mapping[str, object]) -> str:
    """The report for people, one fact a line."""
    lines: list[str] = []
    _lines(lines, "", report)
    return "\n".join(lines) + "\n"


def write_report(report: Mapping[str, object], path: Path) -> None:
    """Write the report as JSON to `path`, and beside it as text with the ending .txt.

    Raises KernelError unless `path` ends in .json, since either file could fall on the other.
    """
    check_name(path)
    write_atomically(path, (json.dumps(report, indent=1) + "\n").encode())
    write_atomically(path.with_suffix(".txt"), as_text(report).encode())


def check_name(path: Path) -> None:
    """Raise KernelError, or OutputError where something else is there, unless a report may be written to `path`."""
    if path.suffix != ".json":
        raise KernelError(
            f"{path}: a report's name ends in .json; the text goes beside it, ending in .txt: name one so"
        )
    claim = json_claim("board's report", "schema_version", "package", "board", "build", "selftest", "host")
    check_reports(path.parent, claim, path.name, path.with_suffix(".txt").name)


def _check_same(package: Package, board: str, selftest: Mapping[str, object]) -> None:
    """Raise KernelError unless the self-test ran this build of this kernel, on a board and on no other one."""
    kernel = package.kernel
    for what, expected in (("kernel", kernel.name), ("build_hash", kernel.build_hash)):
        if selftest.get(what) != expected:
            raise KernelError(
                f"{package.path}: the self-test is of {what} {selftest.get(what)!r}, the package has {expected!r}: run "
                "`edgesight board selftest --json` on the board with this package"
            )
    fabric, ran_on = selftest.get("fabric"), selftest.get("board")
    if fabric not in _ON_BOARDS:
        raise KernelError(
            f"{package.path}: the self-test ran on fabric {fabric!r}, which is no board: run `edgesight board selftest "
            "--json` on the board, with the fabric pynq or serial:PORT"
        )
    if ran_on is not None and ran_on != board:
        raise KernelError(
            f"{package.path}: the self-test ran on board {ran_on!r}, the report is of {board!r}: name that board, or "
            "run `edgesight board selftest --json` on this one"
        )


def _host() -> dict[str, object]:
    try:
        system = platform.freedesktop_os_release().get("PRETTY_NAME", "")
    except OSError:
        system = ""
    return {
        "board": os.environ.get("BOARD"),  # as PYNQ's image says it
        "system": system or platform.system(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "python": platform.python_version(),
        **{name: _version(name) for name in _LIBRARIES},
    }


def _version(library: str) -> str | None:
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None


def _lines(lines: list[str], name: str, value: object) -> None:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            _lines(lines, f"{name} {key}".strip(), inner)
    else:
        lines.append(f"{name}: {'not known' if value is None else value}")
