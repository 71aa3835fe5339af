"""`edgesight bench photograph`: what the photograph is worth to a cascade, for photographs, sites and strange pictures.

Networks are trained before, by command line, and kept; so is what each section found, as long as it hangs on the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

from rich.console import Console

from edgesight.bench.coverage import by_command
from edgesight.bench.kept import ROOT, Found, Kept, fingerprint, with_imports
from edgesight.bench.photograph import cascade, site, strange, stranger
from edgesight.bench.photograph.asked import Asked, card_of
from edgesight.bench.photograph.kernels import Made, data_of, made, trained
from edgesight.bench.report import print_checks, write_report
from edgesight.bench.sections import Due, print_skipped, run_sections
from edgesight.host.back_end import form_for
from edgesight.host.package import Package
from edgesight.quant import datasets
from edgesight.quant.splits import DataSet

_FOLDER = "photograph"  # of what is made, below that of the report


@dataclass
class _Run:
    """One run: what it was asked for, and what is made on the way, once."""

    asked: Asked
    folder: Path
    console: Console

    @cached_property
    def made(self) -> Made:
        """The kernel of the photographs."""
        assert self.asked.photographs is not None
        return made(self.asked.photographs, self.folder, self.console)

    @cached_property
    def signs(self) -> by_command.Asked:
        """The networks of the signs."""
        signs = self.asked.signs
        assert signs is not None
        words = (signs.dataset, *signs.options)
        return by_command.Asked(trained(signs.zoo, self.folder / "signs", self.console, *words), signs.dataset)


def _cascade(run: _Run) -> Found:
    return cascade.measure(run.made, run.folder / "cascade", run.console)


def _signs(run: _Run) -> Found:
    found = by_command.by_command(run.signs, run.folder / "signs-by-command", run.console)
    return Found(asdict(found), tuple(by_command.checks_of(found)))


def _stranger(run: _Run) -> Found:
    assert run.asked.photographs is not None
    return stranger.measure(run.made, run.asked.photographs, run.folder / "stranger", run.console)


def _strange(run: _Run) -> Found:
    return strange.measure(_kernels(run), run.asked.pictures, run.console)


def _kernels(run: _Run) -> dict[str, strange.Kernel]:
    """The kernels that are to tell strange pictures, by name; pictures of each are strange to the other.

    Photographs of anything are told of without a bar.
    """
    found: dict[str, tuple[Package, DataSet]] = {}
    if run.asked.shipped is not None:
        path, name, folder = run.asked.shipped
        package = Package.load(path)
        found[name] = package, data_of(package, name, folder)
    if run.asked.photographs is not None:
        found[run.made.card["data_set"]["name"]] = run.made.opened(), run.made.data()
    odd = "noise.png", "white.png", "boot-on-white.png"
    kernels = {}
    for name, (package, data) in found.items():
        shape = form_for(package.kernel).shape
        other_sets = [(other, set_) for other, (_, set_) in found.items() if other != name]
        if name != "digits":
            other_sets.append(("digits", datasets.load("digits")))
        others = {other: strange.refitted(strange.some(set_), shape) for other, set_ in other_sets}
        others |= {other: strange.pictures_in(path, shape) for other, path in run.asked.others.items()}
        others["inverted"] = 255 - strange.some(data)
        told: dict[str, strange.Pixels] = {}
        if run.asked.anything is not None:
            told["anything"] = strange.pictures_in(run.asked.anything, shape)
        kernels[name] = strange.Kernel(package, data, odd, others, told)
    return kernels


def _site(run: _Run) -> Found:
    return site.measure(run.made, run.folder / "site", run.console)


@dataclass(frozen=True)
class Section:
    """A part of the bench.

    Attributes:
        title: for people.
        run: measures.
        lacks: why it cannot, where what it needs was not given.
    """

    title: str
    run: Callable[[_Run], Found]
    lacks: Callable[[Asked], str | None]


def _no_photographs(asked: Asked) -> str | None:
    return None if asked.photographs is not None else "no photographs were given (--photographs)"


def _no_signs(asked: Asked) -> str | None:
    return None if asked.signs is not None else "no traffic signs were given (--signs)"


def _no_kernel(asked: Asked) -> str | None:
    there = asked.photographs is not None or asked.shipped is not None
    return None if there else "neither photographs nor a shipped kernel's data were given (--photographs)"


SECTIONS = {
    "photograph": Section("a cascade whose back end takes the photograph", _cascade, _no_photographs),
    "signs": Section("a cascade of traffic signs, by command line alone", _signs, _no_signs),
    "stranger": Section("a stranger's ONNX back end of 1,000 classes", _stranger, _no_photographs),
    "strange": Section("strange pictures flagged", _strange, _no_kernel),
    "site": Section("thresholds for a site's pictures, swapped in at a running edge", _site, _no_photographs),
}
# What a section's result hangs on beside the bench itself: what the commands do that it runs.
_COMMANDS = tuple(ROOT / "edgesight" / "cli" / f"{name}.py" for name in ("bench", "build", "proof", "serve"))


def bench_photograph(out: Path, console: Console, asked: Asked, names: Sequence[str] = ()) -> bool:
    """Run the sections called `names`, or all; returns whether every bar is met. Writes `out`/photograph.json.

    What a section found stays in `out`/photograph. One that cannot be done counts as unmet, and the others go on.
    """
    run = _Run(asked, out / _FOLDER, console)
    results = run_sections({name: _due(name, run) for name in names or SECTIONS}, console)
    write_report(out / "photograph.json", {"sections": results.body, "skipped": results.skipped}, results.checks)
    print_skipped(console, results)
    return print_checks(console, results.checks)


def _due(name: str, run: _Run) -> Due:
    """The section of that name, as it is asked for."""
    section, asked = SECTIONS[name], run.asked

    def kept() -> Kept:
        zoos = [run.signs.zoo] if name == "signs" else [run.made.zoo] if asked.photographs is not None else []
        code = with_imports([Path(__file__), *_COMMANDS])
        return Kept(run.folder, fingerprint(code, repr(asked), *map(card_of, zoos)))

    return Due(section.title, section.lacks(asked), kept, lambda: section.run(run))
