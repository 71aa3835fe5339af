"""What it is worth to protect strips against loss: a real network's answers on photographs, against bytes.

    python -m edgesight.bench.link.protection PHOTOS --out build/bench
    python -m edgesight.bench.link.protection IMAGES.npy --model bitstreams/fashion-mnist/datacenter.onnx --out
    build/bench

Every photograph is cut into strips, each strip is lost independently with the loss given, and what arrives is
repaired and shown to the network of `edgesight.bench.link.photos`. An answer agrees when it is the network's own
answer on the unharmed JPEG; an image of which nothing arrived does not agree. The ways of protection, each with the
bytes it takes:

- concealment: nothing is added, what is lost is made up from its surroundings;
- parity: so many parity strips as `edgesight.host.link.parity.strips_for` says for this loss (Reed-Solomon, any of
them helps);
- exclusive-or: as many strips, each the exclusive-or of every so-manieth strip, which brings back one loss of those;
- early scan: as many strips hold a smaller copy of the image, from which lost blocks are taken;
- resend: what is lost is sent once more, a round trip later, and may be lost again.

Then the steps of `edgesight.host.link.quality.LADDER`, without any loss: agreement and bytes of each.

Simulated: the loss. Measured: answers and bytes.

Words owned here: protection.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from edgesight.bench.link.photos import make_network, read_photos
from edgesight.bench.report import write_report
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.link.datagrams import MAX_DATAGRAM, STRIP_HEADER, Strip
from edgesight.host.link.parity import strips_for
from edgesight.host.link.quality import LADDER
from edgesight.host.link.strips import RAW_BELOW, assemble, cut, encode_at, resize, smaller

LOSSES = (0.0, 0.01, 0.05, 0.10, 0.20)
_BATCH = 16
_SCAN_DIVISOR = 2  # of the sides of an early scan
_SCAN_QUALITIES = range(90, 4, -5)

Pixels = npt.NDArray[np.uint8]  # [H, W, C]
Received = tuple[Pixels | None, int]  # what the data centre sees, and bytes sent
Protection = Callable[[Pixels, float, np.random.Generator], Received]


@dataclass(frozen=True)
class Result:
    """One protection at one loss."""

    protection: str
    loss: float
    agreement: float  # share of photographs
    bytes: float  # of an image, on average
    concealed: float  # share of photographs that did not arrive exactly


def _strips(image: Pixels, parity: int = 0) -> list[Strip]:
    return [Strip.parse(datagram) for datagram in cut(image, request=0, left_ms=0, parity=parity)]


def _bytes(strips: Sequence[Strip]) -> int:
    return sum(STRIP_HEADER + len(strip.payload) for strip in strips)


def _lossy(strips: Sequence[Strip], loss: float, generator: np.random.Generator) -> list[Strip]:
    return [strip for strip in strips if generator.random() >= loss]


def _image(strips: Sequence[Strip]) -> Pixels | None:
    if not strips:
        return None
    assembly = assemble(strips)
    return assembly.image() if assembly.missing < assembly.form.count else None


def conceal(image: Pixels, loss: float, generator: np.random.Generator) -> Received:
    """Concealment alone."""
    strips = _strips(image)
    return _image(_lossy(strips, loss, generator)), _bytes(strips)


def parity_of(risk: float) -> Protection:
    """Reed-Solomon parity strips that are too few with a probability of `risk`."""

    def protect(image: Pixels, loss: float, generator: np.random.Generator) -> Received:
        strips = _strips(image, strips_for(len(_strips(image)), loss, risk))
        return _image(_lossy(strips, loss, generator)), _bytes(strips)

    return protect


def exclusive_or_of(risk: float) -> Protection:
    """As many strips as `parity_of`, each the exclusive-or of an interleaved group."""

    def protect(image: Pixels, loss: float, generator: np.random.Generator) -> Received:
        strips = _strips(image)
        groups = strips_for(len(strips), loss, risk)
        longest = max(len(strip.payload) for strip in strips) + STRIP_HEADER
        kept = {strip.index for strip in _lossy(strips, loss, generator)}
        for group in range(groups):
            members = set(range(group, len(strips), groups))
            if generator.random() >= loss and len(members - kept) == 1:
                kept |= members
        return _image([strips[index] for index in sorted(kept)]), _bytes(strips) + groups * longest

    return protect


def early_scan_of(risk: float) -> Protection:
    """As many bytes as `parity_of` for a smaller copy, from which lost blocks are taken."""

    def protect(image: Pixels, loss: float, generator: np.random.Generator) -> Received:
        strips = _strips(image)
        room = strips_for(len(strips), loss, risk) * MAX_DATAGRAM
        came = _lossy(strips, loss, generator)
        if room == 0 or len(came) == len(strips):
            return _image(came), _bytes(strips) + room
        small = smaller(image, _SCAN_DIVISOR)
        for quality in _SCAN_QUALITIES:
            scan = [Strip.parse(one) for one in cut(small, request=0, left_ms=0, quality=quality)]
            if _bytes(scan) <= room:
                break
        rough, sharp = _image(_lossy(scan, loss, generator)), _image(came)
        whole = _image(strips)
        assert whole is not None
        if rough is None or sharp is None:
            return sharp, _bytes(strips) + _bytes(scan)
        enlarged = resize(rough, image.shape)
        return np.where((sharp != whole).any(axis=2, keepdims=True), enlarged, sharp), _bytes(strips) + _bytes(scan)

    return protect


def resend(image: Pixels, loss: float, generator: np.random.Generator) -> Received:
    """What was lost goes once more."""
    strips = _strips(image)
    came = _lossy(strips, loss, generator)
    again = [strip for strip in strips if strip not in came]
    return _image(came + _lossy(again, loss, generator)), _bytes(strips) + _bytes(again)


PROTECTIONS: dict[str, Protection] = {
    "concealment": conceal,
    **{f"parity, risk {risk:g}": parity_of(risk) for risk in (0.2, 0.05, 0.02, 0.01)},
    **{f"exclusive-or, risk {risk:g}": exclusive_or_of(risk) for risk in (0.2, 0.05)},
    **{f"early scan, risk {risk:g}": early_scan_of(risk) for risk in (0.05,)},
    "resend": resend,
}


def measure(
    images: npt.NDArray[np.uint8], model: OnnxModel, protections: dict[str, Protection], losses: Sequence[float]
) -> list[Result]:
    """Every protection at every loss on images uint8 [N, H, W, 3]; the same seed for all."""
    unharmed = [_image(_strips(image)) for image in images]
    own = _labels(model, unharmed)
    results = []
    for loss in losses:
        for name, protect in protections.items():
            generator = np.random.default_rng(0)
            received, sizes = zip(*(protect(image, loss, generator) for image in images), strict=True)
            # Whatever arrived exactly has the answer that is known.
            changed = [
                index
                for index, (image, whole) in enumerate(zip(received, unharmed, strict=True))
                if image is None or whole is None or not np.array_equal(image, whole)
            ]
            agree = np.ones(len(images), np.bool_)
            agree[changed] = _labels(model, [received[index] for index in changed]) == own[changed]
            results.append(Result(name, loss, float(agree.mean()), float(np.mean(sizes)), len(changed) / len(images)))
    return results


def measure_ladder(images: npt.NDArray[np.uint8], model: OnnxModel) -> list[tuple[str, float, float]]:
    """Of each step of the ladder its name, agreement and bytes an image; images are uint8 [N, H, W, C]."""
    own = _labels(model, [_image(_strips(image)) for image in images])
    found = []
    for step in LADDER:
        encoded = [encode_at(image, step.quality, step.divisor) for image in images]
        seen: list[Pixels | None] = []
        for one in encoded:
            whole = assemble(Strip.parse(message) for message in one.pack(request=0, left_ms=0)).image()
            seen.append(resize(whole, model.input_shape))
        agreement = float(np.mean(_labels(model, seen) == own))
        name = f"quality {step.quality}, size 1/{step.divisor}"
        found.append((name, agreement, float(np.mean([one.size for one in encoded]))))
    return found


def _labels(model: OnnxModel, images: Sequence[Pixels | None]) -> npt.NDArray[np.int64]:
    """The network's answers, -1 where there is no image."""
    labels = np.full(len(images), -1, np.int64)
    there = [index for index, image in enumerate(images) if image is not None]
    for start in range(0, len(there), _BATCH):
        some = there[start : start + _BATCH]
        batch = np.stack([image for image in (images[index] for index in some) if image is not None])
        labels[some] = model.run(batch).argmax(axis=1)
    return labels


