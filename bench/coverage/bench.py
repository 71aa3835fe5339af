"""`edgesight bench coverage`: networks as people have them and random ones, all forms of each against the truth."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from rich.console import Console

from edgesight.bench.coverage import by_command, cascades, hls4ml_models
from edgesight.bench.coverage.exactness import INPUTS, Exactness, exactness
from edgesight.bench.coverage.examples import EXAMPLES
from edgesight.bench.coverage.random_blocks import KINDS
from edgesight.bench.coverage.random_build import Layer
from edgesight.bench.coverage.random_networks import BITS, CYCLES, NO_MEANING
from edgesight.bench.coverage.simulate import Result, run_random
from edgesight.bench.kept import Kept, fingerprint, with_imports
from edgesight.bench.report import Check, PlainTable, print_checks, write_report
from edgesight.hls.graph.integer_network import Format
from edgesight.hls.library import library_of, library_sources
from edgesight.host.files import write_atomically
from edgesight.sim.rtl.runner import ROOT

RANDOM = 500
DISTINCT = 50  # logit vectors of an example
FASTER = 5.0  # the fast reference than hls4ml's C++
SECONDS = 4800  # of a run from nothing
CSIM = 50  # random networks whose C++ is compared, of 500; in proportion, of fewer
_SLOW = ("cnv_", "resnet8_")  # examples whose RTL takes long to simulate
_SLOW_RTL_INPUTS = 20
_AT_ONCE = 48  # random networks between two results that are kept
_SEED = 1
# What the results depend on, beside the tools: these modules with all that they import, and what those read.
_MODULES = tuple(
    f"bench/coverage/{name}.py" for name in ("exactness", "simulate", "examples", "hls4ml_models", "by_command")
)
# Of trained networks that have no quantiser at their input: the type that hls4ml's users give it.
_ENTRIES = {"qkeras_jettagging": Format(-(1 << 15), (1 << 15) - 1, 2.0**-10)}
_PAGE = """# What the compiler was held against

