"""From a zoo folder to a package: what may be written over, what the model card says of its files, compiling it."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from edgesight.host.back_end import form_for
from edgesight.host.errors import EdgeSightError
from edgesight.host.files import Claim, read_regular, sha256
from edgesight.host.kernel import EXITS as EXITS
from edgesight.host.kernel import MAX_STAGES, BackEndInput, Kernel
from edgesight.host.package import Package, load_kernel

if TYPE_CHECKING:
    from edgesight.hls.compile import Folding
    from edgesight.hls.folding import Runtime

# What `train` writes into a zoo folder, beside its card.
_FILES = (
    "README.md",
    *(f"{name}.{kind}" for name in (EXITS, *(f"stage{k}" for k in range(MAX_STAGES))) for kind in ("npz", "onnx")),
    "backend.onnx",
)
CARD = "card.json"


def _stranger(folder: Path) -> str | None:
    """Why training must not write here: nothing is removed, but files of its names are replaced."""
    try:
        card = json.loads(read_regular(folder / CARD))
        return None if {"schema", "networks"} <= card.keys() else f"its {CARD} is no model card"
    except FileNotFoundError:
        there = [name for name in _FILES if (folder / name).exists()]
        return f"it holds {there[0]} and no {CARD}" if there else f"it has no {CARD}"
    except (OSError, ValueError, AttributeError, RecursionError):
        return f"its {CARD} cannot be read"


ZOO = Claim("zoo folder", _stranger)


class ZooError(EdgeSightError, ValueError):
    """A zoo folder that cannot be compiled: says which file and what to do."""


def _found(error: Exception) -> str:
    """What was wrong with a card, in words."""
    if isinstance(error, OSError):
        return error.strerror or type(error).__name__
    return f"without {error}" if isinstance(error, KeyError) else f"{type(error).__name__}: {error}"


def read_card(zoo: Path) -> dict[str, Any]:
    """The model card of a zoo folder; ZooError where it is absent or lacks what compiling needs."""
    path = zoo / CARD
    try:
        card = json.loads(read_regular(path))
        facts = card["data_set"]
        str(facts["name"]), str(facts["checksum"]), [str(name) for name in facts["classes"]]
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise ZooError(f"{path}: no readable model card ({_found(error)}); make one with `edgesight train`") from error
    assert isinstance(card, dict)
    return card


def backend_input(card: dict[str, Any]) -> BackEndInput | None:
    """How a zoo folder's back end takes pictures, as its model card says; None: as the fabric does.

    Raises ZooError where the card says it wrongly.
    """
    stated = ((card.get("networks") or {}).get("backend") or {}).get("input")
    if stated is None:
        return None
    try:
        return BackEndInput.model_validate(stated)
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(["networks.backend.input", *(str(part) for part in first["loc"])])
        raise ZooError(f"{CARD}: field {field}: {first['msg']}: mend it, or train the back end again") from error


def exits_in(zoo: Path) -> int:
    """How many exits the zoo folder's network with exits has; 0 where there is no such network.

    Raises:
        ZooError: its file cannot be read, or has not two to four outputs.
    """
    path = zoo / f"{EXITS}.onnx"
    if not path.is_file():
        return 0
    import onnx
    from google.protobuf.message import DecodeError

    try:
        found = len(onnx.load_model_from_string(read_regular(path)).graph.output)
    except (OSError, DecodeError) as error:
        raise ZooError(f"{path}: no readable ONNX file ({error}); train it again") from error
    if not 2 <= found <= MAX_STAGES:
        raise ZooError(f"{path}: has {found} outputs, expected 2 to {MAX_STAGES}, one for each exit; train it again")
    return found


def stages_in(zoo: Path, card: dict[str, Any]) -> int:
    """How many stages a zoo folder holds: its exits, or as far as `stage<k>.onnx` go on or the card says they do."""
    networks = card.get("networks") or {}
    there = [f"stage{k}" in networks or (zoo / f"stage{k}.onnx").is_file() for k in range(MAX_STAGES)]
    return exits_in(zoo) or next((k for k, is_there in enumerate(there) if not is_there), MAX_STAGES)


def _networks_of(zoo: Path, card: dict[str, Any], stages: int) -> list[str]:
    """The networks that a cascade of so many stages is made of; ZooError where the zoo folder leaves that open."""
    exits = exits_in(zoo)
    if not exits and EXITS not in (card.get("networks") or {}):
        return names_of(stages)
    alone = [name for name in names_of(MAX_STAGES) if (zoo / f"{name}.onnx").is_file()]
    if alone:
        raise ZooError(
            f"{zoo}: holds {EXITS}.onnx and {alone[0]}.onnx, and only one of them can be the cascade: move the other "
            "to another folder"
        )
    if exits and exits != stages:
        raise ZooError(
            f"{zoo / EXITS}.onnx: has {exits} exits, each of which is a stage: give --cycles {exits} numbers, not "
            f"{stages}"
        )
    return [EXITS]


def check_files(zoo: Path, card: dict[str, Any], stages: int) -> None:
    """ZooError where a network is absent, or is not what the card was written for."""
    backend_input(card)
    networks = card.get("networks") or {}
    for name in (*_networks_of(zoo, card, stages), "backend"):
        path, file = zoo / f"{name}.onnx", f"{name}.onnx"
        described = networks.get(name, {}).get("files", {}).get(file, {}).get("sha256")
        if not path.is_file():
            if name == "backend" and described is None:
                continue
            what = "the data centre's network" if name == "backend" else f"the cascade is to have {stages} stages"
            option = f"--{EXITS} FILE.py:CALLABLE" if name == EXITS else f"--variant {name}"
            raise ZooError(f"{path}: is missing ({what}): train it with `edgesight train DATASET {option}`")
        found = sha256(path.read_bytes())
        if described not in (None, found):
            twin = [
                other for other, entry in networks.items() if found in [f["sha256"] for f in entry["files"].values()]
            ]
            seen = f"it is {twin[0]}'s" if twin else f"it has sha256 {found[:12]}..."
            raise ZooError(
                f"{path}: is not the file that {CARD} describes ({described[:12]}...; {seen}): put that file back, or "
                f"train again; a network of your own takes its sha256 in {CARD}"
            )


def warnings(zoo: Path, card: dict[str, Any]) -> list[str]:
    """What lets a package be made, but a poor one: for before the work."""
    networks = card.get("networks") or {}
    said = []
    if not (zoo / "backend.onnx").is_file():
        said.append(
            f"{zoo}: has no backend.onnx, so that the package offloads nothing and cannot be calibrated: train it with "
            "`edgesight train DATASET --variant backend`"
        )
    exits = networks.get(EXITS, {}).get("exits", [])
    entries = networks | dict(zip(names_of(len(exits)), exits, strict=True))
    shares = {}
    for name, entry in entries.items():
        try:
            shares[name] = float(entry["calibration_accuracy"]["by_seed"][0])
        except (KeyError, TypeError, ValueError, IndexError):
            continue
    for worse, better in itertools.pairwise([*names_of(stages_in(zoo, card)), "backend"]):
        if not {worse, better} <= shares.keys():
            continue
        gain = entries[better].get("gain") or {}  # older cards have none
        proved, interval = shares[better] > shares[worse], ""
        if gain.get("over") == worse:
            proved, interval = gain["proved"], f"; the gain is {gain['low']:+.1%} to {gain['high']:+.1%}"
        if not proved:
            remedy = "" if better == "backend" else "leave it out, give it more layers or filters, "
            said.append(
                f"{better} is no better than {worse} ({shares[better]:.1%} against {shares[worse]:.1%} of the "
                f"calibration split{interval}): asking it costs time and gains nothing; {remedy}train it longer, or on "
                "more pictures"
            )
    return said


def names_of(stages: int) -> list[str]:
    """What a cascade's stages are called, in order."""
    return [f"stage{index}" for index in range(stages)]


