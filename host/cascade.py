"""The cascade as its user sees it: an image and an accuracy in, an `Answer` out.

The fabric answers what its stages are sure of; the rest goes to the data centre; and where the data centre's answer
does not come in time, the last stage's label stands in and says so.

A deadline counts the fabric's leg and everything after it. Where the fabric is simulated its leg is the simulated time,
cycles at the kernel's clock, not the time that the simulation took.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from host.answer import Answer, Leg, StageName
from host.fabric.base import OFFLOAD, STAGE_MASK, Fabric, FabricError, Images, Records
from host.kernel import Calibration, Kernel, Target
from host.link.datagrams import LinkError, Reply
from host.power.meter import EnergyMeter
from host.power.sensors import PowerError

_STAGES: tuple[StageName, StageName] = ("stage0", "stage1")


class TargetRefused(ValueError):
    """An accuracy that the cascade does not promise; `best` is the highest that it does, None if there is none."""

    def __init__(self, message: str, best: float | None) -> None:
        """Say what was asked and what can be had."""
        super().__init__(message)
        self.best = best


class Offload(Protocol):
    """The way to the data centre."""

    async def offload(self, image: npt.NDArray[np.uint8], within: float, accuracy: float) -> Reply:
        """Label of uint8 [H, W, C] `within` seconds under an accuracy target; raises LinkError where there is none."""


class Cascade:
    """Answers images on a fabric and, where that is unsure, at the data centre."""

    def __init__(
        self, fabric: Fabric, calibration: Calibration, offload: Offload | None, meter: EnergyMeter | None = None
    ) -> None:
        """Write the threshold table; without `offload`, unsure answers are the last stage's, marked degraded.

        With `meter`, answers carry the energy that it tells. Raises PowerError where the fabric is simulated: what a
        sensor sees is then the simulation's.
        """
        if meter is not None and fabric.simulated:
            raise PowerError("the fabric is simulated, so that no sensor can tell its energy: meter a board")
        self.kernel: Kernel = fabric.package.kernel
        self.calibration = calibration
        self.simulated = fabric.simulated
        self._fabric = fabric
        self._offload = offload
        self._meter = meter
        self._thread = ThreadPoolExecutor(1, "fabric")  # one caller at a time: the hardware is one
        for target in calibration.targets:
            fabric.set_thresholds(target.set_index, target.thresholds)

    def target(self, accuracy: float) -> Target:
        """The lowest offered target of at least `accuracy`; raises TargetRefused when there is none."""
        enough = [target for target in self.calibration.targets if target.accuracy >= accuracy]
        if enough:
            return min(enough, key=lambda target: target.accuracy)
        offered = [target.accuracy for target in self.calibration.targets]
        if not offered:
            raise TargetRefused("this kernel's calibration offers no accuracy target: calibrate again", None)
        reachable = "".join(
            f"; of {refused.accuracy:g}, asked for at calibration, only {refused.best_reachable:.4f} can be shown"
            for refused in self.calibration.refused
        )
        raise TargetRefused(
            f"accuracy {accuracy:g} is not offered: the best target is {max(offered):g}{reachable}; ask for less, "
            "or calibrate with other targets",
            max(offered),
        )

    async def answers(self, images: Images, targets: Sequence[Target], deadlines: Sequence[float]) -> list[Answer]:
        """Answers of images uint8 [N, H, W, C], each under its target and within its deadline in seconds.

        Raises FabricError.
        """
        records, legs = await self.look(images, targets)
        jobs = zip(images, records, targets, deadlines, legs, strict=True)
        return list(await asyncio.gather(*(self.settle(*job) for job in jobs)))

    async def look(self, images: Images, targets: Sequence[Target]) -> tuple[Records, list[Leg]]:
        """What the fabric says of images uint8 [N, H, W, C], each under its target, and the leg of each.

        Raises FabricError.
        """
        sets = np.array([target.set_index for target in targets], np.uint8)
        begin = time.perf_counter()
        records = await asyncio.get_running_loop().run_in_executor(self._thread, self._run, images, sets)
        ran_ms = (time.perf_counter() - begin) * 1e3
        if self.simulated:
            return records, [self.simulated_leg(int(record["cycles"])) for record in records]
        return records, [Leg(name="fabric", milliseconds=ran_ms, obtained="measured")] * len(records)

    async def settle(
        self, image: npt.NDArray[np.uint8], record: Any, target: Target, deadline: float, fabric: Leg
    ) -> Answer:
        """Answer of one `image` uint8 [H, W, C] whose fabric `record` is there, `deadline` seconds in all.

        Raises FabricError when the record carries an error.
        """
        if record["error"]:
            raise FabricError(f"the fabric answered with error {int(record['error'])}: reset it, then ask again")
        stage = int(record["stage"]) & STAGE_MASK
        if stage >= len(_STAGES) or int(record["label"]) >= self.kernel.labels:
            raise FabricError(
                f"the fabric says class {int(record['label'])} of stage {stage}, which this kernel does not have: "
                "load this package's bitstream"
            )
        energy = self._meter.energy() if self._meter is not None else None
        edge = Answer(
            label=int(record["label"]),
            class_name=self.kernel.classes[int(record["label"])],
            confidence=target.curves[stage].at(int(record["margin"])),
            stage=_STAGES[stage],
            accuracy_target=target.accuracy,
            degraded=False,
            reason=None,
            legs=[fabric],
            energy_joules=energy.joules if energy is not None else None,
            energy_obtained=energy.obtained if energy is not None else None,
        )
        if not int(record["stage"]) & OFFLOAD:
            return edge
        if self._offload is None:
            return _degraded(edge, "no data centre was named")
        left = deadline - fabric.milliseconds / 1e3
        if left <= 0:
            return _degraded(edge, "the deadline passed on the fabric")
        begin = time.perf_counter()
        try:
            reply = await self._offload.offload(image, left, target.accuracy)
        except LinkError as error:
            return _degraded(edge, str(error), (time.perf_counter() - begin) * 1e3)
        if reply.label >= self.kernel.labels:
            return _degraded(edge, f"the data centre said class {reply.label}, which this kernel does not have")
        service_ms = reply.service_us / 1e3
        link_ms = max(0.0, (time.perf_counter() - begin) * 1e3 - service_ms)
        return edge.model_copy(
            update={
                "label": reply.label,
                "class_name": self.kernel.classes[reply.label],
                "confidence": target.backend_confidence,
                "stage": "datacenter",
                "legs": [
                    fabric,
                    Leg(name="link", milliseconds=link_ms, obtained="measured"),
                    Leg(name="service", milliseconds=service_ms, obtained="measured"),
                ],
            }
        )

    def close(self) -> None:
        """Wait for the fabric to finish and release it."""
        self._thread.shutdown()
        self._fabric.close()

    def _run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Run the fabric; the meter is told how long it was busy."""
        with self._meter.busy(len(images)) if self._meter is not None else contextlib.nullcontext():
            return self._fabric.run(images, sets)

    def simulated_leg(self, cycles: int) -> Leg:
        """The fabric's leg of a record that took `cycles` at the kernel's clock."""
        return Leg(name="fabric", milliseconds=cycles / (self.kernel.clock_mhz * 1e3), obtained="simulated")


def _degraded(edge: Answer, reason: str, waited_ms: float = 0.0) -> Answer:
    legs = [*edge.legs, Leg(name="link", milliseconds=waited_ms, obtained="measured")] if waited_ms else edge.legs
    return edge.model_copy(update={"degraded": True, "reason": reason, "legs": legs})
