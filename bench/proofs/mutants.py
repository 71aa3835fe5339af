"""`edgesight bench prove-mutants`: small changes of each stream cell, which its bench or its proof has to notice.

Yosys picks the changes and puts them all into one netlist, in which a number chooses one. The bench goes first; what it
does not notice goes to the proof; and what that does not notice either is compared with the cell itself.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from edgesight.bench.proofs.cells import CELLS, PROOF_PARTS, Cell, Shape
from edgesight.bench.proofs.solver import ProofError, bounded, translate
from edgesight.bench.report import Check, print_checks, write_report
from edgesight.hls.yosys import read_sources_command, run_yosys
from edgesight.sim.rtl.runner import ROOT

MUTANTS = 20  # a cell
SEED = 1
SECONDS = 5400  # that all of it may take
_DEPTH = 40  # cycles to which a mutant that nobody noticed is compared with the cell
_BENCH_SECONDS = 180  # a mutant's bench; one that takes longer hangs
_PROOF_SECONDS = 180  # a mutant's proof; a fault that it finds at all it finds early
_COMPARE_SECONDS = 600  # a mutant's comparison with the cell
_FIRST_BUILD_SECONDS = 600
_CHOSEN = "mutant.mem"  # the file with the number of the mutant that the bench is run with
_BENCH = "from edgesight.sim.rtl.runner import run_bench; import json, sys; from pathlib import Path; \
a = json.loads(sys.argv[1]); a['sources'] = [Path(s) for s in a['sources']]; run_bench(**a)"

Verdict = Literal["bench", "proof", "no difference found", "missed", "undecided"]
_Ports = dict[str, tuple[str, int]]  # direction and bits, by name


def bench_mutants(
    out: Path, console: Console, names: Sequence[str] = (), *, count: int = MUTANTS, benches: bool = True
) -> bool:
    """Judge `count` mutants of each of the cells `names` (none: all); returns whether every check is met.

    Without `benches` the proofs have to notice all of them alone. Writes `out`/prove-mutants.json; the netlists stay in
    `out`/mutants.
    """
    started = time.monotonic()
    checks: list[Check] = []
    judged: list[dict[str, Any]] = []
    for cell in [CELLS[name] for name in names or CELLS]:
        verdicts = []
        folder = (out / "mutants" / cell.name).resolve()
        mutated = Mutated(cell, cell.shapes[0], folder, count, benches=benches)
        for number, change in enumerate(mutated.changes, 1):
            verdict = mutated.judge(number)
            verdicts.append(verdict)
            told = f"{cell.name} {number}/{count}: {verdict} ({change})"
            console.print(told, highlight=False, markup=False, soft_wrap=True)
            judged.append({"cell": cell.name, "mutant": number, "change": change, "verdict": verdict})
        for name, verdict in (("missed", "missed"), ("undecided", "undecided")):
            checks.append(Check(f"{cell.name}: mutants {name}", verdicts.count(verdict), 0, True, "mutants", "proved"))
        caught = sum(verdict in ("bench", "proof") for verdict in verdicts)
        checks.append(
            Check(f"{cell.name}: mutants caught or without a difference to {_DEPTH} cycles",
                  caught + verdicts.count("no difference found"), count, False, "mutants", "proved")
        )  # fmt: skip
    checks.append(Check("time of all mutants", time.monotonic() - started, SECONDS, True, "s", "measured"))
    for mutant in judged:
        if mutant["verdict"] == "no difference found":
            console.print(
                f"No difference in {_DEPTH} cycles: {mutant['cell']} {mutant['mutant']}, {mutant['change']}",
                highlight=False,
                markup=False,
                soft_wrap=True,
            )
    body = {"seed": SEED, "depth": _DEPTH, "benches": benches, "mutants": judged}
    write_report(out / "prove-mutants.json", body, checks)
    return print_checks(console, checks)


class Mutated:
    """A cell's netlist with `count` mutants, and what is needed to choose one.

    Raises ProofError where bench or proof find fault with the netlist without a mutant.
    """

    def __init__(self, cell: Cell, shape: Shape, folder: Path, count: int, *, benches: bool) -> None:
        """Make the netlist in `folder`; without `benches` the proof judges alone."""
        self._benches = benches
        folder.mkdir(parents=True, exist_ok=True)
        self._cell, self._shape, self._folder = cell, shape, folder
        for source in cell.sources():
            (folder / source.name).write_bytes(source.read_bytes())
        read = read_sources_command([source.name for source in cell.sources()], cell.name, self._parameters)
        run_yosys(
            f"{read}proc\nopt_clean\nrename {cell.name} {cell.name}_original\nwrite_verilog -noattr original.v\n"
            "write_json original.json\n"
            f"rename {cell.name}_original {cell.name}_mutated\n"
            f"mutate -list {count} -seed {SEED} -ctrl mutant 8 1 -o changes.ys\nscript changes.ys\n"
            "opt_clean\nwrite_verilog -noattr mutated.v\n",
            folder,
        )
        self.changes = [_told(line) for line in (folder / "changes.ys").read_text().splitlines() if line.strip()]
        module = json.loads((folder / "original.json").read_text())["modules"][f"{cell.name}_original"]
        self._ports: _Ports = {name: (port["direction"], len(port["bits"])) for name, port in module["ports"].items()}
        # `run_bench` sets the parameters of the module that it builds; the netlist has them built in.
        parameters = ", ".join(f"parameter int {name} = 0" for name in self._parameters)
        choice = f'  logic [7:0] chosen [1];\n  initial $readmemh("{folder / _CHOSEN}", chosen);\n'
        choice += "  logic [7:0] mutant;\n  assign mutant = chosen[0];\n"
        (folder / "chosen").mkdir(exist_ok=True)
        (folder / "chosen" / f"{cell.name}.sv").write_text(self._wrapper(parameters, choice))
        # Else everything would count as noticed.
        if benches and self._bench_notices(0):
            raise ProofError(f"{cell.name}: its bench fails without a mutant; see its log {folder}/bench-0.log")
        if self._proof_notices(0):
            raise ProofError(f"{cell.name}: its proof fails without a mutant; see the run in {folder}/proof-0")

    @property
    def _parameters(self) -> dict[str, int]:
        return {**self._cell.defaults, **self._shape.parameters}

    def judge(self, number: int) -> Verdict:
        """What notices mutant `number`."""
        if self._benches and self._bench_notices(number):
            return "bench"
        if self._proof_notices(number):
            return "proof"
        differs = self._ask(f"same-{number}", number, _DEPTH, same=True)
        return "undecided" if differs is None else "missed" if differs else "no difference found"

    def _bench_notices(self, number: int) -> bool:
        arguments = {
            "module": self._cell.name,
            "parameters": self._parameters,
            "sources": [str(self._folder / "mutated.v"), str(self._folder / "chosen" / f"{self._cell.name}.sv")],
            "bench": f"edgesight.sim.rtl.{self._cell.name}.{self._cell.name}_bench",
        }
        (self._folder / _CHOSEN).write_text(f"{number:02x}\n")
        with (self._folder / f"bench-{number}.log").open("w") as log:
            child = subprocess.Popen(
                [sys.executable, "-c", _BENCH, json.dumps(arguments)],
                cwd=ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                return child.wait(_BENCH_SECONDS if number else _FIRST_BUILD_SECONDS) != 0
            except subprocess.TimeoutExpired:
                os.killpg(child.pid, signal.SIGKILL)
                child.wait()
                return True

    def _proof_notices(self, number: int) -> bool:
        return self._ask(f"proof-{number}", number, self._shape.depth, same=False) is True

    def _ask(self, what: str, number: int, depth: int, *, same: bool) -> bool | None:
        """Whether a run breaks the proof's properties or, with `same`, tells mutant and cell apart; None: undecided."""
        folder = self._folder / what
        folder.mkdir(exist_ok=True)
        choice = f"  localparam logic [7:0] mutant = 8'd{number};\n"
        (folder / f"{self._cell.name}.sv").write_text(self._wrapper("", choice, same=same))
        packages = [source for source in self._cell.sources() if source.stem.endswith("_pkg")]
        sources = [*packages, *PROOF_PARTS, self._folder / "original.v", self._folder / "mutated.v"]
        sources += [folder / f"{self._cell.name}.sv", self._proof_without_parameters(folder)]
        without = () if not same else self._properties(folder, sources)
        translate(folder, sources, self._cell.proof.stem, self._parameters, without=without)
        found = bounded(folder, depth, seconds=_COMPARE_SECONDS if same else _PROOF_SECONDS)
        return False if found.holds else True if found.broken else None

    def _properties(self, folder: Path, sources: Sequence[Path]) -> list[str]:
        """Those of the proof, which a comparison leaves out."""
        listed = translate(folder, sources, self._cell.proof.stem, self._parameters)
        return sorted(name for name in listed if not name.startswith("same_"))

    def _proof_without_parameters(self, folder: Path) -> Path:
        """The proof, whose cell has its parameters built in."""
        text = self._cell.proof.read_text()
        before, _, behind = text.partition(f"\n  {self._cell.name} #(")
        proof = folder / self._cell.proof.name
        proof.write_text(f"{before}\n  {self._cell.name}{behind[behind.index(') u_cell (') + 1 :]}")
        return proof

    def _wrapper(self, parameters: str, choice: str, *, same: bool = False) -> str:
        """A module like the cell around the netlist; `choice` declares `mutant`; with `same` it compares the two."""
        name = self._cell.name
        declared = [f"  {direction} logic [{bits - 1}:0] {port}" for port, (direction, bits) in self._ports.items()]
        head = f"module {name} {f'#({parameters})' if parameters else ''}"
        connected = ", ".join(f".{port}({port})" for port in self._ports)
        text = f"{head} (\n" + ",\n".join(declared) + f"\n);\n{choice}"
        text += f"  {name}_mutated u_mutated (.mutant(mutant), {connected});\n"
        if same:
            outputs = {port: bits for port, (direction, bits) in self._ports.items() if direction == "output"}
            for port, bits in outputs.items():
                text += f"  logic [{bits - 1}:0] original_{port};\n"
            ports = [f".{port}({'original_' * (port in outputs)}{port})" for port in self._ports]
            text += f"  {name}_original u_original ({', '.join(ports)});\n"
            text += "  logic started_q = 1'b0;\n  always_ff @(posedge clk_i) started_q <= 1'b1;\n"
            for port in outputs:
                says = self._cell.meaning.get(port)
                when = f"started_q && original_{says}" if says else "started_q"
                text += f"  always_comb if ({when}) same_{port}: assert ({port} == original_{port});\n"
        return text + "endmodule\n"


def _told(line: str) -> str:
    """A change as Yosys lists it, without what only chooses it."""
    words = line.split()
    kept = []
    skip = 0
    for word in words[1:]:
        if skip:
            skip -= 1
        elif word == "-ctrl":
            skip = 3
        elif word == "-module":
            skip = 1
        else:
            kept.append(word)
    return " ".join(kept)
