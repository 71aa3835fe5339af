"""A stranger's back end: float NCHW with a mean and a deviation, of 1,000 classes of which the data set's are some.

It is made of the trained one, around which the arithmetic of another export is laid, so that what it should answer is
known. `edgesight train` takes it from two files, ONNX and TOML; then the real data centre serves it to a real edge.

Words owned here: mistake (preprocessing that is stated wrongly).
"""

from __future__ import annotations

import asyncio
import json
import shutil
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from rich.console import Console

from edgesight.bench.commands import run_command, tried_command
from edgesight.bench.kept import Found
from edgesight.bench.link.programs import offloading_package
from edgesight.bench.photograph.asked import Photographs
from edgesight.bench.photograph.kernels import Made, compiled
from edgesight.bench.photograph.processes import pair
from edgesight.bench.report import Check
from edgesight.host.back_end import form_for
from edgesight.host.kernel import BackEndInput
from edgesight.host.package import Package
from edgesight.quant.splits import Split

OUTPUTS = 1_000
OTHER = 0.01  # accuracy by which it may differ from the network that it is made of, calibrated
ASKED = 100  # pictures that are asked over the link
SERVED = 1.0  # share of them that the data centre must answer
_MEAN, _DEVIATION = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, in bytes
_SEED = 7


def stranger(own: bytes, form: BackEndInput, classes: int) -> tuple[bytes, BackEndInput]:
    """The network `own`, which takes pictures in `form`, as a stranger would bring it, and the form that this takes."""
    model = onnx.compose.add_prefix(onnx.load_model_from_string(own), "own_")
    graph = model.graph
    generator = np.random.default_rng(_SEED)
    named = generator.permutation(OUTPUTS)[:classes]
    channels, one_each = form.channels, (1, form.channels, 1, 1)
    # The other classes are mixtures of those that count, and often more likely: they must not be looked at.
    mixed = generator.dirichlet(np.ones(classes), OUTPUTS).T.astype(np.float32)
    bias = generator.uniform(0, 5, OUTPUTS).astype(np.float32)
    mixed[:, named], bias[named] = np.eye(classes, dtype=np.float32), 0.0
    mean, deviation = list(_MEAN[:channels]), list(_DEVIATION[:channels])
    constants = {
        "mean": np.array(mean, np.float32).reshape(one_each),
        "deviation": np.array(deviation, np.float32).reshape(one_each),
        "mixed": mixed,
        "bias": bias,
        "black": np.float32(0),
        "white": np.float32(255),
        "own_mean": np.array(form.mean, np.float32).reshape(one_each),
        "own_deviation": np.array(form.deviation, np.float32).reshape(one_each),
    }
    nodes = [
        helper.make_node("Mul", ["pixel_values", "deviation"], ["scaled"]),
        helper.make_node("Add", ["scaled", "mean"], ["near"]),
        helper.make_node("Round", ["near"], ["rounded"]),
        helper.make_node("Clip", ["rounded", "black", "white"], ["bytes"]),
    ]
    if form.element == "uint8":
        nodes.append(helper.make_node("Cast", ["bytes"], ["taken"], to=TensorProto.UINT8))
    else:
        nodes.append(helper.make_node("Sub", ["bytes", "own_mean"], ["centred"]))
        nodes.append(helper.make_node("Div", ["centred", "own_deviation"], ["taken"]))
    order = [0, 2, 3, 1] if form.layout == "NHWC" else [0, 1, 2, 3]
    nodes.append(helper.make_node("Transpose", ["taken"], [graph.input[0].name], perm=order))
    nodes += graph.node
    nodes.append(helper.make_node("MatMul", [graph.output[0].name, "mixed"], ["mixtures"]))
    nodes.append(helper.make_node("Add", ["mixtures", "bias"], ["scores"]))
    shape = ["N", channels, form.height, form.width]
    made = helper.make_graph(
        nodes,
        "stranger",
        [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, ["N", OUTPUTS])],
        [*graph.initializer, *(numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items())],
    )
    content = helper.make_model(made, opset_imports=model.opset_import, ir_version=model.ir_version).SerializeToString()
    taken = form.model_copy(
        update={
            "layout": "NCHW",
            "element": "float32",
            "mean": mean,
            "deviation": deviation,
            "outputs": [int(output) for output in named],
        }
    )
    return content, taken


def mistakes(form: BackEndInput) -> dict[str, BackEndInput]:
    """What people state wrongly, by what they do; each takes every picture without an error."""
    shares = {"mean": [value / 255 for value in form.mean], "deviation": [value / 255 for value in form.deviation]}
    plain = {"mean": [0.0] * form.channels, "deviation": [1.0] * form.channels}
    outputs = [(output + 1) % OUTPUTS for output in form.outputs or ()]
    return {
        "mean and deviation of pictures from 0 to 1": form.model_copy(update=shares),
        "no mean and no deviation": form.model_copy(update=plain),
        "pictures from 0 to 1": form.model_copy(update={**plain, "deviation": [255.0] * form.channels}),
        "outputs that are counted from 1": form.model_copy(update={"outputs": outputs}),
        "channels last": form.model_copy(update={"layout": "NHWC"}),
    }


