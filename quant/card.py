"""The model card: what was trained, from what, how, and how good it is, as JSON and as a page.

Words owned here: model card."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
import platform
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from rich.table import Table

from edgesight.host.kernel import BackEndInput
from edgesight.quant.backends import BackEnd, Wanted
from edgesight.quant.export import write_atomically
from edgesight.quant.facts import Facts
from edgesight.quant.gain import gain, packed, unpacked
from edgesight.quant.image_folder import FolderReading
from edgesight.quant.learn import Trained
from edgesight.quant.networks import EXITS, Told
from edgesight.quant.recipe import Phase
from edgesight.quant.splits import DataSet

_PLACES: Final = (EXITS, "stage0", "stage1", "stage2", "stage3", "backend")  # in the order that a cascade asks them


@dataclass(frozen=True)
class Written:
    """A network's files, and how its QONNX compares with Brevitas; None of the back end, which is no QONNX."""

    files: tuple[Path, ...]
    agreement: str | None


@dataclass(frozen=True)
class NetworkReport:
    """What training one network, or exit of one, over several seeds gave; accuracies are shares, 0 to 1, one a seed.

    Attributes:
        variant: its name; of an exit, the stage that it is.
        network: `shipped` or `steep`, or the user's file and callable.
        test_accuracy: of the network as exported, on the test split.
        calibration_accuracy: the same on the calibration split.
        float_test_accuracy: of the float twin, on the test split; none where there is no twin.
        seconds: wall time of each training.
        parameters: weights and biases of the network, all exits together.
        macs: multiply-accumulates an image of the network, all exits together; None where nobody counted them.
        files: what was written of the network for seed 0.
    """

    variant: str
    network: str
    test_accuracy: tuple[float, ...]
    calibration_accuracy: tuple[float, ...]
    float_test_accuracy: tuple[float, ...]
    seconds: tuple[float, ...]
    parameters: int
    macs: int | None
    files: tuple[Path, ...]


@dataclass(frozen=True)
class Measured:
    """What the card tells of a network: reports of its exits, and of seed 0 which calibration images each gets right.

    Without exits it has one report. `input` is what a back end takes of a picture, where
    that is not what the fabric does.
    """

    network: Told
    facts: Facts
    written: Written
    right: NDArray[np.bool_]  # [exits, N]
    recipes: Mapping[Phase, Any]
    input: BackEndInput | None
    reports: tuple[NetworkReport, ...]


def measured_of(data: DataSet, trained: Sequence[Trained], written: Written) -> Measured:
    """What came of one network, trained with each seed; `written` is what came of the first."""
    network, right = trained[0].network, trained[0].calibration_right
    facts = network.facts(trained[0].module, data.shape, len(data.classes))
    floats = [result.float_test_accuracy for result in trained if result.float_test_accuracy is not None]
    reports = tuple(
        NetworkReport(
            variant=name,
            network=network.origin,
            test_accuracy=tuple(result.test_accuracy[index] for result in trained),
            calibration_accuracy=tuple(float(result.calibration_right[index].mean()) for result in trained),
            float_test_accuracy=tuple(shares[index] for shares in floats),
            seconds=tuple(result.seconds for result in trained),
            parameters=facts.parameters,
            macs=facts.macs,
            files=written.files,
        )
        for index, name in enumerate(_stages_of(network.name, len(right)))
    )
    form = network.form if isinstance(network, BackEnd) else None
    return Measured(network, facts, written, right, trained[0].recipes, form, reports)


def _stages_of(network: str, exits: int) -> list[str]:
    """What the exits of a network are as stages."""
    return [f"stage{index}" for index in range(exits)] if network == EXITS else [network]


def accuracy_table(data: DataSet, reports: Sequence[NetworkReport]) -> Table:
    """How good the networks are, for a person."""
    table = Table(title=f"{data.name}: accuracy on {len(data.test):,} test images")
    for heading in ("network", "seed 0", "mean", "least", "most", "float twin", "parameters", "MACs", "seconds"):
        table.add_column(heading, justify="left" if heading == "network" else "right")
    for report in reports:
        shares = report.test_accuracy
        table.add_row(
            report.variant,
            f"{shares[0]:.2%}",
            f"{np.mean(shares):.2%}",
            f"{min(shares):.2%}",
            f"{max(shares):.2%}",
            f"{report.float_test_accuracy[0]:.2%}" if report.float_test_accuracy else "none",
            f"{report.parameters:,}",
            "unknown" if report.macs is None else f"{report.macs:,}",
            f"{sum(report.seconds):.0f}",
        )
    return table


CARD_SCHEMA: Final = 2
_TOOLS: Final = ("torch", "brevitas", "qonnx", "onnx", "numpy", "onnxruntime")  # the last runs back ends with forms


Card: TypeAlias = dict[str, Any]


