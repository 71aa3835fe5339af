"""A network in pieces on the nodes of a Ray cluster, as one pipeline that outlives the loss of nodes.

Requests go from piece to piece, several at a time, each piece at work on another. Ray carries what crosses and says who
is lost. Then the network is planned anew for the nodes that are left, and what had no answer yet is asked again: a run
changes nothing, so that it may be repeated. Pieces that stay where they are are not loaded again.

Words owned here: *generation* (the runners of one deployment), *mend* (to go over to a generation without what is
lost).
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

from edgesight.host.cluster.deployment import Deployment, Piece, Tensors
from edgesight.host.cluster.runner import PieceRunner, Told
from edgesight.host.errors import EdgeSightError
from edgesight.host.ray_cluster import ClusterError, last_line, nodes

LOAD_S: Final = 60.0  # within which a piece is loaded
HANGS_S: Final = 30.0  # after which requests of which none comes back are with a runner that hangs
SILENT_S: Final = 5.0  # after which a runner that says nothing is lost
MEND_S: Final = 60.0  # within which a lost node is done without
WATCH_S: Final = 1.0  # between looks at who is there
STEADY_S: Final = 10.0  # that a node is there before it is planned for again
BETTER: Final = 0.95  # of the planned time between answers, at most, for which it is worth going over
_AT_ONCE: Final = 2  # requests on their way, a piece: one in work, one that waits for it
_AGAIN_S: Final = 1.0

Replan = Callable[[Collection[str]], Deployment]  # for the nodes of these names; raises EdgeSightError

T = TypeVar("T")

logger = logging.getLogger(__name__)


class PipelineError(EdgeSightError):
    """A network that cannot be run on the cluster: says why and what to do."""


class _Lost(Exception):
    """Runners that do not answer any more, or could not begin: on these nodes."""

    def __init__(self, names: Collection[str], why: str = "") -> None:
        super().__init__(", ".join(sorted(names)))
        self.nodes, self.why = frozenset(names), why


@dataclass(eq=False)
class _Runner:
    piece: Piece
    handle: Any

    def serves(self, piece: Piece) -> bool:
        """Whether it is what `piece` asks for."""
        return self.piece == piece


@dataclass(eq=False)
class _Generation:
    """Its runners, in the order of the pipeline."""

    deployment: Deployment
    runners: Sequence[_Runner]
    asked: int = 0  # on their way
    moved: float = 0.0  # when one of them went off to an idle generation, or came back
    room: asyncio.Semaphore = field(init=False)

    def __post_init__(self) -> None:
        self.room = asyncio.Semaphore(_AT_ONCE * len(self.runners))


class _Steady:
    """Says once, of each set of nodes, that it has been there for a while."""

    def __init__(self) -> None:
        self._there: frozenset[str] = frozenset()
        self._until = 0.0

    def for_long(self, there: frozenset[str]) -> bool:
        now = asyncio.get_running_loop().time()
        if there != self._there:
            self._there, self._until = there, now + STEADY_S
        if now < self._until:
            return False
        self._until = float("inf")
        return True


@dataclass
class Counts:
    """Since the beginning."""

    answered: int = 0
    repeated: int = 0  # runs that were lost, and asked for again
    mended: int = 0
    moved: int = 0  # pieces that were loaded after the beginning


class Pipeline:
    """Runs in the loop that makes it, between `start` and `end`."""

    def __init__(self, library: Any, deployment: Deployment, replan: Replan) -> None:
        """Of a `deployment` in the cluster that Ray's `library` has joined."""
        self.counts = Counts()
        self._ray, self._replan = library, replan
        self._first = deployment
        self._generation: _Generation | None = None
        self._fault, self._not_before = "", 0.0
        self._lock = asyncio.Lock()
        self._mending: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()
        self._made = library.remote(PieceRunner)

    @property
    def deployment(self) -> Deployment:
        """What runs now."""
        return self._generation.deployment if self._generation is not None else self._first

    @property
    def working(self) -> bool:
        """Something answers, or what is lost is being done without."""
        return self._generation is not None

    async def start(self) -> None:
        """Load all pieces, and see that together they give what the network gives.

        Raises PipelineError, or ClusterError where a node is not there.
        """
        try:
            self._generation = await self._begun(self._first, None)
        except _Lost as error:
            raise PipelineError(
                f"network {self._first.name}: {error} did not take its piece ({error.why}): look at Ray's log there"
            ) from error
        self._keep(self._watch())

    async def end(self) -> None:
        """Give everything back; who still waits gets PipelineError."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        generation, self._generation = self._generation, None
        self._fault, self._not_before = "it has ended", float("inf")
        if generation is not None:
            self._kill(generation.runners)

    async def ask(self, inputs: Tensors) -> Tensors:
        """The outputs for these inputs; where a node is lost meanwhile, those that others give.

        Raises PipelineError where no nodes are left that could, or where the network fails on the inputs.
        """
        while True:
            generation = await self._working()
            await generation.room.acquire()
            if generation is not self._generation:
                generation.room.release()
                continue
            # It keeps its place until it is done, though nobody may wait for it any more: the nodes cannot be told.
            run = self._keep(self._in_room(generation, inputs))
            try:
                outputs = await asyncio.shield(run)
            except _Lost as error:
                self.counts.repeated += 1
                await self._mend(generation, error.nodes)
            except asyncio.CancelledError:
                if run.cancelled():  # and not who asks
                    raise self._not_running() from None
                raise
            else:
                self.counts.answered += 1
                return outputs

    async def _in_room(self, generation: _Generation, inputs: Tensors) -> Tensors:
        loop = asyncio.get_running_loop()
        if not generation.asked:
            generation.moved = loop.time()
        generation.asked += 1
        try:
            return await self._through(generation, inputs)
        finally:
            generation.asked -= 1
            generation.moved = loop.time()
            generation.room.release()

    async def told(self) -> list[Told]:
        """What each runner says of itself, in the order of the pipeline; raises PipelineError where one is lost."""
        generation = await self._working()
        try:
            return list(await asyncio.gather(*(runner.handle.told.remote() for runner in generation.runners)))
        except self._ray.exceptions.RayError as error:
            raise PipelineError(f"network {self._first.name}: a node was lost just now: ask again") from error

    # ------------------------------------------------------------------------------------------------------- one run

    async def _working(self) -> _Generation:
        """The generation that is asked."""
        if self._generation is None and asyncio.get_running_loop().time() >= self._not_before:
            await self._mend(None, frozenset())
        if self._generation is None:
            raise self._not_running()
        return self._generation

    def _not_running(self) -> PipelineError:
        why = self._fault or "it ends"
        return PipelineError(f"network {self._first.name} does not run ({why}): ask again later")

    async def _through(self, generation: _Generation, inputs: Tensors) -> Tensors:
        """Raises _Lost, or PipelineError where the network fails."""
        value: Any = inputs
        for runner in generation.runners:
            value = runner.handle.run.remote(value)
        exceptions = self._ray.exceptions
        try:
            found: Tensors = await value
        except exceptions.RayError as error:
            lost = self._lost(generation, error)
            if lost is not None:
                raise _Lost(lost) from error
            why = last_line(error)
            raise PipelineError(
                f"network {generation.deployment.name} fails on these inputs ({why}): ask with others"
            ) from error
        return found

    def _lost(self, generation: _Generation, error: Exception) -> frozenset[str] | None:
        """Nodes whose runner is lost, by what a run raised; empty: nobody knows which; None: none is."""
        exceptions = self._ray.exceptions
        kinds = (
            exceptions.RayActorError,
            exceptions.ObjectLostError,
            exceptions.NodeDiedError,
            exceptions.WorkerCrashedError,
            exceptions.TaskUnschedulableError,
            exceptions.ActorUnschedulableError,
        )
        cause: BaseException | None = error
        while cause is not None and not isinstance(cause, kinds):
            cause = getattr(cause, "cause", None) or cause.__cause__
        if cause is None:
            return None
        actor = getattr(cause, "actor_id", None)
        return frozenset(
            runner.piece.node for runner in generation.runners if actor and runner.handle._actor_id.hex() == actor
        )

    # ------------------------------------------------------------------------------------------------ going over

    async def _begun(self, deployment: Deployment, before: _Generation | None) -> _Generation:
        """A generation that works; what it has in common with the one `before` is taken over.

        Raises _Lost, PipelineError, or ClusterError.
        """
        there = await asyncio.to_thread(nodes, self._ray)
        absent = [name for name in deployment.nodes if name not in there]
        if absent:
            raise ClusterError(
                f"node {absent[0]} is not in the cluster, which has {', '.join(sorted(there))}: begin it by `ray start "
                f"--labels edgesight-node={absent[0]}` (one alone, where two have this name), or plan without it"
            )
        new: list[_Runner] = []
        runners = []
        for piece in deployment.pieces:
            kept = [one for one in before.runners if one.serves(piece)] if before is not None else []
            if not kept:
                kept = [_Runner(piece, self._made.options(**there[piece.node].here()).remote(piece))]
                new += kept
            runners += kept
        generation = _Generation(deployment, runners)
        try:
            await self._loaded(new)
            for inputs, expected in deployment.checks:
                try:
                    found = await asyncio.wait_for(self._through(generation, inputs), HANGS_S)
                except asyncio.TimeoutError as error:
                    raise _Lost(await self._silent(generation) or deployment.nodes, "it hangs") from error
                if not _equal(found, expected):
                    raise PipelineError(
                        f"network {deployment.name}, version {deployment.version}: its pieces do not give, bit for "
                        "bit, what the whole gives: use the same version of ONNX Runtime, and processors that compute "
                        "alike, on all nodes"
                    )
        except BaseException:
            self._kill(new)
            raise
        if before is not None:
            self.counts.moved += len(new)
        return generation

    async def _loaded(self, runners: Sequence[_Runner]) -> None:
        """Wait until they are; raises _Lost for those that are not in time."""
        exceptions = self._ray.exceptions

        lost: dict[str, str] = {}

        async def one(runner: _Runner) -> None:
            try:
                await asyncio.wait_for(_awaited(runner.handle.told.remote()), LOAD_S)
            except (exceptions.RayError, asyncio.TimeoutError) as error:
                lost[runner.piece.node] = last_line(error)

        await asyncio.gather(*map(one, runners))
        if lost:
            why = "; ".join(dict.fromkeys(lost.values()))
            logger.warning("%s: a piece was not loaded (%s)", ", ".join(lost), why)
            raise _Lost(lost, why)

    async def _mend(self, broken: _Generation | None, lost: frozenset[str]) -> None:
        """Go over from the `broken` generation to one without the `lost` nodes, or wait until that is done."""
        if self._mending is None or self._mending.done():
            self._mending = self._keep(self._mended(broken, lost))
        await asyncio.shield(self._mending)  # whoever gives up waiting leaves it to the others

    async def _mended(self, broken: _Generation | None, lost: frozenset[str]) -> None:
        async with self._lock:
            if self._generation is not broken:
                return
            loop = asyncio.get_running_loop()
            ends = loop.time() + MEND_S
            without, why = set(lost), "no node is left"
            if broken is not None and not lost:
                without |= await self._silent(broken)
            logger.warning(
                "network %s: lost on %s, planned anew", self._first.name, ", ".join(sorted(without)) or "some node"
            )
            while loop.time() < ends:
                there = await asyncio.to_thread(nodes, self._ray)
                # A runner that ended is one whose node is lost, until there is no plan without it.
                try:
                    deployment = await asyncio.to_thread(self._replan, sorted(there.keys() - without))
                    generation = await self._begun(deployment, None if broken is None else self._sound(broken, without))
                except _Lost as error:
                    without |= error.nodes
                    why = f"{error} did not answer"
                except EdgeSightError as error:
                    why, without = str(error), set()
                    await asyncio.sleep(_AGAIN_S)
                else:
                    self._go_over(generation)
                    self.counts.mended += 1
                    return
            logger.error("network %s: does not run (%s)", self._first.name, why)
            self._fault, self._not_before = why, loop.time() + _AGAIN_S
            self._generation = None
            if broken is not None:
                self._kill(broken.runners)

    async def _silent(self, generation: _Generation) -> set[str]:
        """Nodes whose runner says nothing."""

        async def one(runner: _Runner) -> str | None:
            try:
                await asyncio.wait_for(_awaited(runner.handle.told.remote()), SILENT_S)
            except (self._ray.exceptions.RayError, asyncio.TimeoutError):
                return runner.piece.node
            return None

        return {name for name in await asyncio.gather(*map(one, generation.runners)) if name is not None}

    @staticmethod
    def _sound(broken: _Generation, without: Collection[str]) -> _Generation:
        """What is left of it."""
        return _Generation(broken.deployment, [one for one in broken.runners if one.piece.node not in without])

    def _go_over(self, generation: _Generation) -> None:
        """Let it answer from now on; what the one before has in work it ends."""
        before, self._generation = self._generation, generation
        if before is not None:
            self._keep(self._retire(before, generation))

    async def _retire(self, before: _Generation, after: _Generation) -> None:
        while before.asked:
            await asyncio.sleep(_AGAIN_S)
        self._kill([runner for runner in before.runners if runner not in after.runners])

    def _kill(self, runners: Sequence[_Runner]) -> None:
        for runner in runners:
            with contextlib.suppress(self._ray.exceptions.RayError):
                self._ray.kill(runner.handle)

    # ------------------------------------------------------------------------------------------------------ watching

    async def _watch(self) -> None:
        """See that nodes are lost though nobody asks, and that others come."""
        steady = _Steady()
        while True:
            await asyncio.sleep(WATCH_S)
            try:
                await self._look(steady)
            except Exception as error:  # Ray's share no base class; its head may be gone for a while
                logger.warning("network %s: its nodes cannot be looked at (%s)", self._first.name, last_line(error))

    async def _look(self, steady: _Steady) -> None:
        generation = self._generation
        if generation is None:
            return
        there = frozenset(await asyncio.to_thread(nodes, self._ray))
        gone = frozenset(generation.deployment.nodes) - there
        if not gone and generation.asked and asyncio.get_running_loop().time() - generation.moved > HANGS_S:
            gone = frozenset(await self._silent(generation))
            # What they have in work ends with them, and is asked again.
            self._kill([runner for runner in generation.runners if runner.piece.node in gone])
        if gone:
            await self._mend(generation, gone)
        elif steady.for_long(there):
            await self._improve(generation, there)

    async def _improve(self, generation: _Generation, there: frozenset[str]) -> None:
        """Go over to a better plan for the nodes that are there."""
        async with self._lock:
            if self._generation is not generation:
                return
            try:
                deployment = await asyncio.to_thread(self._replan, sorted(there))
                if deployment.planned_ms < BETTER * generation.deployment.planned_ms:
                    self._go_over(await self._begun(deployment, generation))
            except (EdgeSightError, _Lost) as error:
                logger.warning("network %s: stays as it is (%s)", self._first.name, error)

    def _keep(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Let it go on, whoever waits for it; what it raises need not be looked at."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()


async def _awaited(reference: Any) -> Any:
    return await reference


def _equal(found: Tensors, expected: Tensors) -> bool:
    return found.keys() == expected.keys() and all(
        found[name].dtype == value.dtype
        and found[name].shape == value.shape
        and (
            found[name].tolist() == value.tolist()
            if value.dtype.hasobject
            else found[name].tobytes() == value.tobytes()
        )
        for name, value in expected.items()
    )
