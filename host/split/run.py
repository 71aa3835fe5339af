"""Runs a cut network: the head here, the tail at the data centre, cut anew whenever the planner says so.

What came through the link, and how fast, is told to the planner after each answer; where nothing is sent, a probe of a
few kilobytes is, once a second. The planner is handed in (`edgesight.plan.split.bandwidth.MovingSplit` behind the
command line): this side knows no planner.

Words owned here: *planner* (says exit and cut, and is told what the link carries), *remote* (the data centre, as it is
asked for a tail).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

import numpy as np
import numpy.typing as npt

from edgesight.host.split.pieces import Pieces, Split, SplitError

Tensors = Mapping[str, npt.NDArray[Any]]

PROBE_S: Final = 1.0  # without a word of the link, after which it is probed
# At least, and at most: what TCP sends at once over a connection that was silent. The more, the less it matters to what
# is measured that a computer was late; but of more it would be measured how TCP begins.
_PROBE_BYTES: Final = (2_048, 13_000)
_PROBE_TAKES_S: Final = 0.1  # at the rate that was seen last: a tenth of the link
_PROBE_WITHIN_S: Final = 2.0
_LEAST_SHARE: Final = 0.05  # of the time of an exchange that sending is taken to last: what is faster is not seen


class RemoteError(SplitError):
    """The data centre did not answer: says why."""


class Planner(Protocol):
    """Says where to cut."""

    def choose(self) -> tuple[str, int] | None:
        """The exit and the cut for the next request; None where nothing can be on time."""

    def observe(self, mbps: float) -> None:
        """Take into account what the link carried, in Mbit/s; 0 where nothing came through."""


class Remote(Protocol):
    """The data centre."""

    async def infer(self, model: str, tensors: Tensors, output: str, within: float) -> npt.NDArray[Any]:
        """The `output` of a model `within` that many seconds; raises RemoteError."""


class _Failed(SplitError):
    """A piece fails on what the inputs hold."""


@dataclass(frozen=True)
class Answered:
    """An answer.

    Attributes:
        output: of the exit; None where none came within the deadline and the device had none either.
        exit: that it is of; of an answer that did not come, the one that was chosen.
        cut: layers that the device ran before it handed over.
        by: who gave it.
        late: it came after the deadline, or never.
        took_s: seconds from the request.
        device_s: of them in the head.
        sent_bytes: of tensors.
        fault: why the data centre's answer did not come, or the device has none.
    """

    output: npt.NDArray[Any] | None
    exit: str
    cut: int
    by: Literal["device", "data centre", "rest", "nobody"]
    late: bool
    took_s: float
    device_s: float
    sent_bytes: int = 0
    fault: str | None = None


@dataclass
class Counts:
    """What was done since the runner was opened."""

    answers: dict[str, int] = field(default_factory=dict)  # by who gave them
    cuts: dict[tuple[str, int], int] = field(default_factory=dict)  # requests, by exit and cut
    changes: int = 0  # of the cut
    probes: int = 0


class Runner:
    """Answers with a cut network; requests take turns at this device's processor."""

    def __init__(self, pieces: Pieces, planner: Planner, remote: Remote, *, threads: int = 1) -> None:
        """Load the pieces that run here; raises SplitError where ONNX Runtime cannot."""
        self.pieces, self.counts = pieces, Counts()
        self._planner, self._remote = planner, remote
        self._sessions = {file: _session(pieces, file, threads) for file in pieces.here}
        self._device = ThreadPoolExecutor(1, "device")
        self._round_trip_s = pieces.manifest.round_trip_ms / 1e3
        self._last: tuple[str, int] | None = None
        self._told_at = -PROBE_S  # of the loop's clock, when the planner was last told anything
        self._mbps = 0.0
        self._probing: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Measure the link before the first request, as far as there is one."""
        with contextlib.suppress(RemoteError):  # to connect takes longer than to send, and says nothing of the link
            await self._remote.infer(self.pieces.manifest.probe, {"x": np.zeros(1, np.uint8)}, "y", _PROBE_WITHIN_S)
        await self._probe()

    async def close(self) -> None:
        """End what still runs."""
        if self._probing is not None:
            self._probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._probing
        self._device.shutdown(wait=True, cancel_futures=True)

    async def ask(self, inputs: Tensors, deadline_s: float | None = None) -> Answered:
        """The answer to one request, within `deadline_s` of now; None: within the deadline that was planned for.

        Raises SplitError for inputs of other forms than the network takes. An answer that cannot come in time says so,
        and one that there is none of, since the network fails on what the inputs hold.
        """
        self._check(inputs)
        begun = asyncio.get_running_loop().time()
        ends = begun + (self.pieces.manifest.deadline_ms / 1e3 if deadline_s is None else deadline_s)
        split = self._choose()
        try:
            return self._answered(await self._by(split, inputs, begun, ends))
        except _Failed as error:
            took = asyncio.get_running_loop().time() - begun
            return self._answered(Answered(None, split.exit, split.cut, "nobody", True, took, took, fault=str(error)))

    async def _by(self, split: Split, inputs: Tensors, begun: float, ends: float) -> Answered:
        """Raises _Failed."""
        loop = asyncio.get_running_loop()
        computed = dict(inputs)
        if split.head is not None:
            wanted = [*split.tensors] if split.tail is not None else [split.exit]
            if split.rest is not None:
                wanted += split.rest.tensors
            outside = list(dict.fromkeys(name for name in wanted if name not in inputs))
            found = await self._run(split.head, inputs, outside)
            computed.update(zip(outside, found, strict=True))
        handed_over = loop.time()
        if split.tail is None:
            self._probe_where_silent(loop.time())
            took = handed_over - begun
            return Answered(computed[split.exit], split.exit, split.cut, "device", handed_over > ends, took, took)
        return await self._away(split, split.tail, computed, begun, handed_over, ends)

    async def _away(
        self, split: Split, tail: str, computed: Tensors, begun: float, handed_over: float, ends: float
    ) -> Answered:
        loop = asyncio.get_running_loop()
        rest: asyncio.Task[npt.NDArray[Any]] | None = None
        stop = _run_options()
        if split.rest is not None:
            rest = asyncio.create_task(self._finish(split, computed, stop))
        tensors = {name: computed[name] for name in split.tensors}
        sent = sum(value.nbytes for value in tensors.values())
        output, fault = None, None
        try:
            output = await self._remote.infer(tail, tensors, split.exit, max(ends - handed_over, 0.0))
        except RemoteError as error:
            fault = str(error)
        came = loop.time()
        refused = output is None and came < ends
        self._tell(0 if refused else sent, came - handed_over, split.datacenter_ms / 1e3, answered=output is not None)
        device_s = handed_over - begun
        if output is not None and came <= ends:
            stop.terminate = True  # what the device was at is not needed
            if rest is not None:
                rest.cancel()
            return Answered(output, split.exit, split.cut, "data centre", False, came - begun, device_s, sent)
        if rest is not None and split.rest is not None:
            output = await rest
            took = loop.time() - begun
            return Answered(output, split.rest.exit, split.cut, "rest", loop.time() > ends, took, device_s, sent, fault)
        by: Literal["data centre", "nobody"] = "nobody" if output is None else "data centre"
        return Answered(output, split.exit, split.cut, by, True, came - begun, device_s, sent, fault)

    async def _finish(self, split: Split, computed: Tensors, stop: Any) -> npt.NDArray[Any]:
        assert split.rest is not None
        taken = {name: computed[name] for name in split.rest.tensors}
        (found,) = await self._run(split.rest.file, taken, [split.rest.exit], stop)
        return found

    async def _run(
        self, file: str, tensors: Tensors, outputs: Sequence[str], stop: Any = None
    ) -> list[npt.NDArray[Any]]:
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._device, self._sessions[file].run, outputs, dict(tensors), stop)
        except Exception as error:  # its exceptions share no base class
            raise _Failed(
                f"{self.pieces.path / file}: fails on these inputs ({str(error).splitlines()[0]}): ask with others, or "
                "where it fails on all make the pieces again, with the same version of ONNX Runtime"
            ) from error

    def _choose(self) -> Split:
        """The split for the next request; where nothing can be on time, the one that is soonest done here."""
        chosen = self._planner.choose()
        if chosen is None:
            here = [split for split in self.pieces.manifest.splits if split.tail is None]
            if not here:
                raise SplitError(
                    f"{self.pieces.path}: nothing can be on time over this link, and no exit is done here alone: make "
                    "pieces with more time"
                )
            split = min(here, key=lambda one: one.layers)
        else:
            split = self.pieces.split(*chosen)
        now = (split.exit, split.cut)
        self.counts.changes += self._last not in (None, now)
        self.counts.cuts[now] = self.counts.cuts.get(now, 0) + 1
        self._last = now
        return split

    def _tell(self, sent: int, took: float, there: float, *, answered: bool) -> None:
        """Tell the planner what an exchange of `sent` bytes says of the link, `there` seconds of it not the link's.

        The round trip is the one that was planned with, whatever it is now: what is told is the bandwidth that has the
        plan predict the very time that was seen.
        """
        sending = max(took - self._round_trip_s - there, _LEAST_SHARE * took, 1e-6)
        mbps = 8e-6 * sent / sending
        if not answered:
            # It carried less than that, nobody knows how much less; where nothing was known of it before, nothing.
            mbps = min(mbps / 2, self._mbps)
        self._mbps, self._told_at = mbps, asyncio.get_running_loop().time()
        self._planner.observe(mbps)

    def _probe_where_silent(self, now: float) -> None:
        if now - self._told_at >= PROBE_S and (self._probing is None or self._probing.done()):
            self._told_at = now
            self._probing = asyncio.get_running_loop().create_task(self._probe())

    async def _probe(self) -> None:
        least, most = _PROBE_BYTES
        size = int(min(max(self._mbps * 1e6 / 8 * _PROBE_TAKES_S, least), most))
        loop = asyncio.get_running_loop()
        begun, answered = loop.time(), True
        self.counts.probes += 1
        # Of bytes that nothing makes smaller on the way.
        content = np.random.default_rng(self.counts.probes).integers(0, 256, size, np.uint8)
        try:
            await self._remote.infer(self.pieces.manifest.probe, {"x": content}, "y", _PROBE_WITHIN_S)
        except RemoteError:
            answered = False
        self._tell(size, loop.time() - begun, 0.0, answered=answered)

    def _answered(self, answer: Answered) -> Answered:
        self.counts.answers[answer.by] = self.counts.answers.get(answer.by, 0) + 1
        return answer

    def _check(self, inputs: Tensors) -> None:
        wanted = {one.name: one for one in self.pieces.manifest.inputs}
        if inputs.keys() != wanted.keys():
            raise SplitError(f"inputs {', '.join(inputs) or 'none'}: give {', '.join(wanted)}")
        for name, value in inputs.items():
            one = wanted[name]
            if str(value.dtype) != one.dtype or value.shape != one.shape:
                raise SplitError(
                    f"input {name}: is {value.dtype} {list(value.shape)}; give {one.dtype} {list(one.shape)}"
                )


def _session(pieces: Pieces, file: str, threads: int) -> Any:
    onnxruntime = _runtime()
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 4  # a run that is stopped is no news
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    content = pieces.read(file)
    try:
        return onnxruntime.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # its exceptions share no base class
        raise SplitError(
            f"{pieces.path / file}: ONNX Runtime cannot load it ({str(error).splitlines()[0]}): make the pieces again, "
            "with the same version of ONNX Runtime"
        ) from error


def _run_options() -> Any:
    return _runtime().RunOptions()


def _runtime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise SplitError("onnxruntime is not installed: `pip install 'edgesight[datacenter]'`") from error
    return onnxruntime