def told_command(
    data: DataSet, data_set: str, wanted: Wanted, seeds: int, size: int | None, quick: bool, reading: FolderReading
) -> str:
    """Return the command line that trains the same networks; a folder's place is left to the reader."""
    words = ["edgesight train", f"folder:PATH/{data.name}" if data_set.startswith("folder:") else data.name]
    words += [*wanted.options(), "--seeds", str(seeds)]
    words += [] if size is None else ["--size", str(size)]
    words += [] if reading.groups == "name" else ["--groups", reading.groups]
    words += ["--skip-damaged"] if reading.skip_damaged else []
    return " ".join([*words, "--quick"] if quick else words)


def write_card(data: DataSet, measured: Sequence[Measured], command: str, folder: Path) -> None:
    """Write `card.json` and `README.md`; networks of an older card stay if they saw the very same data."""
    path = folder / "card.json"
    networks: Card = {}
    if path.is_file():
        # A card that cannot be read has nothing to keep: this one replaces it.
        with suppress(ValueError, KeyError, TypeError):
            older = json.loads(path.read_text(encoding="utf-8"))
            if older["schema"] == CARD_SCHEMA and older["data_set"]["checksum"] == data.checksum:
                networks = dict(older["networks"])
    for one in measured:
        networks[one.network.name] = _network_entry(one, command)
    networks = {name: networks[name] for name in _PLACES if name in networks}
    _add_gains(networks, len(data.calibration))
    card: Card = {
        "schema": CARD_SCHEMA,
        "data_set": {
            "name": data.name,
            "note": data.note,
            "checksum": data.checksum,
            "shape": list(data.shape),
            "classes": list(data.classes),
            "images": {"train": len(data.train), "calibration": len(data.calibration), "test": len(data.test)},
            "split_seed": data.seed,
        },
        "networks": networks,
    }
    write_atomically(path, lambda temporary: temporary.write_text(json.dumps(card, indent=1) + "\n", encoding="utf-8"))
    page = model_card(card)
    write_atomically(folder / "README.md", lambda temporary: temporary.write_text(page, encoding="utf-8"))


def _add_gains(networks: Card, images: int) -> None:
    """Tell of each stage how much better it is than the one before it, as far as the card knows their answers."""
    for (before, worse), (_, better) in itertools.pairwise(_answering(networks)):
        better.pop("gain", None)
        rights = [unpacked(one["calibration_right"], images) for one in (better, worse) if "calibration_right" in one]
        if len(rights) == 2:
            better["gain"] = {"over": before, **dataclasses.asdict(gain(*rights))}


def _answering(networks: Card) -> Iterator[tuple[str, Card]]:
    """What a cascade asks, in order, with the entry that has its accuracies: a network, or an exit of one."""
    for name, entry in networks.items():
        exits = entry.get("exits", [entry])
        yield from zip(_stages_of(name, len(exits)), exits, strict=True)


def _network_entry(measured: Measured, command: str) -> Card:
    network, facts, report = measured.network, measured.facts, measured.reports[0]
    accuracies = [_accuracies(one, right) for one, right in zip(measured.reports, measured.right, strict=True)]
    return {
        "network": network.origin,
        "source_sha256": facts.source,
        "command": command,
        "date": datetime.now(timezone.utc).date().isoformat(),
        "machine": f"{_processor()}, 1 thread",
        "tools": {"python": platform.python_version()}
        | {name: version(name) for name in _TOOLS if name != "onnxruntime" or measured.input is not None},
        "layers": facts.layers,
        "weight_bits": facts.weight_bits,
        "activation_bits": facts.activation_bits,
        "parameters": report.parameters,
        "macs": report.macs,
        "recipes": {phase: dataclasses.asdict(recipe) for phase, recipe in measured.recipes.items()},
        "seeds": list(range(len(report.test_accuracy))),
        "shipped_seed": 0,
        **({"exits": accuracies} if network.name == EXITS else accuracies[0]),
        "qonnx": measured.written.agreement,
        **({"input": measured.input.model_dump(mode="json")} if measured.input is not None else {}),
        "seconds": [round(seconds, 1) for seconds in report.seconds],
        "files": {
            path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
            for path in report.files
        },
    }


def _accuracies(report: NetworkReport, right: NDArray[np.bool_]) -> Card:
    return {
        "test_accuracy": _spread(report.test_accuracy),
        "calibration_accuracy": _spread(report.calibration_accuracy),
        "calibration_right": packed(right),
        "float_test_accuracy": _spread(report.float_test_accuracy) if report.float_test_accuracy else None,
    }


def _spread(shares: Sequence[float]) -> Card:
    return {
        "by_seed": [round(share, 6) for share in shares],
        "mean": round(float(np.mean(shares)), 6),
        "min": round(min(shares), 6),
        "max": round(max(shares), 6),
    }


def _processor() -> str:
    """Name the processor as Linux does, else as Python knows it."""
    try:
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass  # No such file but on Linux.
    return platform.processor() or platform.machine()


