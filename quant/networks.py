"""What is trained, told in one way: the shipped networks, and (`edgesight.quant.own`) those of a user.

Words owned here: network (to train)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from edgesight.quant import variants
from edgesight.quant.exponents import choose_exponents
from edgesight.quant.export import StoredStage, check_exportable, export_backend, export_qonnx, save_stage
from edgesight.quant.facts import Facts
from edgesight.quant.recipe import Phase
from edgesight.quant.variants import Exponents, Placed, Variant

Shape = tuple[int, int, int]

EXITS: Final = "exits"
"""The name of a network whose exits are all of the cascade's stages, and of its files."""


class Told(Protocol):
    """What was trained, as the card tells of it.

    Attributes:
        name: its place in the cascade, and its files': `stage0` to `stage3`, `backend`, or `exits`, whose exits are all
            of the stages.
        origin: where it comes from, for a reader: `shipped`, or file and callable.
        exact: whether it is integer arithmetic by construction, so that QONNX must answer as Brevitas in every bit.
    """

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def origin(self) -> str: ...  # noqa: D102
    @property
    def exact(self) -> bool: ...  # noqa: D102

    def write(self, module: Any, shape: Shape, classes: int, folder: Path) -> tuple[tuple[str, ...], Any]:
        """Write the trained `module`; return the files' names, the ONNX file last, and what they hold as a module."""

    def facts(self, module: Any, shape: Shape, classes: int) -> Facts:
        """What to tell of the trained `module`."""


class Network(Told, Protocol):
    """A network to train.

    Attributes:
        identity: what it is, by its `repr`: a checkpoint is only taken up by the very same.
        phases: how it is trained, in this order.
        passes: over the train split, of the phases that take others than their recipe says.
    """

    @property
    def identity(self) -> object: ...  # noqa: D102
    @property
    def phases(self) -> tuple[Phase, ...]: ...  # noqa: D102
    @property
    def passes(self) -> Mapping[Phase, int]: ...  # noqa: D102

    def check(self, shape: Shape, classes: int) -> None:
        """Raise an EdgeSightError, before anything is trained, if the network cannot be."""

    def twin(self, shape: Shape, classes: int) -> nn.Module | None:
        """The float network that is trained first; None where there is none."""

    def quantised(
        self, twin: nn.Module | None, shape: Shape, classes: int, images: NDArray[np.uint8]
    ) -> nn.Module | None:
        """The Brevitas network, begun from the trained twin where there is one; None for a float network.

        `images` are some of the train split, to choose ranges by: uint8 `[N, H, W, C]`.
        """


@dataclass(frozen=True)
class Shipped:
    """One of `edgesight.quant.variants`, fitted to the images."""

    variant: Variant
    exact: bool = True

    @property
    def name(self) -> str:
        """Its place."""
        return self.variant.name

    @property
    def origin(self) -> str:
        """The word that names it: its family's."""
        return self.variant.family

    @property
    def identity(self) -> object:
        """The variant."""
        return self.variant

    @property
    def phases(self) -> tuple[Phase, ...]:
        """Float first; the back end stays so."""
        return ("float", "quantised") if self.variant.quantised else ("float",)

    @property
    def passes(self) -> Mapping[Phase, int]:
        """Those of the quantised phase, where the variant says so."""
        return {} if self.variant.settling is None else {"quantised": self.variant.settling}

    def check(self, shape: Shape, classes: int) -> None:
        """VariantError if the images are too small."""
        self._fitted(shape, classes)

    def twin(self, shape: Shape, classes: int) -> nn.Module:
        """The float twin, with batch normalisation."""
        return variants.build_float(self.variant, self._fitted(shape, classes))

    def quantised(
        self, twin: nn.Module | None, shape: Shape, classes: int, images: NDArray[np.uint8]
    ) -> nn.Module | None:
        """The Brevitas network of the twin's folded weights, with powers of two chosen by `images`."""
        if not self.variant.quantised:
            return None
        assert isinstance(twin, nn.Sequential)
        folded = variants.fold(twin)
        fitted = self._fitted(shape, classes)
        built = variants.build_quantised(self.variant, fitted, choose_exponents(self.variant, fitted, folded, images))
        variants.load_weights(built, folded)
        return built

    def write(self, module: nn.Module, shape: Shape, classes: int, folder: Path) -> tuple[tuple[str, ...], nn.Module]:
        """A stage's integers as `<name>.npz` and its QONNX, which is integer arithmetic; the back end's ONNX."""
        assert isinstance(module, nn.Sequential)
        weights, network = f"{self.name}.npz", f"{self.name}.onnx"
        if not self.variant.quantised:
            export_backend(self._fitted(shape, classes), variants.fold(module), folder / network)
            return (network,), module
        stage = StoredStage(self.variant, shape, classes, exponents_of(module), variants.settled_weights(module))
        save_stage(stage, folder / weights)
        built = stage.build()
        check_exportable(built)
        export_qonnx(built, shape, folder / network)
        return (weights, network), built

    def facts(self, module: nn.Module, shape: Shape, classes: int) -> Facts:
        """As fitted."""
        fitted = self._fitted(shape, classes)
        return Facts(
            variants.parameter_count(fitted),
            variants.mac_count(fitted),
            [{"name": one.name, "output_shape": list(one.output_shape), **_described(one)} for one in fitted],
            self.variant.weight_bits,
            self.variant.activation_bits,
        )

    def _fitted(self, shape: Shape, classes: int) -> tuple[Placed, ...]:
        return variants.fit(self.variant, shape, classes)


FAMILIES: Final[Mapping[str, Mapping[str, Shipped]]] = {
    family: {name: Shipped(variant) for name, variant in members.items()}
    for family, members in variants.FAMILIES.items()
}
SHIPPED: Final = FAMILIES["shipped"]


def exponents_of(quantised: nn.Sequential) -> dict[str, Exponents]:
    """Read the powers of two of a network that `variants.build_quantised` built, by layer."""
    found: dict[str, Exponents] = {}
    for name, layer in quantised.named_children():
        if not hasattr(layer, "weight_quant"):
            continue
        relu = getattr(quantised, f"{name}_relu", None)
        activation = None if relu is None else _exponent(relu.act_quant.scale())
        found[name] = Exponents(_exponent(layer.quant_weight().scale), activation)  # type: ignore[operator]
    return found


def _exponent(scale: Tensor) -> int:
    return int(torch.log2(scale.detach()).round())


def _described(placed: Placed) -> dict[str, Any]:
    return {"kind": type(placed.layer).__name__, **vars(placed.layer)}
