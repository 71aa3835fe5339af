"""Every counter against the log of a run with faults, as a real Prometheus has scraped it.

An edge (csim) and its data centre are processes, joined by an emulated link that needs no root. Answers come to be
degraded for want of time, requests are taken back, workers hang and are killed, pictures are strange, the link loses
packets, the data centre is killed and comes back with too little memory for its models, the calibration is swapped for
one that audits tell against, and clients ask at all doors, wrongly, too.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
import socket
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image
from rich.console import Console

from edgesight.bench.kept import Found
from edgesight.bench.link.programs import Program
from edgesight.bench.report import Check
from edgesight.bench.service.asked import READY
from edgesight.bench.service.tiny import put, scaled
from edgesight.bench.watch.asking import ENOUGH_MS, Asker, Places, free, post
from edgesight.bench.watch.held import Comparison, Expected, compare
from edgesight.bench.watch.run_log import Life, Relayed, of_data_centre, of_edge
from edgesight.bench.watch.scraping import MONITORING, Prometheus, ScrapeError, get, promtool_faults, scraping
from edgesight.hls.csim import build_library
from edgesight.host.audits import audits_in, picture_of
from edgesight.host.fabric.base import Images
from edgesight.host.kernel import Agreement, Calibration
from edgesight.host.novelty import novelty_test
from edgesight.host.package import Package, write_package
from edgesight.host.queries import reload
from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.relay import RelayLink
from edgesight.sim.link.trust import make_trust

_EDGE, _CENTRE = "edgesight-edge", "edgesight-data-centre"  # jobs
_ONE_WAY_S, _LOSS = 0.05, 0.05  # of the link
_SHORT_S = 0.09  # deadline, less than the way there and back takes
_HUNG_S = 0.5  # deadline of what is asked while the model stands still
PICTURES = 64
_AGAIN = 20  # pictures that are asked so that audits give an alarm, and so that some are hedged
_REST_S = 2.0  # in which whatever is under way comes to an end
_LOST = re.compile(r"the worker of model (\S+) \(process \d+\) ended")  # a data centre's log
_SEED = 5
_MIB = 1 << 20


def measure(package: Package, pictures: Images, console: Console) -> Found:
    """Run it all, asking `pictures` of the package's kind. Raises EdgeSightError where a program fails."""
    faults = promtool_faults()
    with tempfile.TemporaryDirectory(prefix="edgesight-metrics-") as folder:
        run = _Run(package, pictures[:PICTURES], Path(folder), console)
        compared, rules, firing = asyncio.run(run.all())
    names = sorted({name for one in compared.values() for name in (*one.exact, *one.within)})
    wrong = [{"held": when, **row} for when, one in compared.items() for row in one.wrong]
    exact = {name for one in compared.values() for name in one.exact}
    body = {
        "wrong": wrong,
        "series": sum(one.series for one in compared.values()),
        "exactly": sorted(exact),
        "between_bounds_alone": sorted(set(names) - exact),
        "held": {when: {"exactly": one.exact, "between_bounds": one.within} for when, one in compared.items()},
        "not_told": sorted(run.told - set(names)),
        "answers": len(run.log.said),
        "degraded": sum(one.degraded for one in run.log.said),
        "hedged": sum(one.hedged for one in run.log.said),
        "taken_back": run.log.taken_back.total(),
        "audits": {str(agrees): count for agrees, count in run.audited.items()},
        "alerts_firing": firing,
        "promtool": faults,
        "rules_not_evaluated": rules,
    }
    told = f"of them {len(exact)} exactly"  # at the end of one life at least; `held` tells at which
    checks = (
        Check("series of counters and histograms that disagree with the log", len(wrong), 0, True, "", "measured"),
        Check("counters and histograms compared", len(names), len(run.counted), False, told, "measured"),
        Check("faults that promtool finds in the rules and their tests", len(faults), 0, True, "", "measured"),
        Check("rules that Prometheus has not evaluated", len(rules), 0, True, "", "measured"),
    )
    return Found(body, checks)