Random networks that were exact, by layer and bits: `edgesight bench coverage` draws them as QONNX files, executes each
file in float64, and compares the compiler's fast reference with that, the RTL under random stalls with the reference,
and for one network in ten hls4ml's C++, too. This is the table of {drawn} networks (seed {seed}). Bits are those of a
layer's weights; of the quantiser behind a function; else of what comes in. A network counts in each row that it has a
layer of. The other columns count the same networks by their folding: the cycles a frame that each layer may take.
"""


@dataclass(frozen=True)
class Asked:
    """What a run is to do: `names` of examples (none: all), so many random networks, and what others have trained.

    `trained`: a folder of QONNX files; `models`: of those of hls4ml's own tests; `cascade`: a zoo and its data set.
    """

    names: Sequence[str] = ()
    random: int = RANDOM
    trained: Path | None = None
    models: Path | None = None
    cascade: by_command.Asked | None = None


def bench_coverage(out: Path, console: Console, asked: Asked) -> bool:
    """Compile and compare; returns whether every bar is met. Writes `out`/coverage.json.

    What was found of a network stays in `out`/coverage, and is taken again as long as the compiler, the RTL and this
    bench are the same, so that a run that was stopped goes on.
    """
    began = time.monotonic()
    kept = Kept(out / "coverage", fingerprint(sources()))
    found = [_example(name, path, kept, console) for name, path in _networks(asked, kept.folder)]
    drawn = _random(asked.random, kept, console)
    checks = [check for each in found for check in _checks_of(each)]
    _tell_boundaries(found, console)
    table, folded = coverage_table(drawn), folding_table(drawn)
    small = [] if asked.names else _cascades(kept, console)
    checks += cascades.checks_of(small)
    skipped: list[str] = []
    if asked.trained is None:
        skipped.append("the trained networks of the QONNX model zoo: no folder was given")
    models, refused = _models(asked.models, kept, console, skipped)
    checks += hls4ml_models.checks_of(models, refused)
    commanded = None if asked.cascade is None else _by_command(asked.cascade, kept, console)
    if commanded is None:
        skipped.append("a cascade by command line alone: no zoo was given")
    else:
        checks += by_command.checks_of(commanded)
    if asked.random:
        wrong = [result for result in drawn if result.error]
        stated = sum(result.csim for result in drawn)
        least = asked.random * CSIM // RANDOM
        checks.append(Check("random networks with csim", stated, least, False, "networks", "simulated"))
        checks.append(Check("random networks", len(drawn), asked.random, False, "networks", "simulated"))
        checks.append(Check("random networks that differ", len(wrong), 0, True, "networks", "simulated"))
        missing = sum(count == 0 for row in table.values() for count in row.values())
        checks.append(Check("layers by precision without a network", missing, 0, True, "entries", "simulated"))
    # Only what this run did itself: what was kept of an earlier one took its time then.
    checks.append(Check("time", time.monotonic() - began, SECONDS, True, "s", "measured"))
    body = {
        "inputs": INPUTS,
        "networks": [asdict(each) for each in found],
        "cascades": [asdict(each) for each in small],
        "hls4ml_models": {"quantised": [asdict(each) for each in models], "refused": refused},
        "by_command": None if commanded is None else asdict(commanded),
        "random": [asdict(result) for result in drawn if result.error],
        "table": {kind: {str(bits): count for bits, count in row.items()} for kind, row in table.items()},
        "folding": {kind: {str(cycles): count for cycles, count in row.items()} for kind, row in folded.items()},
        "skipped": skipped,
    }
    write_report(out / "coverage.json", body, checks)
    if asked.random:
        write_atomically(out / "coverage" / "table.md", table_page(table, folded, len(drawn), _SEED).encode())
        console.print(_shown(table, folded))
    for reason in skipped:
        console.print(f"skipped: {reason}", highlight=False)
    return print_checks(console, checks)


def coverage_table(results: Sequence[Result]) -> dict[str, dict[int, int | str]]:
    """How many exact networks have each kind of layer, by bits; why a combination has no meaning, where it has none.

    The kinds are all that are drawn, which is all that the compiler takes, whatever the results have.
    """
    table: dict[str, dict[int, int | str]] = {kind: dict.fromkeys(BITS, 0) for kind in KINDS}
    for kind, (without, reason) in NO_MEANING.items():
        table[kind] |= dict.fromkeys(without, reason)
    for result in results:
        entries = {(layer.kind, min(bits for bits in BITS if layer.bits <= bits)) for layer in result.layers}
        for kind, bits in entries if not result.error else ():
            count = table[kind][bits]
            assert isinstance(count, int)  # what has no meaning is not drawn
            table[kind][bits] = count + 1
    return table


def folding_table(results: Sequence[Result]) -> dict[str, dict[int, int]]:
    """How many exact networks have each kind of layer, by the cycles that a layer may take."""
    table = {kind: dict.fromkeys(CYCLES, 0) for kind in KINDS}
    for result in results:
        for kind in {layer.kind for layer in result.layers} if not result.error else ():
            table[kind][result.cycles] += 1
    return table


def table_page(
    table: Mapping[str, Mapping[int, int | str]], folded: Mapping[str, Mapping[int, int]], drawn: int, seed: int
) -> str:
    """Both tables as a page of the docs."""
    columns = ["layer", "1 bit", "2 bits", "3 or 4 bits", "5 to 8 bits", "1 cycle", *map(str, CYCLES[1:])]
    rows = [[kind, *row.values(), *folded[kind].values()] for kind, row in table.items()]
    lines = [
        _PAGE.format(drawn=drawn, seed=seed),
        f"| {' | '.join(columns)} |",
        f"|{'---|' * len(columns)}",
        *(f"| {' | '.join(map(str, row))} |" for row in rows),
        "",
    ]
    return "\n".join(lines)


def sources() -> list[Path]:
    """What the results depend on: modules, their imports in turn, C++ beside them, and the RTL that networks are of."""
    # hls4ml calls the modules beside its layers by registration: nobody imports these.
    called = [ROOT / "hls" / "backend.py", *(ROOT / "hls" / "cpp").glob("*.py")]
    modules = with_imports([*(ROOT / module for module in _MODULES), *called])
    headers = (ROOT / "hls" / "cpp").glob("*.h")
    text = (ROOT / "hls" / "rtl" / "network.py").read_text()
    modules_of = [file.removesuffix(".sv") for file in library_sources()]
    named = [module for module in modules_of if f'"{module}"' in text or f"{module} #(" in text]
    rtl = library_of({"units": " ".join(f"{module} #(" for module in named)})
    return sorted({*modules, *headers, ROOT / "sim" / "streams.cpp", *(ROOT / "hw" / "rtl" / name for name in rtl)})


def _networks(asked: Asked, folder: Path) -> list[tuple[str, Path]]:
    """The QONNX files to compile, by name."""
    chosen = [(name, folder / f"{name}.onnx") for name in asked.names or EXAMPLES if name in EXAMPLES]
    if asked.trained is not None:
        files = sorted(asked.trained.glob("*.onnx"))
        chosen += [(path.stem, path) for path in files if not asked.names or path.stem in asked.names]
    return chosen


def _example(name: str, path: Path, kept: Kept, console: Console) -> Exactness:
    earlier = kept.read(name)
    if earlier is not None:
        console.print(f"{name}: as found before", highlight=False)
        return Exactness(**earlier)
    began = time.monotonic()
    if name in EXAMPLES:
        EXAMPLES[name].export(path)
    rtl_inputs = _SLOW_RTL_INPUTS if name.startswith(_SLOW) else INPUTS
    found = exactness(name, path, kept.folder / "work", rtl_inputs, _ENTRIES.get(name))
    kept.write(name, asdict(found))
    console.print(f"{name}: {time.monotonic() - began:.0f} s", highlight=False)
    return found


def _tell_boundaries(found: Sequence[Exactness], console: Console) -> None:
    """List where single precision takes a value to another integer than double precision."""
    for each in found:
        if each.single["skipped"]:
            console.print(f"{each.name}: not run in single precision: {each.single['skipped']}", highlight=False)
        for boundary in each.single["boundaries"]:
            console.print(
                f"{each.name}: in single precision {boundary['values']} values fall on the other side of a boundary at "
                f"{boundary['layer']}, which is {boundary['distance']:.1e} of a step away at most",
                highlight=False,
            )


def _cascades(kept: Kept, console: Console) -> list[cascades.Compared]:
    earlier = kept.read("cascades")
    if earlier is not None:
        return [cascades.Compared(**each) for each in earlier["results"]]
    began = time.monotonic()
    found = cascades.compare_cascades(kept.folder / "cascades", console)
    kept.write("cascades", {"results": [asdict(each) for each in found]})
    console.print(f"cascades: {time.monotonic() - began:.0f} s", highlight=False)
    return found


def _models(
    folder: Path | None, kept: Kept, console: Console, skipped: list[str]
) -> tuple[list[hls4ml_models.Compared], dict[str, str]]:
    """How hls4ml's quantised models did, and what its float ones are refused with; `skipped` gets what is absent."""
    if folder is None:
        skipped.append("the models of hls4ml's own tests: no folder was given")
        return [], {}
    found, refused, work = [], {}, kept.folder / "hls4ml"
    for name in [*hls4ml_models.QUANTISED, *hls4ml_models.FLOATS]:
        key = f"hls4ml-{name.replace(' ', '-')}"
        earlier, began = kept.read(key), time.monotonic()
        try:
            if name in hls4ml_models.FLOATS:
                refused[name] = hls4ml_models.refusal(name, folder, work)
            elif earlier is not None:
                found.append(hls4ml_models.Compared(**earlier))
            else:
                found.append(hls4ml_models.compare(name, folder, work))
                kept.write(key, asdict(found[-1]))
                console.print(f"hls4ml's {name}: {time.monotonic() - began:.0f} s", highlight=False)
        except FileNotFoundError as absent:
            skipped.append(f"hls4ml's {name}: {absent}")
        shutil.rmtree(work, ignore_errors=True)
    return found, refused


