"""The cascade as its user sees it: an image and an accuracy in, an `Answer` out.

The fabric answers what its stages are sure of; the rest goes to the data centre; and where the data centre's answer
does not come in time, the last stage's label stands in and says so.

A deadline counts the fabric's leg and everything after it. Where the fabric is simulated its leg is the simulated time,
cycles at the kernel's clock, not the time that the simulation took. A request that was hedged
(`edgesight.host.hedge`) began with the fabric, so that the slower of the two counts; with a simulated fabric it is
cancelled when the simulation is through, which is later than a real fabric's would be, never sooner.

A target is promised for pictures like those that were calibrated on: of one that is not, the answer is given all the
same, and says so (`edgesight.host.novelty`).

Another calibration of the same networks can be swapped in meanwhile (`edgesight.host.swap`).

A target is promised for the links that were calibrated. An answer of the data centre over a link that loses more, or to
which the image went more coarsely, is given all the same, and says that the target does not cover it.

Words owned here: request, early request.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from edgesight.host.answer import Answer, Leg, StageName
from edgesight.host.answered import Offloads
from edgesight.host.audits import Audits
from edgesight.host.errors import EdgeSightError
from edgesight.host.fabric.base import OFFLOAD, STAGE_MASK, Fabric, FabricError, Images, Loadable, Records
from edgesight.host.hedge import Hedging
from edgesight.host.images import Picture, Pixels
from edgesight.host.kernel import Calibration, Kernel, Target
from edgesight.host.link.datagrams import LinkError
from edgesight.host.link.offload import NoAnswer, Offload, Offloaded
from edgesight.host.link.quality import ladder_of
from edgesight.host.measures import Measure, Measured, gauge
from edgesight.host.novelty import NoveltyTest, novelty_test
from edgesight.host.package import Package
from edgesight.host.power.meter import EnergyMeter
from edgesight.host.power.readings import PowerError
from edgesight.host.swap import Recalibrated, SwapError, Terms, check_calibration, placed
from edgesight.host.watches import AuditError

_AUDIT_S = 5.0  # that the data centre has for an audit
_STAGES: Final[tuple[StageName, ...]] = ("stage0", "stage1", "stage2", "stage3")


logger = logging.getLogger(__name__)


class TargetRefused(EdgeSightError, ValueError):
    """An accuracy that the cascade does not promise; `best` is the highest that it does, None if there is none."""

    def __init__(self, message: str, best: float | None) -> None:
        """Say what was asked and what can be had."""
        super().__init__(message)
        self.best = best


@dataclass(frozen=True)
class _Asked:
    """What came of a request to the data centre."""

    reply: Offloaded | None
    trouble: str  # why there is no reply
    seconds: float  # that it took; 0 where nothing was sent


Early = asyncio.Task[_Asked]  # a request to the data centre that went before the fabric answered


@dataclass(frozen=True, eq=False)
class Request:
    """A picture and what is asked of its answer, all the way from the door.

    Attributes:
        picture: its pixels are for the fabric; its photograph, where it has one, for the data centre.
        target: that the answer is held to, one of its terms'.
        terms: what it is answered under.
        deadline: seconds from `since` on within which it must be there.
        since: when it was asked, of the loop's clock.
        early: what went to the data centre at once, where it is hedged.
        trace: W3C `traceparent` that it belongs to; None: nobody traces it.
    """

    picture: Picture
    target: Target
    terms: Terms
    deadline: float
    since: float
    early: Early | None = None
    trace: str | None = None


class Cascade:
    """Answers images on a fabric and, where that is unsure, at the data centre."""

    def __init__(
        self,
        fabric: Fabric,
        calibration: Calibration,
        offload: Offload | None,
        meter: EnergyMeter | None = None,
        hedging: Hedging | None = None,
        audits: Audits | None = None,
    ) -> None:
        """Write the threshold table; without `offload`, unsure answers are the last stage's, marked degraded.

        Without `hedging` no image is hedged, and without `audits` nobody watches whether targets still hold. With
        `meter`, answers carry the energy that it tells. Raises PowerError where the fabric is simulated: what a sensor
        sees is then the simulation's; KernelError where the package's detector of strange pictures is damaged.
        """
        if meter is not None and fabric.simulated:
            raise PowerError("the fabric is simulated, so that no sensor can tell its energy: meter a board")
        self.kernel: Kernel = fabric.package.kernel
        rows = tuple(target.set_index for target in calibration.targets)
        self.terms = Terms(calibration, rows, novelty_test(fabric.package))
        self._former: list[Terms] = []  # that were swapped out while requests waited
        self._looked = asyncio.Event()  # set whenever the fabric has looked at requests, or they were given up
        self._taking = asyncio.Event()  # unset while no row may be used
        self._taking.set()
        self._swapping = asyncio.Lock()
        self._unwritten: dict[int, list[int]] = {}  # rows that the fabric's table lost
        self._asked_under = calibration  # by which the data centre is asked
        self.simulated = fabric.simulated
        self._fabric = fabric
        self._offload = offload
        self._meter = meter
        self._hedging = hedging or Hedging(budget=0.0)
        self._audits = audits
        self._auditing: asyncio.Task[None] | None = None
        self._offloads = Offloads()
        self._thread = ThreadPoolExecutor(1, "fabric")  # one caller at a time: the hardware is one
        for row, thresholds in self.terms.table.items():
            fabric.set_thresholds(row, thresholds)

    @property
    def package(self) -> Package:
        """What the fabric runs, as it was when the fabric was opened."""
        return self._fabric.package

    def target(self, accuracy: float) -> Target:
        """The lowest offered target of at least `accuracy`; raises TargetRefused when there is none."""
        calibration = self.terms.calibration
        enough = [target for target in calibration.targets if target.accuracy >= accuracy]
        if enough:
            return min(enough, key=lambda target: target.accuracy)
        offered = [target.accuracy for target in calibration.targets]
        if not offered:
            raise TargetRefused("this kernel's calibration offers no accuracy target: calibrate again", None)
        reachable = "".join(
            f"; of {refused.accuracy:g}, asked for at calibration, only {refused.best_reachable:.4f} can be shown"
            for refused in calibration.refused
        )
        raise TargetRefused(
            f"accuracy {accuracy:g} is not offered: the best target is {max(offered):g}{reachable}; ask for less, "
            "or calibrate with other targets",
            max(offered),
        )

    async def request(self, picture: Picture, target: Target, deadline: float, trace: str | None = None) -> Request:
        """A request for `picture`, asked now and due in `deadline` seconds; begins it where it is hedged.

        To be handed to `look`, then to `settle`; or to `give_up`. Where the `target` was swapped out meanwhile it
        counts as its accuracy. Waits only where a swap needs all rows of the threshold table. Raises TargetRefused.
        """
        loop = asyncio.get_running_loop()
        since = loop.time()
        while not self._taking.is_set():
            await self._taking.wait()
        if target not in self.terms.calibration.targets:
            target = self.target(target.accuracy)
        early = None
        if self._offload is not None and self._hedging.hedge(target, deadline):
            early = loop.create_task(self._ask(self._offload, picture.for_back_end, deadline, target, trace))
        request = Request(picture, target, self.terms, deadline, since, early, trace)
        self.terms.waiting.add(request)
        return request

    def give_up(self, request: Request) -> None:
        """Let go of a request that no record of the fabric will decide about."""
        self._needs_no_row(request)
        if request.early is not None:
            request.early.cancel()
        self._hedging.failed_to_look(request.early is not None)

    async def look(self, requests: Sequence[Request]) -> tuple[Records, list[Leg]]:
        """What the fabric says of each request's pixels under its target, and the leg of each. Raises FabricError."""
        images = np.stack([request.picture.pixels for request in requests])
        sets = np.array([request.terms.row(request.target) for request in requests], np.uint8)
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            records = await loop.run_in_executor(self._thread, self._run, images, sets)
        finally:
            self._needs_no_row(*requests)
        ran_ms = (loop.time() - begin) * 1e3
        if self.simulated:
            return records, [self.simulated_leg(int(record["cycles"])) for record in records]
        return records, [Leg(name="fabric", milliseconds=ran_ms, obtained="measured")] * len(records)

    async def settle(self, request: Request, record: Any, fabric: Leg, waited: float = 0.0) -> Answer:
        """The answer to a `request` whose fabric `record` is there.

        Of its deadline `waited` seconds went by before the fabric's leg. Raises FabricError when the record carries an
        error.
        """
        answer = self._strange(await self._settle(request, record, fabric, waited), request)
        # One at a time: audits must not crowd out what somebody waits for.
        if self._audits is not None and answer.guaranteed and self._auditing is None and self._audits.chosen():
            self._auditing = asyncio.get_running_loop().create_task(self._audit(self._audits, request, answer))
        return answer

    async def _settle(self, request: Request, record: Any, fabric: Leg, waited: float) -> Answer:
        """The answer, but for whether the picture is strange."""
        target, deadline, early = request.target, request.deadline, request.early
        if record["error"]:
            self.give_up(request)
            raise FabricError(f"the fabric answered with error {int(record['error'])}: reset it, then ask again")
        stage = int(record["stage"]) & STAGE_MASK
        if stage >= len(self.kernel.stages) or int(record["label"]) >= self.kernel.labels:
            self.give_up(request)
            raise FabricError(
                f"the fabric says class {int(record['label'])} of stage {stage}, which this kernel does not have: "
                "load this package's bitstream"
            )
        unsure = bool(int(record["stage"]) & OFFLOAD)
        looked = waited + fabric.milliseconds / 1e3
        self._hedging.looked(target, looked, unsure, early is not None)
        energy = self._meter.energy() if self._meter is not None else None
        edge = Answer(
            label=int(record["label"]),
            class_name=self.kernel.classes[int(record["label"])],
            confidence=target.curves[stage].at(int(record["margin"])),
            stage=_STAGES[stage],
            accuracy_target=target.accuracy,
            degraded=False,
            guaranteed=True,
            guaranteed_for=request.terms.guaranteed_for,
            reason=None,
            hedged=early is not None,
            legs=[fabric],
            energy_joules=energy.joules if energy is not None else None,
            energy_obtained=energy.obtained if energy is not None else None,
        )
        if early is not None and (not unsure or looked >= deadline):
            early.cancel()
        if unsure and self._offload is None:
            return _degraded(edge, "no data centre was named")
        if looked >= deadline:
            return _degraded(edge, "the deadline passed on the fabric")
        if not unsure or self._offload is None:
            return edge
        photograph, left = request.picture.for_back_end, deadline - looked
        asked = await (early or self._ask(self._offload, photograph, left, target, request.trace))
        reply = asked.reply
        if reply is None:
            return _degraded(edge, asked.trouble, asked.seconds * 1e3)
        if (max(looked, asked.seconds) if early is not None else looked + asked.seconds) > deadline:
            return _degraded(edge, "the data centre's answer came after the deadline", asked.seconds * 1e3)
        if reply.label >= self.kernel.labels:
            return _degraded(edge, f"the data centre said class {reply.label}, which this kernel does not have")
        service_ms = reply.service_us / 1e3
        link_ms = max(0.0, asked.seconds * 1e3 - service_ms)
        beyond = self._beyond_calibration(request.terms.calibration, reply)
        return edge.model_copy(
            update={
                "label": reply.label,
                "class_name": self.kernel.classes[reply.label],
                "confidence": target.backend_confidences[request.terms.calibration.bucket(reply.loss)],
                "stage": "datacenter",
                "guaranteed": beyond is None,
                "guaranteed_for": request.terms.guaranteed_for if beyond is None else None,
                "reason": beyond,
                "legs": [
                    fabric,
                    Leg(name="link", milliseconds=link_ms, obtained="measured"),
                    Leg(name="service", milliseconds=service_ms, obtained="measured"),
                ],
            }
        )

    async def _audit(self, audits: Audits, request: Request, answer: Answer) -> None:
        """Hold an answer against the back end's, where the fabric gave it, and keep both."""
        photograph, calibration = request.picture.for_back_end, request.terms.calibration
        reply, asked = None, answer.stage != "datacenter" and self._offload is not None
        try:
            if asked and self._offload is not None:
                with contextlib.suppress(LinkError):
                    reply = await self._offload.offload(photograph, _AUDIT_S, request.target.accuracy, request.trace)
            if reply is not None and self._beyond_calibration(calibration, reply) is not None:
                reply = None
            said = answer.label if answer.stage == "datacenter" else reply.label if reply is not None else None
            alarm = await asyncio.to_thread(audits.take, photograph, answer, calibration, said, asked)
            if alarm is not None:
                logger.warning("%s", alarm.told())
        except AuditError as error:
            logger.warning("an audit was lost: %s", error)
        finally:
            self._auditing = None

    def measures(self) -> Sequence[Measure]:
        """What it counts of itself."""
        found: list[Measure] = []
        if self._offload is not None:
            found += self._offloads.measures()
            bound = self.terms.calibration.loss
            found.append(gauge("link_loss_bound", "Loss up to which targets were calibrated.", bound))
        for part in (self._offload, self._meter, self._audits):
            if isinstance(part, Measured):
                found += part.measures()
        return found

    async def audited(self) -> None:
        """Wait until the audit that is under way, if any, is kept."""
        if self._auditing is not None:
            await asyncio.wait([self._auditing])

    async def end_audits(self) -> None:
        """Let the audit that is under way go, keep what was seen, and leave the folder to others."""
        if self._auditing is not None:
            self._auditing.cancel()
            await self.audited()
        if self._audits is not None:
            try:
                await asyncio.to_thread(self._audits.keep)
            except AuditError as error:
                logger.warning("what audits saw last was lost: %s", error)
            finally:
                self._audits.close()

    async def swap(
        self, calibration: Calibration, novelty: NoveltyTest | None = None, package: Package | None = None
    ) -> None:
        """Answer what is asked from now on under `calibration` and `novelty`; by the weights of `package` if given.

        Queries go on being answered meanwhile, under the former one. Its rows are written between two batches, to rows
        that no request needs. Only where there are too few, or weights are loaded, does whoever asks wait until the
        fabric has looked at all that was asked before. Raises SwapError, LinkError or FabricError, everything being as
        before. Once begun it is brought to an end though this be cancelled.
        """
        await asyncio.shield(asyncio.get_running_loop().create_task(self._swap(calibration, novelty, package)))

    async def _swap(self, calibration: Calibration, novelty: NoveltyTest | None, package: Package | None) -> None:
        check_calibration(calibration, self.kernel if package is None else package.kernel)
        async with self._swapping:
            former = self.terms.calibration
            await self._recalibrate(calibration)
            try:
                rows = await self._free_rows(calibration, beside=package is None)
                places = rows or placed(calibration, [], self.kernel.threshold_sets) or ()
                terms = Terms(calibration, places, novelty)
                await (self._write(terms, in_place=rows is None) if package is None else self._load(package, terms))
            except BaseException:
                with contextlib.suppress(LinkError):  # then what comes of it counts as another model's
                    await self._recalibrate(former)
                raise
            finally:
                self._taking.set()
            self._former.append(self.terms)
            self.terms = terms
            self._hedging.swapped(calibration.targets)
            if self._audits is not None:
                with contextlib.suppress(AuditError):  # what it says, the next audit says again
                    await asyncio.to_thread(self._audits.recalibrated, calibration)

    async def _free_rows(self, calibration: Calibration, beside: bool) -> tuple[int, ...] | None:
        """Rows for `calibration` beside all that are needed; None once none is, and nobody can ask until `_taking`."""
        while True:
            self._former = [terms for terms in self._former if terms.waiting]
            rows = placed(calibration, [self.terms, *self._former], self.kernel.threshold_sets) if beside else None
            if rows is not None:
                return rows
            if not (self._former and beside):
                self._taking.clear()
                if not self.terms.waiting and not self._former:
                    return None
            self._looked.clear()
            await self._looked.wait()

    async def _write(self, terms: Terms, in_place: bool) -> None:
        """Write the rows of `terms`, each in its turn between the batches; raises FabricError."""
        loop, there = asyncio.get_running_loop(), {} if in_place else self.terms.table
        try:
            for row, thresholds in terms.table.items():
                if there.get(row) != thresholds:
                    await loop.run_in_executor(self._thread, self._fabric.set_thresholds, row, thresholds)
        except BaseException:
            if in_place:
                self._unwritten = dict(self.terms.table)
            raise

    async def _load(self, package: Package, terms: Terms) -> None:
        """Load other weights with the table of `terms`; the fabric has looked at all that was asked before."""
        if not isinstance(self._fabric, Loadable):
            raise SwapError(f"{package.path}: this fabric loads no weights: start the edge anew")
        run = asyncio.get_running_loop().run_in_executor
        await run(self._thread, self._fabric.load, package, terms.table)
        self.kernel, self._unwritten = package.kernel, {}

    async def _recalibrate(self, calibration: Calibration) -> None:
        """Have the data centre asked under `calibration`; raises LinkError where it serves another model."""
        if isinstance(self._offload, Recalibrated):
            await self._offload.recalibrate(calibration)
        elif self._offload is not None and calibration.backend_sha256 != self._asked_under.backend_sha256:
            raise SwapError("the new calibration was made with another back end: start the edge anew")
        self._asked_under = calibration

    def _needs_no_row(self, *requests: Request) -> None:
        """The fabric has looked at `requests`, or never will."""
        for request in requests:
            request.terms.waiting.discard(request)
        self._looked.set()

    def close(self) -> None:
        """Wait for the fabric to finish and release it."""
        self._thread.shutdown()
        self._fabric.close()

    async def _ask(
        self, offload: Offload, photograph: Pixels, within: float, target: Target, trace: str | None
    ) -> _Asked:
        """Ask the data centre, and tell the hedging what came of it."""
        self._hedging.requested()
        loop = asyncio.get_running_loop()
        begin = loop.time()
        try:
            reply = await offload.offload(photograph, within, target.accuracy, trace)
        except LinkError as error:
            seconds = loop.time() - begin
            self._hedging.unanswered(seconds, within)
            asked = isinstance(error, NoAnswer) and error.asked
            self._offloads.unanswered(asked)
            return _Asked(None, str(error), seconds if asked else 0.0)  # what was not sent has no leg
        except asyncio.CancelledError:
            self._offloads.cancelled()
            raise
        seconds = loop.time() - begin
        self._hedging.replied(seconds, reply.queue_ms / 1e3)
        self._offloads.replied(reply)
        return _Asked(reply, "", seconds)

    def _strange(self, answer: Answer, request: Request) -> Answer:
        """With the picture's p-value; and where that lies below the level, without a guarantee."""
        novelty = request.terms.novelty
        if novelty is None:
            return answer
        value, level = novelty.p_value(request.picture.for_back_end), novelty.level
        if value >= level:
            return answer.model_copy(update={"novelty": value})
        like = request.terms.calibration.rests_on.distribution
        said = f"the picture is unlike {like} (p-value {value:.2g}, below {level:g})"
        reason = f"{answer.reason}; and {said}" if answer.reason else f"target not guaranteed: {said}"
        doubted = {"guaranteed": False, "guaranteed_for": None, "reason": reason}
        return answer.model_copy(update={"novelty": value, **doubted})

    def _beyond_calibration(self, calibration: Calibration, reply: Offloaded) -> str | None:
        """Why a target of `calibration` does not cover this reply; None where it does."""
        if calibration.backend_sha256 != self._asked_under.backend_sha256:
            return "target not guaranteed: the data centre changed its model meanwhile"
        if ladder_of(calibration.ladder)[0] != ladder_of(self._asked_under.ladder)[0]:
            return "target not guaranteed: a new calibration changed the way to the data centre meanwhile"
        if reply.loss > calibration.loss:
            lost, most = 100 * reply.loss, 100 * calibration.loss
            return f"target not guaranteed: {lost:.3g} % of packets lost, calibrated up to {most:.3g} %"
        if reply.coarse:
            return "target not guaranteed: for want of bandwidth the image went more coarsely than was calibrated"
        return None

    def _run(self, images: Images, sets: npt.NDArray[np.uint8]) -> Records:
        """Run the fabric; the meter is told how long it was busy."""
        while self._unwritten:
            row = next(iter(self._unwritten))
            self._fabric.set_thresholds(row, self._unwritten[row])
            del self._unwritten[row]
        with self._meter.busy(len(images)) if self._meter is not None else contextlib.nullcontext():
            return self._fabric.run(images, sets)

    def simulated_leg(self, cycles: int) -> Leg:
        """The fabric's leg of a record that took `cycles` at the kernel's clock."""
        return Leg(name="fabric", milliseconds=cycles / (self.kernel.clock_mhz * 1e3), obtained="simulated")


def _degraded(edge: Answer, reason: str, waited_ms: float = 0.0) -> Answer:
    legs = [*edge.legs, Leg(name="link", milliseconds=waited_ms, obtained="measured")] if waited_ms else edge.legs
    doubted = {"degraded": True, "guaranteed": False, "guaranteed_for": None, "reason": reason}
    return edge.model_copy(update={**doubted, "legs": legs})