class _Run:
    """One run; `log` is what was done and what came back."""

    def __init__(self, package: Package, pictures: Images, folder: Path, console: Console) -> None:
        self.told: set[str] = set()  # names of all counters and histograms
        self.counted: set[str] = set()  # of those that had a value
        self.audited: Counter[bool | None] = Counter()  # by whether both agreed
        self._console, self._folder = console, folder
        self._name = package.kernel.name
        known = package.kernel.calibration
        assert known is not None
        build_library(package)
        self._package = write_package(folder / "package", package.kernel, _files(package))
        self._calibration = self._calibrate(known, images=1_000, agreed=500)
        self._targets = sorted(target.accuracy for target in known.targets)
        self._level = level.level if (level := novelty_test(package)) is not None else 0.0
        self._pictures = _written(folder / "pictures", list(pictures))
        noise = np.random.default_rng(_SEED).integers(0, 256, pictures[:8].shape, np.uint8)
        self._strange = _written(folder / "strange", list(noise))
        self._socket, self._audits = folder / "edge.sock", folder / "audits"
        trust = make_trust(folder / "trust")
        self._keys = trust
        for model, by in (("double", 2.0), ("treble", 3.0)):
            put(folder / "models", model, scaled(by))
        self._at = Places(free(socket.SOCK_DGRAM), *(free(socket.SOCK_STREAM) for _ in range(5)))
        self._asker = Asker(self._name, self._targets[-1], self._at, self._socket)
        self.log = self._asker.log
        self._before: Sequence[Any] = ()
        self._relayed = Relayed(0, 0, 0)

    def _calibrate(self, known: Calibration, images: int, agreed: int) -> Calibration:
        """Put this agreement of all targets into the package."""
        agreement = Agreement(images=images, agreed=agreed, lower_bound=agreed / images)
        targets = [target.model_copy(update={"agreement": agreement}) for target in known.targets]
        made = known.model_copy(update={"targets": targets})
        kernel = self._package.kernel.model_copy(update={"calibration": made})
        self._package = write_package(self._package.path, kernel, _files(self._package))
        return made

    async def all(self) -> tuple[dict[str, Comparison], list[str], list[str]]:
        """What disagreed at the end of each life, rules that are unsound, and alerts that fire."""
        names = [
            line.partition("alert: ")[2].strip()
            for line in (MONITORING / "alerts.yml").read_text().splitlines()
            if "- alert: " in line
        ]
        host, port = self._at.link.split(":")
        way = LinkOptions(delay_s=_ONE_WAY_S)
        compared: dict[str, Comparison] = {}
        async with contextlib.AsyncExitStack() as stack:
            relay = await stack.enter_async_context(RelayLink((host, int(port)), way, seed=_SEED))
            centre = await stack.enter_async_context(self._centre())
            edge = await stack.enter_async_context(self._edge(relay.address))
            targets = {_EDGE: self._at.edge, _CENTRE: self._at.centre}
            prometheus = await stack.enter_async_context(
                scraping(self._folder / "prometheus", self._at.prometheus, targets)
            )
            await self._connected(edge)
            await self._begin_life(relay)
            await self._first_life(centre)
            compared |= await self._held(prometheus, relay, centre, loads=3)
            budget = self._budget()
            await self._outage(centre)
            again = await stack.enter_async_context(self._centre("--load", "double", "--memory", str(budget)))
            assert again.ended() is None
            await self._connected(edge)
            self.log.outages[-1] = (self.log.outages[-1][0], time.time())
            self._asker.life = 2
            await self._begin_life(relay)
            await self._second_life(relay)
            compared |= await self._held(prometheus, relay, again, loads=3)
            unsound, firing = prometheus.unsound_rules(names), prometheus.alerts()
        return compared, unsound, firing

    # -------------------------------------------------------------------------------------------------- the programs

    @contextlib.asynccontextmanager
    async def _centre(self, *more: str) -> AsyncIterator[Program]:
        port = self._at.link.split(":")[1]
        words = ["datacenter", "serve", str(self._package.path), "--keys", str(self._keys.datacenter), "--port", port]
        words += ["--http", self._at.http, "--health", self._at.centre, "--repository", str(self._folder / "models")]
        log = self._folder / f"datacenter{self._asker.life}-{len(more)}.log"
        async with _running(Program("data centre", [*words, *more], f"{READY}HTTP", log)) as program:
            yield program

    @contextlib.asynccontextmanager
    async def _edge(self, datacenter: tuple[str, int]) -> AsyncIterator[Program]:
        words = ["edge", str(self._package.path), "--fabric", "csim", "--socket", str(self._socket)]
        words += ["--keys", str(self._keys.edge), "--datacenter", f"{datacenter[0]}:{datacenter[1]}"]
        words += ["--audits", str(self._audits), "--audit-share", "1", "--http", self._at.edge_http]
        words += ["--health", self._at.edge]
        async with _running(Program("edge", words, "edge: HTTP", self._folder / "edge.log")) as program:
            yield program

    async def _connected(self, edge: Program) -> None:
        await self._asker.until("the edge's connection", lambda: self._asker.link() == 1)
        assert edge.ended() is None

    async def _begin_life(self, relay: RelayLink) -> None:
        self._before = await asyncio.to_thread(self._asker.stats, self._at.http)
        counts = relay.up
        self._relayed = Relayed(counts.offered, counts.delivered, counts.lost + counts.overflowed)
        self.log.began[self._asker.life] = time.time()
        self._console.print(f"life {self._asker.life} of the data centre ...", highlight=False, markup=False)

    # ------------------------------------------------------------------------------------------------------- a run

    async def _first_life(self, centre: Program) -> None:
        """Without loss, so that all can be told exactly."""
        for accuracy in (self._targets[0], self._targets[len(self._targets) // 2], self._targets[-1]):
            await self._asker.ask(self._pictures, accuracy, ENOUGH_MS)
        await self._asker.ask(self._strange, self._targets[0], ENOUGH_MS)
        for picture in self._pictures[:6]:
            await self._asker.ask_door(picture, self._targets[0], ENOUGH_MS)
        await self._asker.ask_door(self._pictures[0], 1.0, ENOUGH_MS, refused=True)
        for model in ("double", "treble", self._name):
            for rows in (1, 2, 3):
                await self._asker.ask_centre(model, rows)
        await self._asker.ask_centre("double", 1, right=False)
        if not self._asker.unsure:
            raise ScrapeError("the fabric is sure of every picture: take another package")
        for picture in self._asker.unsure[:8]:
            await self._asker.ask([picture], self._targets[-1], _SHORT_S * 1e3)
        await asyncio.sleep(_REST_S)  # audits, too
        await self._hang(centre)
        await self._kill_workers(centre)

    async def _hang(self, centre: Program) -> None:
        """The model stands still for a while: what was asked meanwhile is late, or taken back.

        The first has the model, so that the others wait.
        """
        workers = _workers(centre)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        hung_up, pictures = asyncio.Event(), (self._asker.unsure * 5)[:5]
        back = [await self._asker.there(self._asker.take_back(pictures[0], hung_up))]
        for picture in pictures[1:3]:
            back.append(
                await self._asker.there(self._asker.ask_door(picture, self._targets[-1], _HUNG_S * 1e3, "hung"))
            )
        for picture in pictures[3:]:
            back.append(await self._asker.there(self._asker.take_back(picture, hung_up)))
        await asyncio.gather(*back[1:3])
        hung_up.set()
        await asyncio.gather(*back)
        await asyncio.sleep(2 * _ONE_WAY_S)  # the way there of what was taken back
        for worker in workers:
            os.kill(worker, signal.SIGCONT)
        await asyncio.sleep(_REST_S)

    async def _kill_workers(self, centre: Program) -> None:
        """While the back end's has a picture."""
        workers = _workers(centre)
        for worker in workers:
            os.kill(worker, signal.SIGSTOP)
        asking = await self._asker.there(self._asker.ask(self._asker.unsure[:1], self._targets[-1], ENOUGH_MS))
        for worker in workers:
            os.kill(worker, signal.SIGKILL)
        await asking
        models = ("double", "treble", self._name)
        await self._asker.until("workers that are started anew", lambda: all(map(self._asker.ready, models)))
        await self._asker.ask(self._asker.unsure[:4], self._targets[-1], ENOUGH_MS)
        for model in models[:2]:
            await self._asker.ask_centre(model, 2)

    def _budget(self) -> int:
        """MiB in which the back end and one more model fit, and not two."""
        taken = {
            name: int(get(self._at.http, f"/v2/models/{name}/config")["parameters"]["memory_bytes"]["string_value"])
            for name in ("double", "treble", self._name)
        }
        double, treble = taken["double"], taken["treble"]
        return (taken[self._name] + max(double, treble) + min(double, treble) // 2) // _MIB

    async def _outage(self, centre: Program) -> None:
        """The data centre is killed; the edge notices after a while."""
        centre.signal(signal.SIGKILL)
        self.log.outages.append((time.time(), float("inf")))
        await self._asker.ask(self._asker.unsure[:4], self._targets[-1], 1_000.0, "lost")
        await self._asker.until("the loss of the data centre", lambda: self._asker.link() == 0)
        await self._asker.ask(self._asker.unsure[:4], self._targets[-1], 1_000.0, "lost")

    async def _second_life(self, relay: RelayLink) -> None:
        """With loss, another calibration, and too little memory for all models."""
        relay.set_loss(_LOSS)
        for accuracy in (self._targets[0], self._targets[-1]):
            await self._asker.ask(self._pictures, accuracy, ENOUGH_MS)
        await asyncio.sleep(_REST_S)
        self._calibration = self._calibrate(self._calibration, images=100_000, agreed=99_900)
        await asyncio.to_thread(reload, self._socket)
        self.log.swaps += 1
        await self._disagree()
        await self._asker.ask(self._asker.unsure, self._targets[-1], ENOUGH_MS)
        await self._asker.ask(self._strange, self._targets[-1], ENOUGH_MS)
        relay.set_loss(0.0)
        await self._hedge()
        await self._asker.ask_centre("double", 3)
        status, told = await post(self._at.http, "/v2/repository/models/treble/load", {})
        if status != 200:
            raise ScrapeError(f"the data centre's door said {status}, {told}: see its log")
        await self._asker.ask_centre("treble", 2)
        await self._asker.ask_centre(self._name, 2)

    async def _hedge(self) -> None:
        """Leave no time for fabric and data centre one after the other, now and then: unsure pictures are hedged then.

        What the lossy link made slow of late is what an offload may take.
        """
        ways = [leg for one in self.log.said if one.offload == "answered" for leg in one.legs]
        usual = float(np.median([seconds for name, _, seconds in ways if name == "link"]))
        for picture in (self._asker.unsure * _AGAIN)[:_AGAIN]:
            await self._asker.ask([picture], self._targets[-1], 1.5 * usual * 1e3)

    async def _disagree(self) -> None:
        """Ask what fabric and back end disagreed on, again and again, one after the other: each is audited."""
        spoken_for = [one for one in audits_in(self._audits) if one.agrees is False]
        pictures = [(picture_of(self._audits, one.id), one.accuracy_target) for one in spoken_for]
        for picture, accuracy in (pictures * _AGAIN)[:_AGAIN]:
            await self._asker.ask([picture], accuracy, ENOUGH_MS)
            await asyncio.sleep(4 * _ONE_WAY_S)

    async def _held(
        self, prometheus: Prometheus, relay: RelayLink, centre: Program, loads: int
    ) -> dict[str, Comparison]:
        """All that was told at this moment, at which everything rests, against the log."""
        await asyncio.sleep(_REST_S)
        at = await prometheus.scraped()
        kinds = await asyncio.to_thread(prometheus.kinds)
        found = {job: await asyncio.to_thread(prometheus.samples, job, at) for job in (_EDGE, _CENTRE)}
        stats = {job: await asyncio.to_thread(self._asker.stats, address) for job, address in self._addresses().items()}
        counts, began = relay.up, self._relayed
        lost_there = counts.lost + counts.overflowed
        index = (await post(self._at.http, "/v2/repository/index", {}))[1]
        level, audits = self._level, self._audits
        self.audited = Counter(one.agrees for one in audits_in(audits))
        all_of_it = Relayed(counts.offered, counts.delivered, lost_there)
        edge = of_edge(self.log, self._name, audits, self._calibration, level, stats[_EDGE], all_of_it)
        part = Relayed(counts.offered - began.offered, counts.delivered - began.delivered, lost_there - began.lost)
        life = Life(
            number=self._asker.life,
            seconds=time.time() - self.log.began[self._asker.life],
            back_end=self._name,
            before=self._before,
            stats=stats[_CENTRE],
            index=index,
            loads=loads,
            lost=Counter(_LOST.findall(centre.log.read_text(errors="replace"))),
            relayed=part,
        )
        expected: dict[str, Expected] = {_EDGE: edge, _CENTRE: of_data_centre(self.log, audits, life)}
        for samples in found.values():
            self._note(kinds, samples)
        return {f"{job}, life {self._asker.life}": compare(found[job], kinds, expected[job]) for job in found}

    def _addresses(self) -> dict[str, str]:
        return {_EDGE: self._at.edge_http, _CENTRE: self._at.http}

    def _note(self, kinds: dict[str, str], samples: Any) -> None:
        """Which counters and histograms there are, and which of them have a value."""
        counted = {name for name, kind in kinds.items() if kind in ("counter", "histogram")}
        there = {name for name, _ in samples}
        self.told |= counted
        self.counted |= {name for name in counted if name in there or f"{name}_count" in there}


@contextlib.asynccontextmanager
async def _running(program: Program) -> AsyncIterator[Program]:
    try:
        await program.start()
        yield program
    finally:
        if program.started and program.ended() is None:
            await program.end(signal.SIGTERM)


def _workers(centre: Program) -> list[int]:
    children = Path(f"/proc/{centre.pid}/task/{centre.pid}/children").read_text()
    return [int(child) for child in children.split()]


def _files(package: Package) -> dict[str, bytes]:
    return {name: (package.path / name).read_bytes() for name in package.kernel.files}


def _written(folder: Path, images: Sequence[npt.NDArray[np.uint8]]) -> list[Path]:
    folder.mkdir()
    paths = [folder / f"{number}.png" for number in range(len(images))]
    for path, image in zip(paths, images, strict=True):
        content = BytesIO()
        Image.fromarray(image[..., 0] if image.shape[2] == 1 else image).save(content, "PNG")
        path.write_bytes(content.getvalue())
    return paths
