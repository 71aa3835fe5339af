"""What a target of the fuzzer is, and where its inputs lie.

A target is a module of `tests.fuzz.targets`, one a parser. It gives the parser bytes and lets through the errors that
the parser documents, and nothing else; beyond that it may assert what must hold of what was parsed.

Words owned here: target, seed (a well-formed input, made anew by today's code), corpus (inputs that were once found to
reach something new, or to break something, kept as files).
"""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Protocol, cast

CORPUS = Path(__file__).parent / "corpus"
# Shares of the runs. Targets that take microseconds get the most; a picture or a handshake takes a thousand times that.
SHARES = {
    "datagrams": 20.0,
    "lines": 17.0,
    "options": 14.0,
    "queries": 12.0,
    "tokens": 12.0,
    "records": 12.0,
    "packets": 5.0,
    "deframer": 4.0,
    "traces": 3.0,
    "strips": 1.5,
    "kernels": 1.0,
    "plans": 1.0,
    "boards": 0.3,
    "images": 0.3,
    "requests": 0.3,
    "frames": 0.1,
}


class Target(Protocol):
    """A module of `tests.fuzz.targets`."""

    MAX_LENGTH: int  # bytes of an input

    def seeds(self) -> list[bytes]:
        """Inputs to begin with."""

    def consume(self, data: bytes) -> None:
        """Raises unless the parser does with `data` what it documents."""


def load(module: str) -> Target:
    """The target in `module`, named in full."""
    return cast(Target, importlib.import_module(module))


def module_of(name: str) -> str:
    """The module of a target in `SHARES`."""
    return f"tests.fuzz.targets.{name}"


def corpus(name: str) -> list[Path]:
    """The files of a target's corpus."""
    return sorted((CORPUS / name).glob("*"))