def model_card(card: Card) -> str:
    """Return a model card's Markdown page; every number in it is the card's."""
    data = card["data_set"]
    height, width, channels = data["shape"]
    counts = data["images"]
    lines = [
        f"# Networks for {data['name']}",
        "",
        f"{data['note']} Images are {height} x {width} x {channels}, {len(data['classes'])} classes; "
        f"{counts['train']:,} train, {counts['calibration']:,} calibration and {counts['test']:,} test images.",
        "",
        *_origins(card),
        "This page and `card.json`, which has layers, recipes and checksums, are written by the same command.",
        "",
        "| network | bits (weights, activations) | parameters | MACs an image | shipped (seed 0) | mean | least | most "
        "| seeds | float twin (seed 0) | training, s |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for network, entry in card["networks"].items():
        bits = f"{entry['weight_bits']}, {entry['activation_bits']}" if entry["weight_bits"] else "float"
        size = [bits, f"{entry['parameters']:,}", "unknown" if entry["macs"] is None else f"{entry['macs']:,}"]
        for name, accuracies in _answering({network: entry}):
            test, twin = accuracies["test_accuracy"], accuracies["float_test_accuracy"]
            float_share = f"{twin['by_seed'][0]:.2%}" if twin else "none"
            shares = [f"{share:.2%}" for share in (test["by_seed"][0], test["mean"], test["min"], test["max"])]
            cells = [name, *size, *shares, str(len(entry["seeds"])), float_share, f"{sum(entry['seconds']):.0f}"]
            lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        "Accuracy is the share of the test split that the network answers rightly, measured on the quantised network "
        "where there is one. The test split was never trained on, and no epoch or weight was chosen by it. The stages "
        "learn from seed 0's back end beside the labels, whatever their own seed. Seconds are wall time, so they hang "
        "on what else the machine did.",
        "",
        *_said_of(card["networks"]),
        "| file | holds | bytes | sha256 |",
        "|---|---|--:|---|",
    ]
    for name, entry in card["networks"].items():
        for file, facts in entry["files"].items():
            weights = "state dict, array by array" if entry.get("source_sha256") else "integer weights and exponents"
            holds = weights if file.endswith(".npz") else "QONNX" if name != "backend" else "ONNX"
            lines.append(f"| `{file}` | {holds} | {facts['bytes']:,} | `{facts['sha256']}` |")
    lines += ["", f"Data checksum: `{data['checksum']}`.", ""]
    return "\n".join(lines)


def _said_of(networks: Card) -> Iterator[str]:
    """Tell where networks of the user's own come from, and which stages are no better than the one before."""
    lines = [
        f"{name} is `{entry['network']}` (sha256 `{entry['source_sha256'][:12]}...`); its QONNX is {entry['qonnx']}."
        for name, entry in networks.items()
        if entry.get("source_sha256")
    ]
    lines += _said_of_backend(networks.get("backend", {}))
    if EXITS in networks:
        lines.append(
            "The stages are exits of that one network, which were trained together, for the sum of their losses; bits, "
            "parameters, MACs and seconds are of the whole network."
        )
    for name, entry in _answering(networks):
        gained = entry.get("gain")
        if gained and not gained["proved"]:
            lines.append(
                f"**{name} is no better than {gained['over']}** on the calibration split: {gained['difference']:+.1%}, "
                f"with 95 % confidence {gained['low']:+.1%} to {gained['high']:+.1%}."
            )
    for line in lines:
        yield from (line, "")


def _said_of_backend(entry: Card) -> Iterator[str]:
    """Tell what a back end with a form of its own takes, and where it comes from."""
    if "input" not in entry:
        return
    form = BackEndInput.model_validate(entry["input"])
    takes = "bytes" if form.element == "uint8" else f"(byte - {form.mean}) / {form.deviation} as float32"
    told = (
        f"The back end is `{entry['network']}`. It takes the photograph, not the fabric's thumbnail: "
        f"{form.height} x {form.width} x {form.channels}, {takes}, {form.layout}."
    )
    if form.outputs is not None:
        told += f" Of its outputs the classes are {', '.join(map(str, form.outputs))}, in their order."
    blocks = entry["recipes"].get("blocks")
    if blocks is not None:
        told += (
            f" It begins with weights that were trained on ImageNet; a head was fitted to {blocks['views']} views of "
            f"each train picture, then the blocks from {blocks['block']} on and the head were trained for "
            f"{blocks['epochs']} epochs."
        )
    else:
        told += " Nothing of it was trained here; accuracies, seconds and lessons are of the file as it was given."
    yield told


def _origins(card: Card) -> Iterator[str]:
    """Tell by which command, when and with what each network was made, those of one making in one line."""
    made: dict[str, list[str]] = {}
    for name, entry in card["networks"].items():
        tools = ", ".join(f"{tool} {release}" for tool, release in entry["tools"].items())
        made.setdefault(f"`{entry['command']}` on {entry['date']} ({entry['machine']}; {tools})", []).append(name)
    for origin, names in made.items():
        yield f"{', '.join(names)}: made by {origin}."