def _by_command(asked: by_command.Asked, kept: Kept, console: Console) -> by_command.Found:
    key = f"by-command-{asked.key}"
    earlier = kept.read(key)
    if earlier is not None:
        return by_command.Found(**earlier)
    found = by_command.by_command(asked, kept.folder / "by-command", console)
    kept.write(key, asdict(found))
    console.print(f"{found.name} by command: {found.seconds:.0f} s", highlight=False)
    return found


def _random(count: int, kept: Kept, console: Console) -> list[Result]:
    results: list[Result] = []
    for start in range(0, count, _AT_ONCE):
        number = min(_AT_ONCE, count - start)
        name = f"random-{start}-{number}"
        earlier = kept.read(name)
        if earlier is None:
            folder = kept.folder / name
            folder.mkdir(exist_ok=True)
            made = run_random(
                range(start, start + number), _SEED, folder, lambda line: console.print(line, highlight=False)
            )
            kept.write(name, {"results": [asdict(result) for result in made]})
            results += made
        else:
            results += [_result(each) for each in earlier["results"]]
    return results


def _result(kept: dict[str, Any]) -> Result:
    return Result(**{**kept, "layers": tuple(Layer(**layer) for layer in kept["layers"])})


def _checks_of(found: Exactness) -> list[Check]:
    name, of_inputs = found.name, f"of {found.inputs} inputs"
    checks = [
        Check(f"{name}: reference differs from the truth", found.truth, 0, True, of_inputs, "simulated"),
        Check(f"{name}: top-1 differs from the truth's", found.top1, 0, True, of_inputs, "simulated"),
        Check(f"{name}: RTL runs that differ", found.rtl, 0, True, f"of {found.rtl_inputs} inputs each", "simulated"),
        Check(f"{name}: top-1 of single precision differs", found.single["top1"], 0, True, of_inputs, "measured"),
        Check(f"{name}: distinct logits", found.distinct, DISTINCT, False, "vectors", "simulated"),
    ]
    if not found.not_stated:
        faster = found.csim_ms / found.reference_ms
        checks.append(Check(f"{name}: csim differs", found.csim, 0, True, of_inputs, "simulated"))
        checks.append(Check(f"{name}: reference faster than csim", faster, FASTER, False, "times", "measured"))
    return checks


def _shown(table: Mapping[str, Mapping[int, int | str]], folded: Mapping[str, Mapping[int, int]]) -> PlainTable:
    columns = ["layer", *(f"up to {bits}" for bits in BITS), *(f"{cycles} cycles" for cycles in CYCLES)]
    shown = PlainTable("Exact layers by kind and bits, and by kind and folding", columns, words=["layer"])
    for kind, row in table.items():
        counts = [str(count) if isinstance(count, int) else "-" for count in row.values()]
        shown.add_row(kind, *counts, *map(str, folded[kind].values()))
    return shown
