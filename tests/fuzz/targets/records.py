"""Anything as a result record of the fabric: an answer within the kernel's classes, or a `FabricError`."""

from __future__ import annotations

import asyncio

import numpy as np
import numpy.typing as npt

from edgesight.host.cascade import Cascade, Request
from edgesight.host.fabric.base import RECORD, FabricError, Images, Records
from edgesight.host.images import Picture
from edgesight.host.link.datagrams import LinkError, Status
from edgesight.host.link.offload import Offloaded
from edgesight.host.package import Package
from tests.fuzz.package import CALIBRATION, small_package

MAX_LENGTH = RECORD.itemsize + 4


class _NoFabric:
    """A `Fabric` that is never run: records are given."""

    simulated = False

    def __init__(self, package: Package) -> None:
        self.package = package

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        """Any are fine."""

    def run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        raise AssertionError("records are given: `settle` has no reason to run the fabric")

    def close(self) -> None:
        """Nothing is held."""


class _Offload:
    """A data centre that says whatever it is told to."""

    label = 0

    async def offload(
        self, image: npt.NDArray[np.uint8], within: float, accuracy: float, trace: str | None = None
    ) -> Offloaded:
        if self.label & 0x8000:
            raise LinkError("none")
        return Offloaded(1, Status.ANSWERED, self.label, service_us=1_000)


LOOP = asyncio.new_event_loop()  # whose clock times what is asked of the data centre
OFFLOAD = _Offload()
CASCADE = Cascade(_NoFabric(small_package()), CALIBRATION, OFFLOAD)
PICTURE = Picture(np.zeros(CASCADE.kernel.input.shape, np.uint8), ())
REQUEST = Request(PICTURE, CALIBRATION.targets[0], CASCADE.terms, 60.0, 0.0)


def seeds() -> list[bytes]:
    records = np.zeros(3, RECORD)
    records["stage"] = [0, 1, 0x11]
    return [b"\x00\x02" + record.tobytes() for record in records]


def consume(data: bytes) -> None:
    if len(data) < 2 + RECORD.itemsize:
        return
    OFFLOAD.label = int.from_bytes(data[:2], "big")
    record = np.frombuffer(data, RECORD, 1, 2)[0]
    leg = CASCADE.simulated_leg(int(record["cycles"]))
    try:
        answer = LOOP.run_until_complete(CASCADE.settle(REQUEST, record, leg))
    except FabricError:
        return
    assert 0 <= answer.label < CASCADE.kernel.labels
    assert answer.stage == "datacenter" or answer.label == int(record["label"])