def main() -> None:
    """Measure, print and write `repair-NAME.json`."""
    parser = argparse.ArgumentParser(description="what it is worth to protect strips against loss")
    parser.add_argument("images", help="folder or zip of photographs; with --model a .npy of uint8 [N, H, W, C]")
    parser.add_argument("--model", type=Path, default=None, help="the network of those images, ONNX")
    parser.add_argument("--out", type=Path, default=Path("build/bench"))
    parser.add_argument("--count", type=int, default=None, help="how many images (default: all)")
    arguments = parser.parse_args()
    if arguments.model is None:
        images = read_photos(Path(arguments.images)).images[: arguments.count]
        model = OnnxModel(make_network(arguments.out / "efficientnet-lite0.onnx"))
    else:
        images = np.load(arguments.images, allow_pickle=False)[: arguments.count]
        model = OnnxModel(arguments.model)
    console = Console()
    results = measure(images, model, PROTECTIONS, LOSSES)
    table = Table("loss", "protection", "agreement", "bytes an image", "not exact")
    for one in results:
        table.add_row(
            f"{one.loss:.0%}", one.protection, f"{one.agreement:.1%}", f"{one.bytes:,.0f}", f"{one.concealed:.1%}"
        )
    console.print(table)
    body: dict[str, Any] = {"images": len(images), "protections": [vars(one) for one in results]}
    if max(images.shape[1:3]) >= RAW_BELOW:
        steps = measure_ladder(images, model)
        table = Table("step", "agreement", "bytes an image")
        for name, agreement, size in steps:
            table.add_row(name, f"{agreement:.1%}", f"{size:,.0f}")
        console.print(table)
        body["ladder"] = steps
    write_report(arguments.out / f"repair-{Path(arguments.images).stem}.json", body, [])


if __name__ == "__main__":
    main()
