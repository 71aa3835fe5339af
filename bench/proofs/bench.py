"""`edgesight bench prove`: every property of the stream cells, by induction or for so many cycles."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.proofs.cells import CELLS, PROOF_PARTS, Cell, Shape
from edgesight.bench.proofs.solver import Outcome, ProofError, bounded, inductive, reached, translate
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.sim.rtl.runner import RTL

SECONDS = 1800  # that all proofs may take
_LENGTH = 2  # of the induction, in cycles
_INSIDE = "inside_"  # begins the names of what is only there to make the induction go through


@dataclass(frozen=True)
class Proof:
    """What was found for one cell in one shape.

    `by_induction`, `by_depth`: the properties by their names; `inside` are helpers of the former. `reaches`: what can
    have happened in which cycle, by its name: two whole frames with a stall between them, or a beat's way through the
    cell. What holds for more cycles than that was tried on it. None where it was not looked for.
    """

    by_induction: tuple[str, ...]
    inside: tuple[str, ...]
    by_depth: tuple[str, ...]
    base: Outcome
    step: Outcome
    deep: Outcome | None
    reaches: dict[str, int] | None

    @property
    def broken(self) -> tuple[str, ...]:
        """The properties that a run breaks."""
        return tuple(dict.fromkeys(self.base.broken + self.step.broken + (self.deep.broken if self.deep else ())))


def prove(cell: Cell, shape: Shape, folder: Path, rtl: Path = RTL) -> Proof:
    """Prove `cell` in `shape`, from the sources in `rtl`; models and traces go to `folder`.

    Raises ProofError or BoardError where a tool or a file is missing.
    """
    if not cell.proof.exists():
        raise ProofError(
            f"{cell.proof}: no such file: proofs are run from a checkout, installed packages have none"
            ": clone the repository"
        )
    sources = [*cell.sources(rtl), *PROOF_PARTS, cell.proof]
    top = cell.proof.stem
    names = translate(folder / "always", sources, top, shape.parameters, inside=True, without=cell.bounded)
    base = bounded(folder / "always", _LENGTH + 2)  # one cycle is the reset
    step = inductive(folder / "always", _LENGTH)
    deep = None
    by_depth: tuple[str, ...] = ()
    if cell.bounded:
        others = set(translate(folder / "deep", sources, top, shape.parameters)) - cell.bounded
        by_depth = translate(folder / "deep", sources, top, shape.parameters, without=sorted(others))
        deep = bounded(folder / "deep", shape.depth)
    reaches = None
    if shape.depth:
        translate(folder / "reach", sources, top, shape.parameters)
        reaches = reached(folder / "reach", shape.depth)
    return Proof(
        tuple(name for name in names if not name.startswith(_INSIDE)),
        tuple(name for name in names if name.startswith(_INSIDE)),
        by_depth,
        base,
        step,
        deep,
        reaches,
    )


def checks_of(cell: Cell, shape: Shape, proof: Proof) -> list[Check]:
    """One check a property, and one that the proof reaches two whole frames, or a beat's way through the cell."""
    where = f"{cell.name} {shape}"
    by_induction = proof.base.holds and proof.step.holds
    checks = [
        Check(f"{where}: {name.replace('_', ' ')}", int(by_induction), 1, False, "by induction", "proved")
        for name in proof.by_induction
    ]
    # Cycles count from 0: what holds for one cycle more than the one in which the frames end was tried on them.
    bar = 1 + max((proof.reaches or {}).values(), default=shape.depth)
    for name in proof.by_depth:
        depth = proof.deep.depth if proof.deep else 0
        checks.append(Check(f"{where}: {name.replace('_', ' ')}", depth, bar, False, "cycles deep", "proved"))
    if proof.reaches is not None:
        seen = " and ".join(proof.reaches).replace("_", " ") or "nothing"
        checks.append(Check(f"{where}: reaches {seen} within", bar, shape.depth, True, "cycles", "proved"))
    return checks


def bench_prove(out: Path, console: Console, names: Sequence[str] = ()) -> bool:
    """Prove the cells `names` (none: all) in all their shapes; returns whether every check is met.

    Writes `out`/prove.json; models and traces of broken properties stay in `out`/prove.
    """
    started = time.monotonic()
    checks: list[Check] = []
    proofs: list[dict[str, Any]] = []
    for cell in [CELLS[name] for name in names or CELLS]:
        for number, shape in enumerate(cell.shapes):
            console.print(f"Proving {cell.name} {shape} ...", highlight=False)
            at = time.monotonic()
            folder = out / "prove" / f"{cell.name}-{number}"
            proof = prove(cell, shape, folder)
            if proof.broken:
                console.print(f"  broken: {', '.join(proof.broken)}; the run is in {folder}/*/trace.vcd")
            checks += checks_of(cell, shape, proof)
            proofs.append(
                {
                    "cell": cell.name,
                    "parameters": dict(shape.parameters),
                    "by_induction": list(proof.by_induction),
                    "helpers": list(proof.inside),
                    "by_depth": list(proof.by_depth),
                    "depth": shape.depth if proof.by_depth else None,
                    "reaches_in_cycle": proof.reaches,
                    "broken": list(proof.broken),
                    "seconds": round(time.monotonic() - at, 1),
                }
            )
    checks.append(Check("time of all proofs", time.monotonic() - started, SECONDS, True, "s", "measured"))
    write_report(out / "prove.json", {"induction_cycles": _LENGTH, "proofs": proofs}, checks)
    return print_checks(console, checks)
