"""What others measured and published of boards, radios and a data centre: what a projection of energy is made from.

Words owned here: source (who measured what, and where it stands).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from edgesight.host.power.projection import published_for


@dataclass(frozen=True)
class Board:
    """An edge's board, without its radio.

    Attributes:
        idle_watts: while nothing is answered.
        active_watts: while the fabric works all the time.
        source: of both.
    """

    name: str
    idle_watts: float
    active_watts: float
    source: str

    def times(self, by: float) -> Board:
        """One that draws so many times as much."""
        return replace(self, idle_watts=by * self.idle_watts, active_watts=by * self.active_watts)


@dataclass(frozen=True)
class Radio:
    """An edge's radio; its power grows with the rate that it sends at.

    Attributes:
        base_watts: while it is on, whatever it sends.
        joules_a_bit: that it sends, on top.
    """

    name: str
    base_watts: float
    joules_a_bit: float
    source: str

    def times(self, by: float) -> Radio:
        """One that draws so many times as much."""
        return replace(self, base_watts=by * self.base_watts, joules_a_bit=by * self.joules_a_bit)


@dataclass(frozen=True)
class Device:
    """What the back end runs on, all its time used.

    Attributes:
        watts: of the whole system, at the wall.
        images_per_second: that it answers meanwhile, in batches.
        operations: multiply-accumulates that one of them takes.
    """

    name: str
    watts: float
    images_per_second: float
    operations: float
    source: str

    @property
    def joules_an_operation(self) -> float:
        """Of a multiply-accumulate."""
        return self.watts / self.images_per_second / self.operations


def _pynq_z2() -> Board:
    published = published_for("pynq-z2")
    watts = sorted(one.watts for one in published)
    return Board(
        "pynq-z2",
        watts[0],
        watts[-1],
        "no idle power is published: idle is the least and active the largest of what the whole board drew at work, "
        "without an operating system; " + "; ".join(one.source for one in published),
    )


BOARDS: Final = (
    _pynq_z2(),
    Board(
        "kv260",
        9.15,
        10.13,
        "the whole board at its 12 V supply, under Linux, idle and with a DPU at work: I. Gubochkin, I. Gorshkova, P. "
        "Salovskii, What One Inference Costs in Watts, Simfero, March 2026, "
        "https://simfero.eu/knowledge-base/what-one-inference-costs-in-watts-a-practical-power-measurement-guide-for-fpga-edge-ai",
    ),
)

# Read in the source text of programs that take them from the paper, which agree; the paper itself was not at hand.
_HUANG = (
    "power while data goes up, of a phone in a commercial network: J. Huang et al., A Close Examination of Performance "
    "and Power Characteristics of 4G LTE Networks, MobiSys 2012, doi:10.1145/2307636.2307658, as others quote it"
)
WIFI: Final = Radio("Wi-Fi", 0.13286, 283.17e-9, _HUANG)
LTE: Final = Radio("LTE", 1.28804, 438.39e-9, _HUANG)

# Mean of `run_1/spl.txt` from `power_begin` to `power_end`, and the samples per second of `mlperf_log_summary.txt`. Of
# NVIDIA's own systems there the one that takes the least an image, so that the back end is counted low.
DEVICE: Final = Device(
    "Gigabyte G482-Z54 with 8 NVIDIA H100 PCIe 80 GB, MaxQ, ResNet-50 v1.5 by TensorRT",
    2219.577,
    353_232.0,
    4.09e9,
    "MLPerf Inference v3.0, closed, offline: mlcommons/inference_results_v3.0 at 1948f9b5, "
    "closed/NVIDIA/results/H100-PCIe-80GBx8_TRT_MaxQ/resnet50/Offline/performance/run_1 (24 February 2023); its "
    "network's operations: https://pytorch.org/vision/stable/models/generated/torchvision.models.resnet50.html",
)
