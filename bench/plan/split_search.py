"""Splits held against exhaustive search, on small random instances."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np

from edgesight.plan.profile import Device, Link, Slo
from edgesight.plan.split.plan import Exit, Layer, SplitProfile, split


def random_instance(rng: np.random.Generator) -> tuple[SplitProfile, Link, Slo]:
    """A small profile, link and need; half of them on a coarse binary grid, where ties and exact deadlines abound."""
    coarse = bool(rng.random() < 0.5)
    lacking = "device" if rng.random() < 0.5 else "datacenter"  # which cannot run some layers; the other runs them all

    def ms(high: float) -> float:
        return float(rng.integers(0, 5)) / 4 if coarse else float(rng.uniform(0, high))

    def size() -> int:
        return int(rng.integers(0, 5)) * 256 if coarse else int(rng.integers(0, 200_000))

    def layer(name: str) -> Layer:
        times = {"device": ms(20.0), "datacenter": ms(2.0)}
        if rng.random() < 0.03:
            del times[lacking]
        return Layer(name=name, ms=times, output_bytes=size())

    trunk = [layer(f"layer{number}") for number in range(int(rng.integers(1, 13)))]
    exits = []
    for number in range(int(rng.integers(1, 6))):
        after = int(rng.integers(0, len(trunk) + 1))
        own = [layer(f"own{place}") for place in range(int(rng.integers(0 if after else 1, 4)))]
        exits.append(
            Exit(
                name=f"exit{number}",
                accuracy=float(rng.integers(5, 10)) / 10 if coarse else float(rng.uniform(0.3, 1.0)),
                after=after,
                layers=tuple(own),
                branch_bytes=size() if rng.random() < 0.2 else None,
                answer_bytes=int(rng.integers(0, 3)) * (256 if coarse else 1000),
            )
        )
    profile = SplitProfile(
        name="random",
        device=Device(name="device"),
        datacenter=Device(name="datacenter", tier=1),
        obtained={"device": "simulated", "datacenter": "simulated"},
        accuracy_obtained="simulated",
        input_bytes=size(),
        layers=trunk,
        exits=exits,
    )
    # On 0.512 Mbit/s a byte takes 1/64 ms: a number that binary fractions hold exactly.
    mbps = 0.512 * 2.0 ** int(rng.integers(-1, 4)) if coarse else float(np.exp(rng.uniform(np.log(0.1), np.log(100))))
    round_trip = float(rng.integers(0, 9)) / 2 if coarse else float(rng.uniform(0, 50))
    deadline = float(rng.integers(1, 60)) / 4 if coarse else float(rng.uniform(1, 250))
    accuracy = None if rng.random() < 0.7 else float(rng.integers(5, 10)) / 10
    return profile, Link(mbps=mbps, round_trip_ms=round_trip), Slo(latency_ms=deadline, accuracy=accuracy)


def search(profile: SplitProfile, link: Link, slo: Slo) -> tuple[str, int] | None:
    """The exit and cut that the tie rule names first, by trying every one in exact fractions; None where none meets."""
    byte_ms = Fraction(8) / Fraction(link.mbps * 1e3)
    best: tuple[tuple[Fraction, Fraction, int, int, int], tuple[str, int]] | None = None
    for number, exit_ in enumerate(profile.exits):
        layers = [*profile.layers[: exit_.after], *exit_.layers]
        for cut in range(len(layers) + 1):
            near, far = layers[:cut], layers[cut:]
            if any("device" not in layer.ms for layer in near) or any("datacenter" not in layer.ms for layer in far):
                continue
            latency = sum((Fraction(layer.ms["device"]) for layer in near), Fraction(0))
            latency += sum((Fraction(layer.ms["datacenter"]) for layer in far), Fraction(0))
            sent = 0
            if far:
                handed = profile.input_bytes if cut == 0 else layers[cut - 1].output_bytes
                if cut == exit_.after and exit_.branch_bytes is not None:
                    handed = exit_.branch_bytes
                sent = handed + exit_.answer_bytes
                latency += Fraction(link.round_trip_ms) + sent * byte_ms
            if latency > Fraction(slo.latency_ms or 0.0) or exit_.accuracy < (slo.accuracy or 0.0):
                continue
            order = (-Fraction(exit_.accuracy), latency, sent, -cut, number)
            if best is None or order < best[0]:
                best = order, (exit_.name, cut)
    return None if best is None else best[1]


def exhaustive(count: int, seed: int) -> tuple[int, int]:
    """Of `count` random instances: how many plans differ from exhaustive search, and how many break a constraint."""
    different = broken = 0
    for number in range(count):
        profile, link, slo = random_instance(np.random.default_rng([seed, number]))
        try:
            expected = search(profile, link, slo)
            plan = split(profile, link, slo)
        except Exception as error:
            raise RuntimeError(f"random instance {number} of seed {seed}") from error
        different += expected != (None if plan.choice is None else (plan.choice.exit, plan.choice.cut))
        if plan.choice is not None:
            parts = (plan.choice.device_ms, plan.choice.round_trip_ms, plan.choice.up_ms, plan.choice.datacenter_ms)
            took = math.fsum((*parts, plan.choice.down_ms))
            late = took > plan.deadline_ms * (1 + 1e-12)
            broken += late or plan.choice.accuracy < (slo.accuracy or 0.0)
    return different, broken
