"""Adds to a target's corpus those of the fuzzer's inputs that reach what nothing before them did.

    python -m tests.fuzz.keep NAME FOLDER

What an input reaches are the pairs of lines that follow each other in our own files. The shortest inputs come first, so
the corpus stays small; and since seeds and corpus are looked at before them, nothing is kept twice.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import sys
import warnings
from pathlib import Path
from types import FrameType
from typing import Any

from tests.fuzz.target import CORPUS, Target, corpus, load, module_of

_ROOT = Path(__file__).parents[2]
_OURS = tuple(str(_ROOT / "edgesight" / room) for room in ("host", "plan", "sim"))
_MOST = 40  # files that one call adds
_LONGEST = 2_048  # bytes of a kept input

Arc = tuple[str, int, int]


def arcs(target: Target, data: bytes) -> set[Arc]:
    """Pairs of lines of our files that `data` makes follow each other; nothing where it crashes."""
    reached: set[Arc] = set()

    def enter(frame: FrameType, event: str, argument: Any) -> Any:
        name = frame.f_code.co_filename
        if not name.startswith(_OURS):
            return None
        last = -1

        def step(frame: FrameType, event: str, argument: Any) -> Any:
            nonlocal last
            if event == "line":
                reached.add((name, last, frame.f_lineno))
                last = frame.f_lineno
            return step

        return step

    sys.settrace(enter)
    try:
        target.consume(data)
    except Exception:
        return set()
    finally:
        sys.settrace(None)
    return reached


def main() -> None:
    """Do what the command line asks for."""
    name, folder = sys.argv[1:]
    warnings.simplefilter("ignore")
    logging.disable()
    target = load(module_of(name))
    known: set[Arc] = set()
    for content in [*target.seeds(), *(path.read_bytes() for path in corpus(name))]:
        known |= arcs(target, content)
    added = 0
    for content in sorted((path.read_bytes() for path in Path(folder).iterdir()), key=lambda unit: (len(unit), unit)):
        if added == _MOST or len(content) > _LONGEST:
            break
        new = arcs(target, content) - known
        if new:
            known |= new
            added += 1
            with contextlib.suppress(FileExistsError):
                (CORPUS / name).mkdir(parents=True)
            (CORPUS / name / hashlib.sha256(content).hexdigest()[:16]).write_bytes(content)
    print(f"{name}: {added} inputs kept, {len(corpus(name))} in the corpus")


if __name__ == "__main__":
    main()
