"""An edge and its data centre as real processes, and queries asked of the edge at a steady rate.

Queries go under a threshold row that offloads every image, so that an answer tells of the link and of the data centre.
An answer is *sound* when the data centre gave it and it is not marked degraded. So that repair cannot excuse an answer,
only images are asked whose label is the same whichever of their strips come, be it one.

Time to answer is measured by the asker, from before it connects to the edge's socket. `ALLOWANCE_S` is what asking and
reading may add to a deadline; time for which the edge or the asker was ready to run, and the machine ran somebody else,
is added as the kernel counted it (/proc/PID/schedstat).

Words owned here: sound, asker.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import itertools
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from edgesight.host.answer import Answer
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.fabric.base import NEVER, Images
from edgesight.host.fabric.makers import open_fabric
from edgesight.host.kernel import OFFLOAD_EVERYTHING
from edgesight.host.link.datagrams import Strip
from edgesight.host.link.strips import assemble, cut
from edgesight.host.package import Package
from edgesight.host.queries import query
from edgesight.sim.link.options import EmulationError

ALLOWANCE_S = 0.25
ACCURACY = 0.5  # asked for; the one target there is promises more
_ASKERS = 48  # queries at a time
_START_WITHIN_S = 60.0
_UNHANDLED = re.compile(r"^Traceback|Exception in callback|exception was never retrieved|Fatal error", re.MULTILINE)
_ROOT = Path(__file__).resolve().parents[2]
_MEGABYTE = 2**20
_ENDS = (signal.SIGINT, signal.SIGTERM)
_DIE_WITH_PARENT = 1  # PR_SET_PDEATHSIG
_PRCTL = getattr(ctypes.CDLL(None), "prctl", None)


@dataclass
class Asked:
    """A query and what became of it."""

    image: int
    begun: float  # monotonic clock, seconds
    deadline_s: float
    took_s: float = 0.0
    kept_off_s: float = 0.0  # of it: edge and asker could have run, and others did
    answer: Answer | None = None
    error: str | None = None

    @property
    def sound(self) -> bool:
        """Whether the data centre answered, and nothing is said against it."""
        return self.answer is not None and self.answer.stage == "datacenter" and not self.answer.degraded

    @property
    def late(self) -> bool:
        """Whether no answer was there in time."""
        return self.answer is None or self.took_s > self.deadline_s + self.kept_off_s + ALLOWANCE_S


@dataclass(frozen=True)
class Material:
    """Images to ask, and what edge and back end say of them."""

    images: Images
    files: list[Path]
    backend: npt.NDArray[np.int64]  # labels
    edge: npt.NDArray[np.int64]


class Program:
    """A command line of `edgesight` as a process with a log; it ends, too, where this one is killed."""

    def __init__(
        self,
        name: str,
        arguments: Sequence[str],
        ready: str,
        log: Path,
        environment: Mapping[str, str] | None = None,
        module: str = "edgesight",
    ) -> None:
        """`ready` begins the line that says it is; `environment` is what it gets beside this process's own.

        `module` is what Python runs.
        """
        self.name = name
        self.arguments = [module, *arguments]
        self.log = log
        self._ready = ready
        self._environment = dict(environment or {})
        self._process: subprocess.Popen[bytes] | None = None
        self.log.write_bytes(b"")

    @property
    def pid(self) -> int:
        """Process id."""
        assert self._process is not None
        return self._process.pid

    @property
    def started(self) -> bool:
        """Whether there is a process, be it ended."""
        return self._process is not None

    async def start(self) -> str:
        """Start it and wait until it is ready; the line that says so. Raises EmulationError where it never is."""
        before = self.log.stat().st_size
        with self.log.open("ab") as log, _no_end_meanwhile():
            self._process = subprocess.Popen(
                [sys.executable, "-u", "-m", *self.arguments],
                cwd=_ROOT,
                env={**os.environ, **self._environment},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                preexec_fn=die_with_parent,
            )
        until = time.monotonic() + _START_WITHIN_S
        while True:
            text = self.log.read_bytes()[before:].decode(errors="replace")
            for line in text.splitlines():
                if line.startswith(self._ready):
                    return line
            if self._process.poll() is not None or time.monotonic() > until:
                raise EmulationError(
                    f"the {self.name} did not start; see its log {self.log}, which ends with: {text[-2_000:]}"
                )
            await asyncio.sleep(0.02)

    async def end(self, number: signal.Signals) -> None:
        """End it by a signal, and wait until it is gone."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)
        self._process.send_signal(number)
        try:
            await asyncio.to_thread(self._process.wait, 20.0)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            raise EmulationError(
                f"the {self.name} did not end on {number.name} within 20 s: see its log {self.log}"
            ) from None

    def signal(self, number: signal.Signals) -> None:
        """Send it a signal."""
        assert self._process is not None
        self._process.send_signal(number)

    def ended(self) -> int | None:
        """Its exit code where it has ended."""
        assert self._process is not None
        return self._process.poll()

    def tasks(self) -> list[Path]:
        """Its threads."""
        return list(Path(f"/proc/{self.pid}/task").glob("*"))

    def unhandled(self, since: int = 0) -> int:
        """How many exceptions that nobody handled its log tells of, from byte `since` on."""
        return len(_UNHANDLED.findall(self.log.read_bytes()[since:].decode(errors="replace")))

    def memory_mb(self) -> float:
        """Resident memory."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE") / _MEGABYTE


@contextlib.contextmanager
def _no_end_meanwhile() -> Iterator[None]:
    """SIGINT and SIGTERM wait: what is forked, and is no program yet, would tell this one's loop of them once more."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _ENDS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def die_with_parent() -> None:
    """Of the process that is about to be a program: when the thread that starts it is gone, SIGTERM comes."""
    for number in _ENDS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
    if _PRCTL is not None:
        _PRCTL(_DIE_WITH_PARENT, signal.SIGTERM)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _ENDS)


