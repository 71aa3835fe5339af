"""Hedged against sequential offload, at twice what the back end can do and well below it.

Everything runs in this process, over real QUIC through the UDP relay: the edge, its cascade and hedging, the client,
the data centre's service. Two things take a *stated* time, so that it is known what load is too much:
- the back end answers with the real network, then sleeps until `MODEL_S` an image has passed; its capacity is measured;
- the fabric gives the records that the Verilated RTL gave, `FABRIC_S` after it was asked, as a board behind a slow
  line would. What share of images it is unsure of is set by its last threshold, which no calibration chose.

An answer is *good* when the asker has it within the deadline and it is not degraded. The same seed gives sequential and
hedged runs the same images at the same moments (Poisson arrivals).

Words owned here: good, goodput (good answers a second).
"""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import time
from collections.abc import AsyncIterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from rich.console import Console
from rich.table import Table

from edgesight.bench.recorded import RecordedFabric
from edgesight.bench.report import Check, write_report
from edgesight.host.answer import Answer
from edgesight.host.cascade import Cascade
from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.datacenter.service import Service
from edgesight.host.edge import Edge
from edgesight.host.fabric.base import ALWAYS, NEVER, OFFLOAD, Images, Records
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.hedge import BUDGET, Hedging
from edgesight.host.images import Picture
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.keys import client_keys
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.server import Server
from edgesight.host.package import Package
from edgesight.sim.link.options import EmulationError, LinkOptions
from edgesight.sim.link.relay import RelayLink
from edgesight.sim.link.trust import Trust, make_trust
from edgesight.sim.verilate import build_library

MODEL_S = 0.05  # that the back end takes for an image
MAX_BATCH = 2
FABRIC_S = 0.12  # that the fabric takes, however many images it is asked at once
SEEDS = 3
SECONDS = 20.0  # of arrivals that count
GOODPUT_RATIO = 0.95  # hedged over sequential, the least
_LINK = LinkOptions(delay_s=0.005, loss=0.01)  # each way
_WARM_UP_S = 3.0
_IMAGES = 400
_MAX_OPEN = 256  # requests: more than ever wait within a deadline
_PACKAGE = Path(__file__).resolve().parents[2] / "bitstreams" / "digits"


@dataclass(frozen=True)
class Load:
    """One case.

    Attributes:
        name: for people.
        of_capacity: requests that must go to the data centre, over what the back end can do.
        unsure: share of images that the fabric is unsure of.
        deadline_s: of every query.
    """

    name: str
    of_capacity: float
    unsure: float
    deadline_s: float


OVERLOAD = Load("overload", of_capacity=2.0, unsure=0.75, deadline_s=0.4)
AMPLE = Load("ample", of_capacity=0.4, unsure=0.95, deadline_s=0.34)


@dataclass(frozen=True)
class Row:
    """One run: a load, a seed, hedged or sequential."""

    load: str
    hedged: bool
    seed: int
    queries: int
    goodput_per_s: float
    offload_goodput_per_s: float  # of the images that the fabric was unsure of
    p50_ms: float  # time to answer, as the asker saw it
    p99_ms: float
    requests: int  # to the data centre
    hedges: int
    extra: int  # requests that the fabric's answer made needless
    late_ms: float  # P99 of what the machine itself was late with queries


def run_hedging(
    out: Path,
    console: Console,
    *,
    seeds: int = SEEDS,
    seconds: float = SECONDS,
    budget: float = BUDGET,
    package: Path = _PACKAGE,
) -> tuple[list[Check], dict[str, Any]]:
    """Run both cases, sequential and hedged, with `seeds` seeds each; the checks, and all that was found as plain JSON.

    The same goes to `out`/hedging.json. `package` is a kernel of the digits. Raises EmulationError or VerilateError
    where a part is missing.
    """
    opened = Package.load(package)
    build_library(opened)
    images, records = _seen(opened)
    model = PacedModel(OnnxModel(opened.path / "datacenter.onnx", opened.kernel.backend_input))
    capacity = measured_capacity(model, images)
    console.print(f"The back end answers {capacity:.1f} images a second ({MODEL_S * 1e3:g} ms each, by decree).")
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="edgesight-hedging-") as folder:
        trust = make_trust(Path(folder))
        for load in (OVERLOAD, AMPLE):
            for seed in range(seeds):
                for hedged in (False, True) if seed % 2 == 0 else (True, False):
                    run = _Run(opened, images, records, model, load, seed, seconds, capacity)
                    rows.append(asyncio.run(run.go(trust, Hedging(budget if hedged else 0.0), hedged)))
    checks, body = _judged(rows, capacity, budget)
    console.print(_table(rows))
    write_report(out / "hedging.json", body, checks)
    return checks, body


