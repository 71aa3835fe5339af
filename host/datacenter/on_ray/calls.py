"""Asking replicas: what is lost with a replica or a node is asked again, since an inference may be asked twice.

A model's own fault is no loss: a replica answers it. Where an answer does not come though nothing is told to be lost
(a node that is cut off says nothing), it is asked again as well, after a time that no answer takes, twice as long each
time. How often is bounded: a request that ends replicas must not end them all.

Words owned here: loss.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import Any

from edgesight.host.datacenter.executors.base import first_line
from edgesight.host.doors.served import Code, Refused

_TRIES = 5
_PAUSE_S, _PAUSE_MOST_S = 0.05, 1.0  # before the next try: twice as long each time
_HANGS, _HANGS_LEAST_S = 20.0, 2.0  # an answer does not come after so many times its usual seconds
_SMOOTHED = 16  # answers over which that is smoothed

logger = logging.getLogger(__name__)


class _Loss(Exception):
    """A call that was lost on its way, or with who answered it."""


def _nothing(_: Any) -> str:
    return ""


class Calls:
    """Of one model; runs in the loop that makes it."""

    def __init__(self, name: str) -> None:
        """None was made yet."""
        self._name = name
        self.load_s = 0.0  # that a replica may take before it answers, if it has not the model
        self.losses = 0
        self.failing = False  # the last call was given up for its losses
        self._usual = 0.0  # seconds of an answer
        self._lost_by = lost_by()

    async def make(
        self,
        send: Callable[[], Any],
        until: float,
        hangs_s: float | None = None,
        amiss: Callable[[Any], str] = _nothing,
    ) -> Any:
        """What comes of `send`, a Serve handle's call, by `until`, of the loop's clock.

        `hangs_s`: seconds after which an answer does not come; None: as answers usually take. `amiss` tells why an
        answer is none, and another replica is to be asked; empty: it is one. Raises Refused.
        """
        loop = asyncio.get_running_loop()
        pause = _PAUSE_S
        hangs = max(_HANGS * self._usual, _HANGS_LEAST_S) + self.load_s if hangs_s is None else hangs_s
        for tries_left in reversed(range(_TRIES)):
            begun = loop.time()
            try:
                found = await self._once(send, begun + hangs, until)
                if why := amiss(found):
                    raise _Loss(why)
            except _Loss as loss:
                self.losses += 1
                logger.warning("model %s: a call was lost (%s)", self._name, loss)
                if loop.time() + pause >= until:
                    self.failing = True
                    raise self._late(f" ({loss})") from loss
                if not tries_left:
                    self.failing = True
                    told = f"model {self._name}: {loss}: ask again, and look at the replicas by `serve status`"
                    raise Refused(Code.UNAVAILABLE, told, _PAUSE_MOST_S) from loss
                await asyncio.sleep(pause)
                pause, hangs = min(2 * pause, _PAUSE_MOST_S), 2 * hangs
            else:
                if hangs_s is None:
                    self._usual += (loop.time() - begun - self._usual) / _SMOOTHED
                self.failing = False
                return found
        raise AssertionError("the last try returns or raises")

    async def _once(self, send: Callable[[], Any], hangs: float, until: float) -> Any:
        """Raises _Loss, also where nothing came by `hangs`; or Refused."""
        loop = asyncio.get_running_loop()
        try:
            response = send()
        except self._lost_by as error:  # told at once
            raise _Loss(_told(error)) from error
        waiting = loop.create_task(_awaited(response))
        waiting.add_done_callback(lambda one: one.cancelled() or one.exception())  # else the loop complains of it
        try:
            await asyncio.wait([waiting], timeout=max(min(hangs, until) - loop.time(), 0.0))
            if not waiting.done():
                raise self._late("") if until <= hangs else _Loss("no answer came")
            if waiting.cancelled():  # by Ray, since nobody here did
                raise _Loss("the replica was ended")
            error_ = waiting.exception()
            if isinstance(error_, self._lost_by):
                raise _Loss(_told(error_)) from error_
            if error_ is not None:
                told = f"model {self._name}: Ray failed ({_told(error_)}): look at its log"
                raise Refused(Code.INTERNAL, told) from error_
            return waiting.result()
        finally:
            if not waiting.done():
                waiting.cancel()
                with contextlib.suppress(Exception):  # whatever became of it, nobody waits for it
                    response.cancel()

    def _late(self, why: str) -> Refused:
        told = f"model {self._name} gave no answer in time{why}: give it more, or ask later"
        return Refused(Code.DEADLINE_EXCEEDED, told, _PAUSE_MOST_S)


def lost_by() -> tuple[type[BaseException], ...]:
    """What Ray raises where a replica or a node is lost, or none is there yet."""
    from ray import exceptions as of_ray
    from ray.serve import exceptions as of_serve

    return (
        of_ray.RayActorError,
        of_ray.ActorUnschedulableError,
        of_ray.ObjectLostError,
        of_ray.NodeDiedError,
        of_ray.WorkerCrashedError,
        of_ray.OutOfMemoryError,
        of_ray.RpcError,
        of_ray.TaskCancelledError,
        of_serve.BackPressureError,
        of_serve.DeploymentUnavailableError,
        of_serve.ReplicaUnavailableError,
        of_serve.RequestCancelledError,
    )


def _told(error: BaseException) -> str:
    return f"{type(error).__name__}: {first_line(error)}"


async def _awaited(response: Any) -> Any:
    return await response
