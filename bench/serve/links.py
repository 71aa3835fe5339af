"""The links that all is held against: a steady one that loses nothing, or something, and one of a moving car."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from edgesight.bench.link.cases import DELAY_S, QUEUE, RATE
from edgesight.sim.link.options import BandwidthDelayProducts, ConstantRate, LinkOptions, MahimahiTrace, Rate

LOSS: Final = 0.05
TRACE: Final = "TMobile-LTE-short"

Links = tuple[LinkOptions, LinkOptions]  # up, down


def links_of(traces: Path | None) -> dict[str, Links]:
    """The links, by name; without a folder that has the LTE trace, all but that. Raises EmulationError."""

    def options(rate: Rate, loss: float = 0.0) -> LinkOptions:
        return LinkOptions(rate, DELAY_S, loss=loss, queue=BandwidthDelayProducts(QUEUE))

    steady = ConstantRate(RATE * 1e6)
    found = {
        "no loss": (options(steady), options(steady)),
        f"{LOSS:.0%} loss": (options(steady, LOSS), options(steady, LOSS)),
    }
    if traces is not None and (traces / f"{TRACE}.up").is_file():
        up, down = (options(MahimahiTrace.read(traces / f"{TRACE}.{way}")) for way in ("up", "down"))
        found["LTE"] = up, down
    return found