def seconds_of(seeds: int = SEEDS, seconds: float = SECONDS) -> float:
    """How long `run_hedging` takes, about."""
    return 4 * seeds * (_WARM_UP_S + seconds + 1.0)


def measured_capacity(model: PacedModel, images: Images, batches: int = 20) -> float:
    """Images a second that the back end answers, always in full batches."""
    begin = time.perf_counter()
    for _ in range(batches):
        model.run(images[:MAX_BATCH])
    return batches * MAX_BATCH / (time.perf_counter() - begin)


class PacedModel:
    """A model that takes `MODEL_S` for each image: it answers, then sleeps until that has passed."""

    def __init__(self, model: OnnxModel) -> None:
        """Pace `model`."""
        self.sha256, self.input_shape, self.classes = model.sha256, model.input_shape, model.classes
        self._model = model

    def run(self, images: Images) -> npt.NDArray[np.float32]:
        """Logits [N, classes] of uint8 images [N, H, W, C]."""
        begin = time.perf_counter()
        logits = self._model.run(images)
        time.sleep(max(0.0, begin + MODEL_S * len(images) - time.perf_counter()))
        return logits


@dataclass
class _Query:
    """A query that counts, and what became of it."""

    unsure: bool
    late_s: float
    took_s: float = 0.0
    answer: Answer | None = None

    def good(self, deadline_s: float) -> bool:
        return self.answer is not None and not self.answer.degraded and self.took_s <= deadline_s


@dataclass(frozen=True)
class _Run:
    """One run."""

    package: Package
    images: Images
    records: Records  # as if every image were answered by the last stage
    model: PacedModel
    load: Load
    seed: int
    seconds: float
    capacity: float

    async def go(self, trust: Trust, hedging: Hedging, hedged: bool) -> Row:
        """Serve, ask, and count."""
        load = self.load
        records = self.records.copy()
        unsure = records["margin"] < np.quantile(records["margin"], load.unsure)
        records["stage"] |= np.where(unsure, OFFLOAD, 0).astype(np.uint8)
        calibration = self.package.kernel.calibration
        if calibration is None or not calibration.targets:
            raise EmulationError(f"{self.package.path}: offers no accuracy target; run `edgesight calibrate` first")
        target = calibration.targets[0].model_copy(update={"calibration_offload": float(unsure.mean())})
        fabric = RecordedFabric(self.package, self.images, records, simulated=False, seconds=FABRIC_S)
        generator = np.random.default_rng([self.seed, round(1_000 * load.of_capacity)])
        rate = load.of_capacity * self.capacity / float(unsure.mean())
        arrivals = np.cumsum(generator.exponential(1 / rate, round((_WARM_UP_S + self.seconds) * rate)))
        chosen = generator.integers(0, len(self.images), arrivals.size)
        async with _served(self.model, trust, self.seed) as client:
            known = calibration.model_copy(update={"targets": [target]})
            cascade = Cascade(fabric, known, client, hedging=hedging)
            loop = asyncio.get_running_loop()
            begin = loop.time()

            async def ask(edge: Edge, arrival: float, index: int) -> _Query:
                await asyncio.sleep(begin + arrival - loop.time())
                came = loop.time()
                query = _Query(bool(unsure[index]), came - begin - arrival)
                query.answer = await edge.ask(Picture(self.images[index], ()), target, load.deadline_s)
                query.took_s = loop.time() - came
                return query

            async with Edge(cascade) as edge:
                coming = zip(arrivals.tolist(), chosen.tolist(), strict=True)
                asked = await asyncio.gather(*(ask(edge, *one) for one in coming))
            cascade.close()
        counted = [query for query, arrival in zip(asked, arrivals, strict=True) if arrival >= _WARM_UP_S]
        good = [query for query in counted if query.good(load.deadline_s)]
        took = [1e3 * query.took_s for query in counted]
        return Row(
            load=load.name,
            hedged=hedged,
            seed=self.seed,
            queries=len(counted),
            goodput_per_s=len(good) / self.seconds,
            offload_goodput_per_s=sum(query.unsure for query in good) / self.seconds,
            p50_ms=float(np.percentile(took, 50)),
            p99_ms=float(np.percentile(took, 99)),
            requests=hedging.requests,
            hedges=hedging.hedges,
            extra=hedging.extra,
            late_ms=1e3 * float(np.percentile([query.late_s for query in counted], 99)),
        )