def statement(form: BackEndInput, classes: Sequence[str]) -> str:
    """The TOML file that states a form. JSON's numbers, strings and lists are TOML's, too."""
    fields = form.model_dump(exclude={"outputs"})
    lines = [f"{name} = {json.dumps(value)}" for name, value in fields.items()]
    named = zip(classes, form.outputs or (), strict=True)
    return "\n".join([*lines, "[outputs]", *(f"{json.dumps(name)} = {output}" for name, output in named), ""])


def measure(made: Made, asked: Photographs, folder: Path, console: Console) -> Found:
    """Take it, state it wrongly, calibrate it and serve it. Raises CommandError, or what the link raises."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    package, data = made.opened(), made.data()
    own = package.kernel.calibration
    assert own is not None  # `made` calibrates
    content, form = stranger(package.read("datacenter.onnx"), form_for(package.kernel), len(data.classes))
    model = folder / "stranger.onnx"
    model.write_bytes(content)

    def words(name: str, stated: BackEndInput) -> list[str]:
        file = folder / f"{name}.toml"
        file.write_text(statement(stated, data.classes))
        options = ["--variant", "backend", "--backend", str(model), "--backend-input", str(file)]
        return ["train", asked.dataset, *asked.options, *options, "--out", str(folder / name)]

    said: dict[str, str | None] = {}
    for number, (name, wrong) in enumerate(mistakes(form).items()):
        status, text = tried_command(*words(f"mistake{number}", wrong))
        said[name] = objection(status, text)
        console.print(f"{name}: {said[name] or 'taken without a word'}", highlight=False, markup=False, soft_wrap=True)
    shutil.copytree(made.zoo, folder / "zoo")
    run_command(console, *words("zoo", form))
    compiled(folder / "zoo", folder / "kernel", asked.dataset, asked.cycles, console)
    calibrated = Package.load(folder / "kernel")
    other = calibrated.kernel.calibration
    assert other is not None
    accuracies = [calibration.buckets[0].accuracy for calibration in (own, other)]
    offloading = offloading_package(calibrated.path, folder / "offloading")
    served = asyncio.run(_served(offloading, data.test, asked.dataset, folder))
    missed = sum(one is None for one in said.values())
    checks = (
        Check("stranger: mistakes taken without a word", missed, 0, True, f"of {len(said)}", "measured"),
        Check(
            "stranger: accuracy other than its network's",
            abs(accuracies[1] - accuracies[0]),
            OTHER,
            True,
            f"of {other.images} images",
            "simulated",
        ),
        Check("stranger: answered by the data centre", served["share"], SERVED, False, "of those sent", "measured"),
        Check("stranger: targets offered", len(other.targets), 1, False, "targets", "simulated"),
    )
    body = {
        "outputs": OUTPUTS,
        "named": len(data.classes),
        "mistakes": said,
        "calibrated": dict(zip(("own", "stranger"), accuracies, strict=True)),
        "targets": [target.accuracy for target in other.targets],
        "served": served,
    }
    return Found(body, checks)


def objection(status: int, said: str) -> str | None:
    """What a command that ended with `status` said against a back end; None where it took it without a word."""
    lines = said.strip().splitlines()
    warnings = [line for line in lines if line.startswith("warning: ") and "rightly" in line]
    return lines[-1] if status and lines else next(iter(warnings), None)


async def _served(package: Package, test: Split, dataset: str, folder: Path) -> dict[str, Any]:
    """Ask for pictures of the test split over the link; all go to the data centre."""
    chosen = np.random.default_rng(_SEED).permutation(len(test))[:ASKED]
    files = pictures_of(test, chosen, dataset, folder / "pictures")
    async with pair(package, folder / "link") as both:
        answers = await both.ask(files, 0.0)
    by = np.array([answer.stage == "datacenter" and not answer.degraded for answer in answers])
    right = np.array([answer.label for answer in answers]) == test.labels[chosen]
    return {
        "pictures": len(answers),
        "share": float(by.mean()),
        "accuracy": float(right.mean()),
        "p50_ms": float(np.median([answer.milliseconds for answer in answers])),
    }


def pictures_of(split: Split, chosen: Sequence[int] | np.ndarray[Any, Any], dataset: str, folder: Path) -> list[Path]:
    """The files of the pictures at `chosen`, which are copied into `folder` out of a .zip file."""
    root = Path(dataset.removeprefix("folder:")).expanduser()
    names = [split.ids[index] for index in chosen]
    if root.is_dir():
        return [root / name for name in names]
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    with zipfile.ZipFile(root) as archive:
        for number, name in enumerate(names):
            files.append(folder / f"{number}{Path(name).suffix}")
            files[-1].write_bytes(archive.read(name))
    return files