ROOT = Path(__file__).resolve().parent.parent
SHIPPED = ROOT / "bitstreams"


def out_of_reach(package: Package, foldings: list[Folding]) -> list[str]:
    """Which budgets of cycles the package misses, by the layer that is slowest at its fastest."""
    said = []
    for stage, folding in zip(package.kernel.stages, foldings, strict=True):
        if stage.bound_cycles > folding.cycles:
            slowest = "pixels come in one a cycle" if stage.bound_layer == "input" else f"layer {stage.bound_layer}"
            said.append(
                f"{stage.name}: {folding.cycles} cycles a frame are out of reach: {slowest}, which takes "
                f"{stage.bound_cycles} even unrolled (or as --reuse says)"
            )
    return said


def data_set_of(zoo: Path) -> tuple[str, str, list[str]]:
    """Name, checksum and classes of the data set that a zoo folder was trained on."""
    facts = read_card(zoo)["data_set"]
    return str(facts["name"]), str(facts["checksum"]), [str(name) for name in facts["classes"]]


@dataclass(frozen=True)
class Shipped:
    """How one of the packages that ship is made, as bitstreams/shipped.toml says."""

    name: str
    cycles: list[int]  # a frame that each layer of a stage may take
    targets: list[float]  # accuracies to offer
    loss: float  # of packets, up to which they are to hold

    @property
    def path(self) -> Path:
        """Where the package lies."""
        return shipped_folder() / self.name

    def compile(self) -> Package:
        """Compile it anew from its zoo folder."""
        return compile_zoo(ROOT / "quant" / "zoo" / self.name, self.path, foldings_of(self.cycles))


def shipped(names: Sequence[str] | None = None) -> list[Shipped]:
    """The packages that ship, or those of these names; ZooError where there is none of a name."""
    import tomllib

    path = shipped_folder() / "shipped.toml"
    recipes = {name: Shipped(name, **recipe) for name, recipe in tomllib.loads(path.read_text()).items()}
    for name in names or ():
        if name not in recipes:
            raise ZooError(f"no shipped kernel is called {name!r}: {path} has {list(recipes)}; choose one of these")
    return [recipes[name] for name in names or recipes]


