"""A retrained network on hardware that there is: compiled as a package says, refused where it would be other hardware.

Words owned here: base, the package whose hardware it is.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesight.hls.folding import Folding, Runtime
from edgesight.hls.network import CompileError
from edgesight.host.kernel import Kernel, Layer, RuntimeWeights, Stage
from edgesight.host.package import RTL, Package, write_package

_BOARDS = "boards/"


@dataclass(frozen=True)
class Base:
    """A package whose hardware takes weights at run time, and how its stages are folded."""

    package: Package
    foldings: list[Folding]

    @classmethod
    def of(cls, path: Path, alone: bool) -> Base:
        """That in the folder `path`; `alone`: for one network. Raises KernelError, CompileError where it is none."""
        package = Package.load(path)
        kernel, runtime = package.kernel, package.kernel.runtime_weights
        if runtime is None:
            raise CompileError(
                f"{path}: its weights are part of the hardware: compile it once with --runtime-weights, and make its "
                "bitstream anew"
            )
        if kernel.logits_in_record != alone:
            found = "a network alone" if kernel.logits_in_record else "a cascade"
            raise CompileError(f"{path}: holds {found}, and that is not compiled here: give a package of the same kind")
        return cls(package, [_folding(stage, runtime) for stage in kernel.stages])

    def put(self, out: Path, compiling: Callable[[Path], Package]) -> Package:
        """What `compiling` writes to a folder, with the bitstreams of this package, as package `out`.

        Raises CompileError, naming what differs first, where it is other hardware; then nothing is written.
        """
        with tempfile.TemporaryDirectory(prefix="edgesight-onto-") as scratch:
            made = compiling(Path(scratch) / out.resolve().name)
            if made.kernel.build_hash != self.package.kernel.build_hash:
                raise CompileError(self._told(self._difference(made)))
            before = self.package.kernel
            boards = {name: self.package.read(name) for name in before.files if name.startswith(_BOARDS)}
            files = {name: made.read(name) for name in made.kernel.files}
            kernel = made.kernel.model_copy(update={"boards": before.boards})
            return write_package(out, kernel, {**files, **boards})

    def _told(self, difference: str) -> str:
        return f"{self.package.path}: is other hardware: {difference}"

    def _difference(self, made: Package) -> str:
        before = self.package.kernel
        both = before.library.keys() & made.kernel.library.keys()
        if any(before.library[name] != made.kernel.library[name] for name in both):
            return "it was compiled by another version of EdgeSight: use that one, or compile and build it anew"
        found = _of_kernels(made.kernel, before)
        if found is not None:
            return found
        for name in sorted(made.kernel.files):
            if name.startswith(RTL) and name.endswith(".sv"):
                texts = [package.read(name).decode().splitlines() for package in (made, self.package)]
                for new, old in zip(*texts, strict=False):
                    if new != old and "Hash" not in new:
                        return (
                            f"{name} has `{new.strip()[:200]}`, the hardware `{old.strip()[:200]}`: train a network of "
                            "the same layers, or compile without --onto"
                        )
        return "its modules are others: compile without --onto"


def _folding(stage: Stage, runtime: RuntimeWeights) -> Folding:
    """How a stage was folded, and what of it is loaded."""
    reuse = {layer.name: layer.reuse_asked for layer in stage.layers if layer.multipliers}
    start = f"{stage.name}."
    held = {name.removeprefix(start): bounds for name, bounds in runtime.layers.items() if name.startswith(start)}
    if not held and stage.name not in runtime.whole:
        return Folding(stage.bound_cycles, reuse)
    return Folding(stage.bound_cycles, reuse, Runtime(None if stage.name in runtime.whole else list(held), held))


def _of_kernels(new: Kernel, old: Kernel) -> str | None:
    """What differs first between what two packages say of their hardware; None where they say the same."""
    if new.input != old.input:
        return f"frames of {_told(new)} for hardware that takes {_told(old)}: train on the same pictures"
    if len(new.stages) != len(old.stages):
        return f"{len(new.stages)} stages for hardware of {len(old.stages)}: give a network for each"
    if new.outputs != old.outputs:
        return f"{new.outputs} outputs for hardware of {old.outputs}: train on the same classes"
    for mine, theirs in zip(new.stages, old.stages, strict=True):
        found = _of_layers(mine.layers, theirs.layers)
        if found is not None:
            return f"{mine.name}: {found}"
    return None


def _of_layers(new: Sequence[Layer], old: Sequence[Layer]) -> str | None:
    for place, mine in enumerate(new):
        if place == len(old):
            return f"layer {mine.name}: the hardware has only {len(old)} layers: train a network of that shape"
        theirs = old[place]
        if (mine.name, mine.kind) != (theirs.name, theirs.kind):
            return (
                f"layer {mine.name} ({mine.kind}): the hardware has {theirs.name} ({theirs.kind}) there: train a "
                "network of that shape, with the same names"
            )
        for what, mine_has, theirs_has in (
            ("parameters", mine.parameters, theirs.parameters),
            ("bits a weight", mine.weight_bits, theirs.weight_bits),
            ("bits a sum", mine.accumulator_bits, theirs.accumulator_bits),
            ("outputs side by side", mine.pe, theirs.pe),
            ("inputs side by side", mine.simd, theirs.simd),
            ("cycles a frame", mine.cycles, theirs.cycles),
        ):
            if mine_has != theirs_has:
                return (
                    f"layer {mine.name}: {mine_has} {what}, the hardware has {theirs_has}: train a network of the same "
                    "shape and bit widths"
                )
    if len(new) < len(old):
        return f"layer {old[len(new)].name} of the hardware has no counterpart: train a network of that shape"
    return None


def _told(kernel: Kernel) -> str:
    taken = kernel.input
    return f"{taken.height}x{taken.width}x{taken.channels} {taken.element}"
