"""A user's own networks as stages: found in the file that the user names, checked, and made ready to be trained.

`my_networks.py:small` names a callable: `small(shape, classes)` gets the image shape `(H, W, C)` and the number of
classes and returns a `torch.nn.Module` of Brevitas layers, which takes float32 `[N, C, H, W]`, pixel / 256, and gives
logits `[N, classes]`; a network with exits gives a tuple of them, one for each exit. An unsigned 8-bit quantiser of
scale 1/256 is put before it, which changes no picture and says that bytes come in, whatever the network makes of them.
If the same file has `small_float(shape, classes)`, that is its float twin: the same layers and parameter names without
quantisers, trained first.

A module is built anew for every training, so the callable must give the same one each time; it is seeded before.
"""

from __future__ import annotations

import hashlib
import sys
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import brevitas.nn as qnn
import numpy as np
import torch
from brevitas.inject.enum import ScalingImplType
from brevitas.nn.quant_layer import QuantWeightBiasInputOutputLayer
from brevitas.quant.fixed_point import Uint8ActPerTensorFixedPoint
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _BatchNorm

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import from_home
from edgesight.quant import variants
from edgesight.quant.answers import exits_of
from edgesight.quant.export import export_qonnx, qonnx_of
from edgesight.quant.facts import Facts, facts_of, plain
from edgesight.quant.networks import EXITS, FAMILIES, SHIPPED, Network, Shape
from edgesight.quant.recipe import Phase

TWIN: Final = "_float"
"""What follows a callable's name in its float twin's."""

MOST_EXITS: Final = 4
"""A cascade has no more stages."""


class OwnNetworkError(EdgeSightError, ValueError):
    """A network of the user's own that cannot be trained as a stage: names file and callable, and what to do."""


def named(stages: list[str | None], exits: str | None = None) -> list[Network]:
    """The networks that `--stage0` and its like name, in order, or `--exits`; the two shipped ones by default.

    Args:
        stages: for each place `FILE.py:CALLABLE`, `shipped`, `steep`, or None where nothing was said.
        exits: `FILE.py:CALLABLE` of a network whose exits are the stages.

    Raises:
        OwnNetworkError: a place is left out, a file or callable is not there, or the file raises.
    """
    while stages and stages[-1] is None:
        stages = stages[:-1]
    if exits is not None:
        if stages:
            raise OwnNetworkError(
                f"--{EXITS} {exits}: its exits are all of the cascade's stages; leave --stage0 to --stage3 out"
            )
        return [load(exits, EXITS)]
    if not stages:
        return [SHIPPED["stage0"], SHIPPED["stage1"]]
    networks: list[Network] = []
    for index, said in enumerate(stages):
        place = f"stage{index}"
        if said is None:
            raise OwnNetworkError(
                f"--stage{len(stages) - 1}: there is no --{place} before it; name the stages from --stage0 on"
            )
        if said in FAMILIES:
            if place not in FAMILIES[said]:
                raise OwnNetworkError(f"--{place} {said}: only stage0 and stage1 are {said}; name FILE.py:CALLABLE")
            networks.append(FAMILIES[said][place])
        else:
            networks.append(load(said, place))
    return networks


def load(said: str, place: str) -> Own:
    """Run the file that `said`, `FILE.py:CALLABLE`, names, and take the callable (and its twin) out of it.

    Raises:
        OwnNetworkError: not so formed; no such file or name; the file raises; what is named cannot be called.
    """
    told, _, attribute = said.rpartition(":")
    if not told or not attribute.isidentifier():
        raise OwnNetworkError(
            f"--{place} {said}: name FILE.py:CALLABLE, such as my_networks.py:small"
            + ("" if place == EXITS else f", or {' or '.join(FAMILIES)}")
        )
    path = from_home(told)
    try:
        source = path.read_bytes()
    except OSError as error:
        raise OwnNetworkError(
            f"--{place} {said}: {path} cannot be read ({error.strerror}); name a Python file"
        ) from error
    digest = hashlib.sha256(source).hexdigest()
    module = types.ModuleType(f"edgesight_own_{digest[:12]}")
    module.__file__ = str(path)
    sys.modules[module.__name__] = module  # dataclasses look their module up
    with _user_code(path, f"--{place} {said}: {path}"):
        # Run rather than imported: nothing is looked for anywhere else, and no byte code is left beside the file.
        exec(compile(source, str(path), "exec"), module.__dict__)
    found = vars(module)
    if attribute not in found:
        of_the_file = [name for name, one in found.items() if getattr(one, "__module__", None) == module.__name__]
        there = [name for name in of_the_file if not name.startswith("_")]
        raise OwnNetworkError(
            f"--{place} {said}: {path} has no {attribute!r}; name what it has: {', '.join(there) or 'there is nothing'}"
        )
    for name in (attribute, attribute + TWIN):
        if name in found and not callable(found[name]):
            raise OwnNetworkError(
                f"--{place} {said}: {name} is {_kind(found[name])}, which cannot be called; expected "
                f"{name}(shape, classes), which returns a torch.nn.Module"
            )
    return Own(place, path, attribute, digest, found[attribute], found.get(attribute + TWIN))