def shipped_folder() -> Path:
    """The folder of the shipped packages, which only a clone has."""
    from edgesight.host.kernel import KernelError

    if not SHIPPED.is_dir():
        raise KernelError(
            f"{SHIPPED}: the shipped packages are part of the source tree, not of the installed package: run from a "
            "clone, or name a package"
        )
    return SHIPPED


def foldings_of(
    budgets: Sequence[int],
    reuse: Mapping[str, Mapping[str, int]] | None = None,
    runtime: Mapping[str, Runtime | None] | None = None,
) -> list[Folding]:
    """Foldings of the stages from their budgets of cycles, reuse factors by stage and layer, and what is loaded."""
    from edgesight.hls.compile import Folding

    named = zip(names_of(len(budgets)), budgets, strict=True)
    return [Folding(budget, (reuse or {}).get(stage, {}), (runtime or {}).get(stage)) for stage, budget in named]


def networks_in(zoo: Path, stages: int) -> list[Path]:
    """The QONNX files of a zoo folder's first stages, or the one with its exits."""
    exits = zoo / f"{EXITS}.onnx"
    return [exits] if exits.is_file() else [zoo / f"{stage}.onnx" for stage in names_of(stages)]


def compile_zoo(zoo: Path, out: Path, foldings: Sequence[Folding], slots: int | None = None) -> Package:
    """Compile a zoo folder's first stages or its exits, one a folding, with its back end packed beside them.

    `slots`: frames that the kernel buffers; None: as many as usual.
    """
    from edgesight.hls.checks import FRAME_SLOTS
    from edgesight.hls.compile import DataSetFacts, Network, compile_exits, compile_package
    from edgesight.hls.datacenter import BackEnd

    slots = FRAME_SLOTS if slots is None else slots
    facts = DataSetFacts(*data_set_of(zoo))
    path, name = zoo / "backend.onnx", out.resolve().name
    backend = BackEnd(path.read_bytes(), backend_input(read_card(zoo))) if path.is_file() else None
    exits = zoo / f"{EXITS}.onnx"
    if exits.is_file():
        return compile_exits(name, exits, foldings, facts, backend, out, slots)
    networks = [
        Network(stage, zoo / f"{stage}.onnx", folding)
        for stage, folding in zip(names_of(len(foldings)), foldings, strict=True)
    ]
    return compile_package(name, networks, facts, backend, out, slots)


def check_same_networks(zoo: Path, other: Kernel) -> None:
    """CompileError unless kernel `other` is calibrated and was made of the zoo folder's very networks and back end."""
    from edgesight.hls.network import CompileError
    from edgesight.host.files import sha256

    if other.calibration is None:
        raise CompileError(f"kernel {other.name!r} is not calibrated: run `edgesight calibrate` on it first")
    packed = {file: Path(file).name for file in other.networks}
    for file, name in {**packed, "datacenter.onnx": "backend.onnx"}.items():
        path = zoo / name
        if other.files.get(file) != (sha256(path.read_bytes()) if path.is_file() else None):
            raise CompileError(f"{path}: is not that of kernel {other.name!r}: calibrate anew")
    if (backend_input(read_card(zoo)) or BackEndInput.same_as(other.input)) != form_for(other):
        raise CompileError(
            f"{zoo / CARD}: its back end takes another form of picture than kernel {other.name!r}: calibrate anew"
        )


@dataclass(frozen=True)
class Earlier:
    """What a compilation takes over of an earlier package.

    Attributes:
        kernel: as it was.
        detector: the file that tells strange pictures, which its calibration leaves out; None where it has none.
    """

    kernel: Kernel
    detector: bytes | None

    @classmethod
    def of(cls, path: Path) -> Earlier:
        """That of the package in `path`, read whole, since it may be replaced; raises KernelError."""
        kernel = load_kernel(path)
        novelty = kernel.novelty
        return cls(kernel, None if novelty is None else Package(path, kernel).read(novelty.file))


def calibrated_as(package: Package, earlier: Earlier) -> Package:
    """Take over the calibration of a kernel that has the same networks and back end, and so gives the same margins."""
    from edgesight.hls.network import CompileError

    other = earlier.kernel
    if len(other.stages) != len(package.kernel.stages):
        raise CompileError(f"{package.path}: has another count of stages than kernel {other.name!r}: calibrate anew")
    for file in (*other.networks, "datacenter.onnx"):
        if other.files.get(file) != package.kernel.files.get(file):
            raise CompileError(f"{package.path}: {file} is not that of kernel {other.name!r}: calibrate anew")
    if form_for(other) != form_for(package.kernel):
        raise CompileError(
            f"{package.path}: its back end takes another form of picture than kernel {other.name!r}: calibrate anew"
        )
    if other.calibration is None:
        raise CompileError(f"kernel {other.name!r} is not calibrated: run `edgesight calibrate` on it first")
    novelty = other.novelty
    detector = {novelty.file: earlier.detector} if novelty is not None and earlier.detector is not None else {}
    told = {"calibration": other.calibration.model_dump(), "novelty": novelty.model_dump() if novelty else None}
    return package.put(detector, [], **told)