@contextlib.asynccontextmanager
async def _served(model: PacedModel, trust: Trust, seed: int) -> AsyncIterator[OffloadClient]:
    """A data centre in this process behind a relay, and a client that is connected to it."""
    service = Service(model, MAX_BATCH)
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        configuration = authority.configuration(IDLE_TIMEOUT)
        server = Server(configuration, authority, service.served, service.received, service.gone)
        address = await server.listen("127.0.0.1", 0)
        work = asyncio.get_running_loop().create_task(service.run())
        try:
            async with RelayLink(address, _LINK, seed=seed) as link:
                client = OffloadClient(*link.address, client_keys(trust.edge, IDLE_TIMEOUT), max_open=_MAX_OPEN)
                await client.wait_connected(20.0)
                try:
                    yield client
                finally:
                    await client.close()
        finally:
            server.close()
            work.cancel()
            await asyncio.gather(work, return_exceptions=True)


def _seen(package: Package) -> tuple[Images, Records]:
    """Digits, no two alike, and what the RTL's last stage says of them."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise EmulationError(
            "scikit-learn, which carries the digits, is not installed: pip install 'edgesight[sim]'"
        ) from error
    digits = np.rint(load_digits().images[:, :, :, None] * (255 / 16)).astype(np.uint8)
    images: Images = np.unique(digits, axis=0)[:_IMAGES]
    if images.shape[1:] != package.kernel.input.shape:
        raise EmulationError(f"{package.path}: takes {package.kernel.input.shape}: give a kernel of the digits")
    with contextlib.closing(VerilatedFabric(package)) as fabric:
        fabric.set_thresholds(0, [NEVER, ALWAYS])
        return images, fabric.run(images, np.zeros(len(images), np.uint8))


def _judged(rows: list[Row], capacity: float, budget: float) -> tuple[list[Check], dict[str, Any]]:
    def median(load: Load, hedged: bool, figure: str) -> float:
        return float(np.median([getattr(row, figure) for row in rows if (row.load, row.hedged) == (load.name, hedged)]))

    extra = max(row.extra / max(row.requests, 1) for row in rows)
    goodput = {hedged: median(OVERLOAD, hedged, "goodput_per_s") for hedged in (False, True)}
    offloaded = {hedged: median(OVERLOAD, hedged, "offload_goodput_per_s") for hedged in (False, True)}
    checks = [
        Check("2x overload: hedged goodput over sequential's", goodput[True] / goodput[False], GOODPUT_RATIO, False,
              "ratio", "measured"),
        Check("extra requests of all to the data centre, the most of any run", extra, budget, True, "share",
              "measured"),
    ]  # fmt: skip
    figures = ("goodput_per_s", "offload_goodput_per_s", "p50_ms", "p99_ms", "requests", "hedges", "extra")
    body = {
        "by_decree": {"model_s": MODEL_S, "max_batch": MAX_BATCH, "fabric_s": FABRIC_S},
        "capacity_per_s": capacity,
        "budget": budget,
        "link_each_way": _LINK.describe(),
        "overload_offload_goodput_ratio": offloaded[True] / offloaded[False] if offloaded[False] else None,
        "loads": [
            {
                **asdict(load),
                "medians": {
                    way: {figure: median(load, hedged, figure) for figure in figures}
                    for way, hedged in (("sequential", False), ("hedged", True))
                },
            }
            for load in (OVERLOAD, AMPLE)
        ],
        "runs": [asdict(row) for row in rows],
    }
    return checks, body


def _table(rows: list[Row]) -> Table:
    table = Table(title="Hedged against sequential; fabric and back end take stated times")
    columns = ("load", "way", "seed", "good /s", "offloaded", "P50 ms", "P99 ms", "requests", "hedged", "extra")
    for column in columns:
        table.add_column(column, justify="left" if column in ("load", "way") else "right")
    for row in sorted(rows, key=lambda row: (row.load, row.hedged, row.seed)):
        table.add_row(
            row.load,
            "hedged" if row.hedged else "sequential",
            str(row.seed),
            f"{row.goodput_per_s:.1f}",
            f"{row.offload_goodput_per_s:.1f}",
            f"{row.p50_ms:.0f}",
            f"{row.p99_ms:.0f}",
            *map(str, (row.requests, row.hedges, row.extra)),
        )
    return table