class _Stage(nn.Module):
    """A user's module behind a quantiser of bytes; gives plain logits, a tuple of them where it has exits."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        # Gives a plain tensor, as the module is promised one: not every operation takes Brevitas'.
        self.input = qnn.QuantIdentity(
            act_quant=Uint8ActPerTensorFixedPoint,
            bit_width=variants.INPUT_BITS,
            scaling_impl_type=ScalingImplType.CONST,
            scaling_init=2.0 ** (variants.INPUT_BITS + variants.INPUT_EXPONENT),
        )
        self.network = network

    def forward(self, images: Tensor) -> Any:
        """Logits of float `[N, C, H, W]`."""
        return _plain_logits(self.network(self.input(images)))


def _plain_logits(output: Any) -> Any:
    """What a user's module gives, without Brevitas' tensors; a list of exits, too, is a tuple."""
    return tuple(map(plain, output)) if type(output) in (tuple, list) else plain(output)


@dataclass(frozen=True)
class Own:
    """A network of the user's own.

    Attributes:
        name: its place, `stage0` to `stage3`, or `exits`.
        path: its file.
        attribute: the callable's name in it.
        digest: sha256 of the file.
        make: the callable.
        make_twin: the float twin's; None where there is none.
    """

    name: str
    path: Path
    attribute: str
    digest: str
    make: Callable[[Shape, int], Any] = field(repr=False)
    make_twin: Callable[[Shape, int], Any] | None = field(repr=False)
    exact: bool = False  # its scales are its author's matter

    @property
    def origin(self) -> str:
        """File and callable, without the folder."""
        return f"{self.path.name}:{self.attribute}"

    @property
    def identity(self) -> object:
        """Place, callable and the file's bytes."""
        return self.name, self.attribute, self.digest

    @property
    def passes(self) -> Mapping[Phase, int]:
        """As the recipes say."""
        return {}

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Float first where there is a twin; else the quantised network learns from nothing."""
        return ("scratch", "quantised") if self.make_twin is None else ("float", "quantised")

    def check(self, shape: Shape, classes: int) -> None:
        """Build all, take a step, write the QONNX: OwnNetworkError says what does not work, before hours go into it."""
        twin = self.twin(shape, classes)
        if twin is not None:
            self._try(self.attribute + TWIN, twin, shape, classes)
        module = self.quantised(twin, shape, classes, np.zeros((2, *shape), np.uint8))
        self._try(self.attribute, module, shape, classes)
        with self._running(self.attribute, " when it is exported to QONNX"):
            qonnx_of(module, shape)

    def twin(self, shape: Shape, classes: int) -> nn.Module | None:
        """What `<callable>_float` makes."""
        return None if self.make_twin is None else self._made(self.attribute + TWIN, self.make_twin, shape, classes)

    def quantised(self, twin: nn.Module | None, shape: Shape, classes: int, images: NDArray[np.uint8]) -> nn.Module:
        """What the callable makes, with the twin's parameters, behind a quantiser of bytes."""
        network = self._made(self.attribute, self.make, shape, classes)
        self._check_layers(network)
        if twin is not None:
            try:
                _, unknown = network.load_state_dict(twin.state_dict(), strict=False)
            except RuntimeError as error:
                raise OwnNetworkError(
                    f"{self._where(self.attribute + TWIN)}: its parameters do not fit {self.attribute}'s "
                    f"({_line(error)}); give both the same names and shapes"
                ) from error
            if unknown:
                raise OwnNetworkError(
                    f"{self._where(self.attribute + TWIN)}: {self.attribute} has no {', '.join(unknown[:4])}; give "
                    "both the same names and shapes"
                )
        return _Stage(network)

    def write(self, module: nn.Module, shape: Shape, classes: int, folder: Path) -> tuple[tuple[str, ...], nn.Module]:
        """Its QONNX, which is what counts, and its state dict as an .npz, from which it can be trained on."""
        assert isinstance(module, _Stage)
        weights, network = f"{self.name}.npz", f"{self.name}.onnx"
        held: dict[str, Any] = {key: value.numpy() for key, value in module.network.state_dict().items()}
        np.savez_compressed(folder / weights, **held)
        export_qonnx(module, shape, folder / network)
        return (weights, network), module

    def facts(self, module: nn.Module, shape: Shape, classes: int) -> Facts:
        """Counted while a picture goes through."""
        return facts_of(module, shape, self.digest)

    def _where(self, attribute: str) -> str:
        return f"--{self.name} {self.path}:{attribute}"

    @contextmanager
    def _running(self, attribute: str, when: str) -> Iterator[None]:
        with _user_code(self.path, self._where(attribute), when):
            yield

    def _made(self, attribute: str, make: Callable[[Shape, int], Any], shape: Shape, classes: int) -> nn.Module:
        with self._running(attribute, f" for images {shape} and {classes} classes"):
            made = make(shape, classes)
        if not isinstance(made, nn.Module):
            raise OwnNetworkError(f"{self._where(attribute)}: returned {_kind(made)}; let it return a torch.nn.Module")
        return made

    def _check_layers(self, network: nn.Module) -> None:
        """OwnNetworkError at the first layer whose weights no quantiser of Brevitas sees."""
        quantised = False
        for name, layer in network.named_modules():
            if isinstance(layer, QuantWeightBiasInputOutputLayer):
                quantised = True
                if not layer.weight_quant.is_quant_enabled:
                    raise OwnNetworkError(
                        f"{self._where(self.attribute)}: layer {name}: its weights are floating-point; give it a "
                        "weight_quant"
                    )
            elif (
                next(layer.parameters(recurse=False), None) is not None
                and not isinstance(layer, _BatchNorm | nn.PReLU)
                and not type(layer).__module__.startswith("brevitas.")
            ):
                kind = type(layer).__name__
                remedy = f"brevitas.nn.Quant{kind}" if hasattr(qnn, f"Quant{kind}") else "a layer of brevitas.nn"
                raise OwnNetworkError(
                    f"{self._where(self.attribute)}: layer {name or kind}: {kind} has weights that are not quantised; "
                    f"use {remedy}"
                )
        if not quantised:
            raise OwnNetworkError(
                f"{self._where(self.attribute)}: has no Brevitas layer with weights; build it of brevitas.nn's, such "
                "as QuantConv2d and QuantLinear"
            )

    def _try(self, attribute: str, module: nn.Module, shape: Shape, classes: int) -> None:
        """Ask for two pictures' logits, and take a step of training."""
        self._check_output(attribute, self._output(attribute, module.eval(), shape), classes)
        with self._running(attribute, " in a step of training"):
            batch, labels = torch.rand(8, shape[2], shape[0], shape[1]), torch.arange(8) % classes
            for logits in exits_of(_plain_logits(module.train()(batch))):
                functional.cross_entropy(logits, labels).backward(retain_graph=True)  # type: ignore[no-untyped-call]  # torch leaves it untyped

    def _check_output(self, attribute: str, output: Any, classes: int) -> None:
        """OwnNetworkError unless `output` is logits of two pictures: one tensor, or one for each exit."""
        seen = [list(one.shape) if isinstance(one, Tensor) else _kind(one) for one in exits_of(output)]
        several = isinstance(output, tuple)
        fits = several and 2 <= len(seen) <= MOST_EXITS if self.name == EXITS else not several
        if not fits or any(one != [2, classes] for one in seen):
            wanted = f"logits [2, {classes}]"
            if self.name == EXITS:
                wanted = f"a tuple of {wanted}, one for each of 2 to {MOST_EXITS} exits"
            elif several:
                wanted += f", or name a network with exits by --{EXITS}"
            found = ("a tuple of " if several else "") + ", ".join(map(str, seen))
            raise OwnNetworkError(f"{self._where(attribute)}: gave {found} for 2 pictures; let it return {wanted}")

    def _output(self, attribute: str, module: nn.Module, shape: Shape) -> Any:
        pictures = torch.zeros(2, shape[2], shape[0], shape[1])
        with self._running(attribute, f" for float pictures {list(pictures.shape)}"), torch.no_grad():
            return _plain_logits(module(pictures))


@contextmanager
def _user_code(path: Path, where: str, when: str = "") -> Iterator[None]:
    """Turn whatever the user's code raises into an OwnNetworkError with the line of `path` that it came from."""
    try:
        yield
    except (Exception, SystemExit) as error:
        lines = [frame.lineno for frame in traceback.extract_tb(error.__traceback__) if frame.filename == str(path)]
        line = error.lineno if isinstance(error, SyntaxError) else lines[-1] if lines else None
        at = "" if line is None else f" at line {line}"
        raise OwnNetworkError(
            f"{where}: raises {type(error).__name__}{at}{when} ({_line(error)}); correct it"
        ) from error


def _line(error: BaseException) -> str:
    """What an error says, in a line of bounded length."""
    words = " ".join(str(error).split())
    return words if len(words) <= 200 else words[:197] + "..."


def _kind(value: object) -> str:
    name = type(value).__name__
    return "None" if value is None else f"{'an' if name[0] in 'aeiou' else 'a'} {name}"
