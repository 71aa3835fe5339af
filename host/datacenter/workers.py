"""The service's side of a worker: it is started, asked, watched, and ended.

A worker is a process of its own, so that a model which crashes, hangs or eats all memory takes nothing with it. That
it ended is seen at once, since its end of the socket closes. One call is with it at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt

from edgesight.host.datacenter.blocks import Block, bytes_of, new_block
from edgesight.host.datacenter.executors.base import ModelError, Recipe, forms
from edgesight.host.datacenter.worker import MESSAGE_BYTES
from edgesight.host.doors.served import TensorForm

LOAD_WITHIN = 120.0  # seconds
_LARGE = 4 << 20  # bytes that are copied in a thread, so that the loop goes on meanwhile
_FAULT_CHARACTERS = 500  # of what a model says of itself


class WorkerLost(ModelError):
    """The worker ended, or was ended since it did not answer: what it was asked may be asked again."""


@dataclass(frozen=True)
class Answer:
    """What came of a call.

    Attributes:
        outputs: by name.
        seconds: for taking the inputs, for the model itself, and for giving the outputs.
        rss: bytes that the worker holds in memory, where that was asked for; else 0.
        faults: rows whose picture cannot be read, and why.
    """

    outputs: dict[str, npt.NDArray[Any]]
    seconds: tuple[float, float, float]
    rss: int
    faults: Mapping[int, str] = field(default_factory=dict)


class Worker:
    """A loaded model in its process. Made by `start`."""

    def __init__(
        self, recipe: Recipe, process: subprocess.Popen[bytes], line: socket.socket, blocks: tuple[Block, Block]
    ) -> None:
        """Of a process that was just started; the blocks are of what it takes and of what it gives."""
        self._recipe, self._process, self._line = recipe, process, line
        self._taken, self._given = blocks
        self._loop = asyncio.get_running_loop()
        self._waiting: asyncio.Future[Mapping[str, Any]] | None = None
        self.ended: asyncio.Future[None] = self._loop.create_future()  # done once it is gone
        self.inputs: Sequence[TensorForm] = ()
        self.outputs: Sequence[TensorForm] = ()
        self.max_batch_size = 0
        self.takes_pictures = False
        self.sha256 = ""
        self.rss = 0  # when it had loaded the model
        self._loop.add_reader(line, self._readable)

    @property
    def pid(self) -> int:
        """The process's."""
        return self._process.pid

    @classmethod
    async def start(cls, recipe: Recipe, file: int = -1, within: float = LOAD_WITHIN) -> Worker:
        """Load a model of the open `file` (-1: of none) in a new process.

        Raises ModelError where it cannot be loaded, or is not within so many seconds.
        """
        own, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        own.setblocking(False)
        taken, given = new_block(), new_block()
        passed = [theirs.fileno(), taken.descriptor, given.descriptor, *([file] if file >= 0 else [])]
        try:
            # By the loop's own thread: the process is told to die with the thread that started it.
            process = subprocess.Popen(
                [
                    *(sys.executable, "-m", "edgesight.host.datacenter.worker"),
                    *map(str, (theirs.fileno(), taken.descriptor, given.descriptor, file, os.getpid())),
                ],
                stdin=subprocess.DEVNULL,
                pass_fds=passed,
            )
        except OSError as error:
            own.close()
            taken.close()
            given.close()
            raise ModelError(
                f"{recipe.name}: no process can be started for it ({error.strerror}): try again"
            ) from error
        finally:
            theirs.close()
        worker = cls(recipe, process, own, (taken, given))
        try:
            told = await worker._exchange(recipe.pack().encode(), within)
        except BaseException:
            worker.kill()
            raise
        if "fault" in told:
            worker.kill()
            raise ModelError(str(told["fault"]))
        worker.inputs, worker.outputs = forms(told["inputs"]), forms(told["outputs"])
        worker.max_batch_size, worker.sha256, worker.rss = told["max_batch_size"], told["sha256"], told["rss"]
        worker.takes_pictures = told["takes_pictures"]
        return worker

    async def run(
        self,
        inputs: Mapping[str, Sequence[npt.NDArray[Any]]],
        within: float,
        wanted: Sequence[str] = (),
        measure: bool = False,
    ) -> Answer:
        """The outputs `wanted` of inputs, by name, of which each one's parts are joined along the first dimension.

        Raises ModelError where the model fails, WorkerLost where the worker ends or takes longer than `within` seconds.
        """
        if self.ended.done():
            raise WorkerLost(self._loss())
        large = sum(bytes_of(part) for parts in inputs.values() for part in parts) > _LARGE
        try:
            places = await asyncio.to_thread(self._taken.write, inputs) if large else self._taken.write(inputs)
        except ModelError as error:
            if self.ended.done():
                raise WorkerLost(self._loss()) from error
            raise
        message = json.dumps({"places": places, "wanted": list(wanted), "measure": measure}).encode()
        told = await self._exchange(message, within)
        if "fault" in told:
            raise ModelError(str(told["fault"])[:_FAULT_CHARACTERS])
        try:
            outputs = self._given.read(told["places"], copied=True)
            first, middle, last = told["seconds"]
            faults = {int(row): str(why) for row, why in told.get("faults", {}).items()}
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            self.kill()
            raise WorkerLost(
                f"model {self._recipe.name}: its worker talks nonsense and was ended: ask again"
            ) from error
        return Answer(outputs, (first, middle, last), told.get("rss", 0), faults)

    def kill(self) -> None:
        """End it at once."""
        self._gone()

    async def close(self) -> None:
        """End it, and wait until its memory is given back."""
        self.kill()
        await asyncio.to_thread(self._process.wait)

    async def _exchange(self, message: bytes, within: float) -> Mapping[str, Any]:
        """Say something, and what comes back."""
        if len(message) > MESSAGE_BYTES:
            raise ModelError(
                f"model {self._recipe.name}: the call takes {len(message)} bytes beside its arrays: ask for less"
            )
        if self.ended.done():
            raise WorkerLost(self._loss())
        assert self._waiting is None, "one call at a time"
        waiting = self._waiting = self._loop.create_future()
        timer = self._loop.call_later(within, self._hangs, within)
        try:
            self._line.send(message)
            told: Mapping[str, Any] = await waiting
            return told
        except OSError as error:
            self.kill()
            raise WorkerLost(self._loss()) from error
        except asyncio.CancelledError:
            self.kill()  # what it would say now would be taken for an answer to something else
            raise
        finally:
            timer.cancel()
            self._waiting = None

    def _hangs(self, within: float) -> None:
        self._readable()  # it may have answered, and the loop itself have stood still
        if self._waiting is None or self._waiting.done():
            return
        self._waiting.set_exception(
            WorkerLost(
                f"model {self._recipe.name} gave no answer for {within:.3g} s, and its worker was ended: ask again"
            )
        )
        self.kill()

    def _readable(self) -> None:
        try:
            message = self._line.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return
        except OSError:
            message = b""
        if not message:
            self._gone()
        elif self._waiting is not None and not self._waiting.done():
            self._waiting.set_result(json.loads(message))

    def _gone(self) -> None:
        """It ended."""
        if self.ended.done():
            return
        self.ended.set_result(None)
        self._loop.remove_reader(self._line)
        self._line.close()
        self._taken.close()
        self._given.close()
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(WorkerLost(self._loss()))
        with contextlib.suppress(OSError):
            self._process.kill()
        self._loop.run_in_executor(None, self._process.wait)

    def _loss(self) -> str:
        return f"the worker of model {self._recipe.name} ended: ask again"