@contextlib.asynccontextmanager
async def asking(
    edge: Program,
    socket: Path,
    material: Material,
    per_second: float,
    deadline_s: Callable[[], float],
    image: Callable[[int], int],
    asked: list[Asked],
) -> AsyncIterator[None]:
    """Ask at a steady rate, whatever becomes of what was asked, and put it into `asked` when it is over.

    `image` chooses one of so many, `deadline_s` the deadline of a query.
    """
    loop = asyncio.get_running_loop()
    open_: set[asyncio.Future[None]] = set()

    def ask(one: Asked) -> None:
        own = Path(f"/proc/self/task/{threading.get_native_id()}")
        kept_off = kept_off_s(own, *edge.tasks())
        one.begun = time.monotonic()
        try:
            one.answer = query(socket, material.files[one.image], ACCURACY, one.deadline_s * 1e3)
        except Exception as error:
            one.error = f"{type(error).__name__}: {error}"
        one.took_s = time.monotonic() - one.begun
        one.kept_off_s = max(kept_off_s(own, *edge.tasks()) - kept_off, 0.0)
        asked.append(one)

    async def go_on() -> None:
        at = loop.time()
        while True:
            asking = loop.run_in_executor(threads, ask, Asked(image(len(material.images)), 0.0, deadline_s()))
            open_.add(asking)
            asking.add_done_callback(open_.discard)
            at = max(at + 1 / per_second, loop.time() - 1.0)  # steady, but a long stall is not made up for
            await asyncio.sleep(at - loop.time())

    with ThreadPoolExecutor(_ASKERS, "asker") as threads:
        task = loop.create_task(go_on())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, *open_, return_exceptions=True)


def kept_off_s(*tasks: Path) -> float:
    """Seconds for which these threads waited for a processor; those that have ended count for nothing."""
    waited = 0
    for task in tasks:
        with contextlib.suppress(OSError):
            waited += int((task / "schedstat").read_text().split()[1])
    return waited * 1e-9


def offloading_package(package: Path, copy: Path) -> Package:
    """A copy of a kernel package whose one target offloads every image."""
    shutil.copytree(package, copy)
    opened = Package.load(copy)
    calibration = opened.kernel.calibration
    if calibration is None or not calibration.targets:
        raise EmulationError(f"{package}: is not calibrated: run `edgesight calibrate`")
    target = calibration.targets[0].model_copy(
        update={"set_index": 0, "confidence": OFFLOAD_EVERYTHING, "thresholds": [NEVER] * len(opened.kernel.stages)}
    )
    return opened.replace(calibration=calibration.model_copy(update={"targets": [target]}).model_dump())


def robust_digits(package: Package, fabric: str, folder: Path) -> Material:
    """Digits that the back end answers alike whichever of their strips come."""
    try:
        from sklearn.datasets import load_digits
    except ImportError as error:
        raise EmulationError(
            "scikit-learn, which carries the digits, is not installed: pip install 'edgesight[sim]'"
        ) from error
    pixels: Images = np.rint(load_digits().images[:, :, :, None] * (255 / 16)).astype(np.uint8)
    if pixels.shape[1:] != package.kernel.input.shape:
        raise EmulationError(f"{package.path}: takes {package.kernel.input.shape}: give a kernel of the digits")
    model = OnnxModel(package.path / "datacenter.onnx", package.kernel.backend_input)
    whole = np.argmax(model.run(pixels), axis=1)
    robust = np.ones(len(pixels), bool)
    for index, image in enumerate(pixels):
        strips = [Strip.parse(datagram) for datagram in cut(image, request=0, left_ms=0)]
        some = (kept for count in range(1, len(strips) + 1) for kept in itertools.combinations(strips, count))
        repaired = np.stack([assemble(kept).image() for kept in some])
        robust[index] = (np.argmax(model.run(repaired), axis=1) == whole[index]).all()
    chosen = pixels[robust]
    files = [folder / f"{index}.npy" for index in range(len(chosen))]
    for file, image in zip(files, chosen, strict=True):
        np.save(file, image)
    with contextlib.closing(open_fabric(package, fabric)) as opened:
        opened.set_thresholds(0, [NEVER, NEVER])
        records = opened.run(chosen, np.zeros(len(chosen), np.uint8))
    return Material(chosen, files, whole[robust], records["label"].astype(np.int64))
