"""A small server behind the doors, all in memory: what tests and measurements of the doors ask."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from edgesight.host.doors.serve import Addresses, Options, new_event_loop, open_doors
from edgesight.host.doors.served import (
    Caller,
    Code,
    Duration,
    IndexEntry,
    ModelMetadata,
    ModelStatistics,
    Parameters,
    Refused,
    Request,
    Response,
    Tensor,
    TensorForm,
)
from edgesight.host.measures import Measure, Spread
from edgesight.host.recent import Recent, Seen
from tests.waiting import until

LABELS = ("boat", "car", "house", "tree")
ANY_PORT = ("127.0.0.1", 0)
PLAIN = Options(grpc=ANY_PORT, http=ANY_PORT, health=ANY_PORT, grace=5.0)


def _form(name: str, datatype: str, *shape: int) -> TensorForm:
    return TensorForm(name, datatype, shape)


MODELS = {
    "adder": ModelMetadata(
        "adder",
        ("1",),
        "numpy",
        (_form("INPUT0", "INT32", -1, 16), _form("INPUT1", "INT32", -1, 16)),
        (_form("OUTPUT0", "INT32", -1, 16), _form("OUTPUT1", "INT32", -1, 16)),
        8,
    ),
    # Scores: the picture's first pixels.
    "classes": ModelMetadata(
        "classes", ("1", "2"), "numpy", (_form("picture", "FP32", -1, 4),), (_form("scores", "FP32", -1, 4),), 8, LABELS
    ),
    "texts": ModelMetadata("texts", ("1",), "numpy", (_form("text", "BYTES", -1),), (_form("turned", "BYTES", -1),)),
    "sums": ModelMetadata("sums", ("1",), "numpy", (_form("any", "UINT8", -1),), (_form("sum", "FP64", 1),)),
    "slow": ModelMetadata("slow", ("1",), "numpy", (_form("any", "UINT8", -1),), (_form("sum", "FP64", 1),)),
    "faulty": ModelMetadata("faulty", ("1",), "numpy", (_form("any", "UINT8", -1),), (_form("sum", "FP64", 1),)),
    "busy": ModelMetadata("busy", ("1",), "numpy", (_form("any", "UINT8", -1),), (_form("sum", "FP64", 1),)),
}


@dataclass
class Small:
    """Adds, classifies, turns texts round, sums, waits, fails and refuses."""

    name: str = "small"
    version: str = "0.1"
    extensions: Sequence[str] = ("binary_tensor_data", "classification", "statistics", "model_repository")
    is_ready: bool = True
    seen: Recent = field(default_factory=Recent)
    unloaded: set[str] = field(default_factory=set)
    asked: list[tuple[Request, Caller]] = field(default_factory=list)
    began: threading.Event = field(default_factory=threading.Event)
    cancelled: threading.Event = field(default_factory=threading.Event)
    go_on: threading.Event = field(default_factory=threading.Event)

    def live(self) -> bool:
        return True

    def ready(self) -> bool:
        return self.is_ready

    def model_ready(self, name: str, version: str) -> bool:
        return name in MODELS and version in ("", *MODELS[name].versions) and name not in self.unloaded

    def metadata(self, name: str, version: str) -> ModelMetadata:
        if name not in MODELS or version not in ("", *MODELS[name].versions):
            raise Refused(Code.NOT_FOUND, f"no model {name[:20]!r} in version {version[:20]!r}: ask for the index")
        return MODELS[name]

    def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        names = [self.metadata(name, version).name] if name else list(MODELS)
        some, batches = Duration(2, 3_000), {1: Duration(1, 1_000), 4: Duration(1, 2_000)}
        return [
            ModelStatistics(one, "1", 1_700_000_000_000, 5, 2, some, Duration(), some, some, some, some, batches)
            for one in names
        ]

    def measures(self) -> Sequence[Measure]:
        spread = Spread((0.1, 1.0))
        for seconds in (0.05, 0.5, 0.5, 7.0):
            spread.add(seconds)
        return (
            Measure("waiting", "What waits.", "gauge", (), {(): 3}),
            Measure("leg_seconds", "Time of a leg.", "histogram", ("leg",), {("link",): spread}),
            Measure("swaps", 'With "quotes".', "counter", ("odd",), {('a"b\n',): 2}),
        )

    def recent(self) -> Sequence[Seen]:
        return self.seen.all()

    def index(self, ready: bool) -> Sequence[IndexEntry]:
        entries = [
            IndexEntry(name, "1", *(("UNAVAILABLE", "unloaded") if name in self.unloaded else ("READY", "")))
            for name in MODELS
        ]
        return [entry for entry in entries if entry.state == "READY" or not ready]

    async def load(self, name: str, parameters: Parameters, caller: Caller) -> None:
        self.unloaded.discard(self.metadata(name, "").name)

    async def unload(self, name: str, parameters: Parameters, caller: Caller) -> None:
        self.unloaded.add(self.metadata(name, "").name)

    async def infer(self, request: Request, caller: Caller) -> Response:
        self.asked.append((request, caller))
        metadata = self.metadata(request.model, request.version)
        forms = {form.name: form for form in metadata.inputs}
        for tensor in request.inputs:
            form = forms.get(tensor.name)
            if form is None or form.datatype != tensor.datatype or tensor.values.ndim != len(form.shape):
                raise Refused(Code.INVALID_ARGUMENT, f"no input of model {metadata.name} is like {tensor.name[:20]!r}")
            if any(side not in (-1, got) for side, got in zip(form.shape, tensor.values.shape, strict=True)):
                raise Refused(Code.INVALID_ARGUMENT, f"input {form.name} has the shape {form.shape}")
        if len(request.inputs) != len(forms):
            raise Refused(Code.INVALID_ARGUMENT, f"model {metadata.name} has {len(forms)} inputs")
        first = request.inputs[0].values
        outputs = await self._work(metadata, {tensor.name: tensor for tensor in request.inputs})
        if metadata.name == "classes":
            order = np.argsort(-first, axis=1)
            for index, wanted in enumerate(request.outputs):
                if wanted.classes:
                    best = [
                        [f"{row[k]:f}:{k}:{LABELS[k]}".encode() for k in ks[: wanted.classes]]
                        for row, ks in zip(first, order, strict=True)
                    ]
                    outputs[index] = Tensor(wanted.name, "BYTES", np.array(best, object))
        wanted_names = [wanted.name for wanted in request.outputs]
        known = {output.name: output for output in outputs}
        for name in wanted_names:
            if name not in known:
                raise Refused(Code.INVALID_ARGUMENT, f"model {metadata.name} has no output {name[:20]!r}")
        chosen = [known[name] for name in wanted_names] if wanted_names else outputs
        return Response(
            metadata.name, request.version or metadata.versions[-1], chosen, request.id, {"stage": 1, "confidence": 0.5}
        )

    async def _work(self, metadata: ModelMetadata, inputs: dict[str, Tensor]) -> list[Tensor]:
        first = inputs[metadata.inputs[0].name].values
        if metadata.name == "adder":
            second = inputs["INPUT1"].values
            if first.shape != second.shape:
                raise Refused(Code.INVALID_ARGUMENT, "the inputs' shapes differ")
            return [Tensor("OUTPUT0", "INT32", first + second), Tensor("OUTPUT1", "INT32", first - second)]
        if metadata.name == "classes":
            return [Tensor("scores", "FP32", first)]
        if metadata.name == "texts":
            turned = np.empty(first.size, object)
            turned[:] = [text[::-1] for text in first.ravel()]
            return [Tensor("turned", "BYTES", turned)]
        if metadata.name == "slow":
            self.began.set()
            try:
                await until(self.go_on.is_set, 60)
            except asyncio.CancelledError:
                self.cancelled.set()
                raise
        if metadata.name == "faulty":
            raise RuntimeError("a fault of the model's")
        if metadata.name == "busy":
            raise Refused(Code.RESOURCE_EXHAUSTED, "too many ask at a time", 2.5)
        return [Tensor("sum", "FP64", np.array([first.sum(dtype=np.float64)]))]


@contextlib.contextmanager
def running(
    served: Small,
    options: Options = PLAIN,
    loop_factory: Callable[[], asyncio.AbstractEventLoop] = new_event_loop,
) -> Iterator[Addresses]:
    """Meanwhile the doors to `served` are open, in a thread of their own."""
    loop = loop_factory()
    told = asyncio.Event()

    async def main() -> None:
        try:
            async with open_doors(served, options) as addresses:
                ready.append(addresses)
                is_open.set()
                await told.wait()
        finally:
            is_open.set()

    ready: list[Addresses] = []
    is_open = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        asyncio.set_event_loop(loop)
        try:
            loop.run_until_complete(main())
        except BaseException as error:
            failed.append(error)
        finally:
            loop.close()

    thread = threading.Thread(target=run, name="doors")
    thread.start()
    is_open.wait()
    try:
        if not ready:
            thread.join()
            raise failed[0]
        yield ready[0]
    finally:
        if thread.is_alive():
            loop.call_soon_threadsafe(told.set)
        thread.join()
    if failed:
        raise failed[0]
