"""A link between two network namespaces: real TCP, UDP and QUIC of any program cross it, packet by packet.

    with NamespaceLink(LinkOptions.parse("rate=20,delay-ms=20,queue=1bdp"), seed=1) as link:
        server = link.run_datacenter(["iperf3", "-s", "-1"])
        link.run_edge(["iperf3", "-c", DATACENTER_ADDRESS]).wait(60)
        print(link.report())

Needs Linux, root, /dev/net/tun and the commands `ip`, `nsenter` and `unshare`; `missing` says what lacks. Without them,
see `relay`. Nothing has a name that could clash: any number of links may be up at once, each with the same addresses.

Words owned here: edge and data centre, as the namespaces at the two ends of a link.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import selectors
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from edgesight.host.files import write_atomically
from edgesight.sim.link.engine import DATACENTER_ADDRESS, DEVICE, EDGE_ADDRESS, TUN, Task
from edgesight.sim.link.options import EmulationError, LinkOptions

__all__ = ["DATACENTER_ADDRESS", "EDGE_ADDRESS", "NamespaceLink", "congestion_controls", "emulate", "missing"]

_ANSWER_WITHIN = 20.0  # seconds that the engine may take to begin, to report and to end
_END_WITHIN = 3.0  # seconds that a command may take to end when asked to, before it is killed
_INTERRUPTED = 130  # exit status, as shells have it
_REMEDIES = {
    "ip": "apt-get install iproute2",
    "nsenter": "apt-get install util-linux",
    "unshare": "apt-get install util-linux",
}


def missing() -> str | None:
    """What this machine lacks to emulate a link between namespaces, or None."""
    if not sys.platform.startswith("linux"):
        return "network namespaces are Linux's"
    if os.geteuid() != 0:
        return "network namespaces need root"
    for tool, remedy in _REMEDIES.items():
        if shutil.which(tool) is None:
            return f"the command {tool} is missing ({remedy})"
    try:
        os.close(os.open(TUN, os.O_RDWR))
    except OSError as error:
        return f"TUN devices need {TUN}: {error.strerror}"
    done = subprocess.run(["unshare", "--net", "true"], capture_output=True, text=True, timeout=10, check=False)
    return f"network namespaces are not allowed here: {done.stderr.strip()}" if done.returncode else None


def congestion_controls() -> tuple[str, ...]:
    """The TCP congestion controls that this kernel has now; some kernels load more when asked for by name."""
    return tuple(Path("/proc/sys/net/ipv4/tcp_available_congestion_control").read_text().split())


class NamespaceLink:
    """An edge and a data centre, each a network namespace, and the link between them; use it as a context.

    They reach each other at EDGE_ADDRESS and DATACENTER_ADDRESS, and nothing else. At the end of the context every
    process in them is ended.
    """

    def __init__(
        self,
        up: LinkOptions,
        down: LinkOptions | None = None,
        *,
        seed: int = 0,
        tcp: str | None = None,
        began: float | None = None,
    ) -> None:
        """`up` holds from the edge to the data centre, `down` back (None: the same); `seed` decides all chance.

        `tcp`: congestion control of TCP connections at both ends, such as cubic or bbr; None: the kernel's own choice.
        `began`: when traces begin, of the monotonic clock, which may be before now; None: when the link is up.
        """
        self._task = Task(up, up if down is None else down, seed, tcp, began)
        self._engine: subprocess.Popen[bytes] | None = None
        self._namespaces: list[int] = []
        self._commands: list[subprocess.Popen[Any]] = []
        self._last_report: dict[str, Any] | None = None

    def __enter__(self) -> NamespaceLink:
        """Put the link up; EmulationError says what this machine lacks."""
        lacking = missing()
        if lacking is not None:
            raise EmulationError(f"no link between network namespaces: {lacking}")
        root = Path(__file__).resolve().parent.parent.parent
        self._engine = subprocess.Popen(
            [sys.executable, "-m", "edgesight.sim.link.engine"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=root,
            start_new_session=True,  # a terminal's interrupt is for its owner, which ends it
        )
        try:
            begun = self._ask(pickle.dumps(self._task))
            if "congestion algorithm" in begun.get("error", ""):
                there = ", ".join(congestion_controls())
                raise EmulationError(
                    f"this kernel has no TCP congestion control {self._task.tcp!r}: choose one of {there}"
                )
            if "error" in begun:
                raise EmulationError(f"no link between network namespaces: {begun['error']}")
            self._namespaces = begun["namespaces"]
        except BaseException:
            self._close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End every process in the namespaces, take the last report, take the link down."""
        try:
            self._end_commands()
            self.report()
        finally:
            self._close()

    def run_edge(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start `command` at the edge; `options` are those of subprocess.Popen."""
        return self._run(0, command, options)

    def run_datacenter(self, command: Sequence[str], **options: Any) -> subprocess.Popen[Any]:
        """Start `command` at the data centre; `options` are those of subprocess.Popen."""
        return self._run(1, command, options)

    def way_in(self) -> dict[str, list[str]]:
        """For each end, what to put before a command so that it runs there, from any shell."""
        return {name: self._enter(index) for index, name in enumerate(("edge", "datacenter"))}

    def report(self) -> dict[str, Any]:
        """What both directions did so far, or, after the context, to its end: plain JSON.

        For `up` and `down`: `options`; `offered`, `delivered`, `lost`, `overflowed`, `reordered` and `under_way`
        packets; `queue_delay_ms` percentiles (waiting, sending not included); `late_ms`, by how much packets were
        handed over later than the model says; `missed`, packets that never reached the model because this machine was
        too slow. Both at 0 or close to it show that the emulation kept up.
        """
        if self._engine is not None:
            measured = self._ask(b"\n")
            for end, direction in enumerate(("up", "down")):
                measured[direction]["missed"] = self._missed(end)
            self._last_report = {"seed": self._task.seed, "tcp": self._task.tcp or _default_tcp(), **measured}
        if self._last_report is None:
            raise EmulationError("the link was never up: use it in `with`")
        return self._last_report

    def _run(self, end: int, command: Sequence[str], options: dict[str, Any]) -> subprocess.Popen[Any]:
        if self._engine is None:
            raise EmulationError("the link is not up: use it in `with`")
        process = subprocess.Popen([*self._enter(end), *command], **options)
        self._commands.append(process)
        return process

    def _enter(self, end: int) -> list[str]:
        if self._engine is None:
            raise EmulationError("the link is not up: use it in `with`")
        return ["nsenter", f"--net=/proc/{self._engine.pid}/fd/{self._namespaces[end]}"]

    def _ask(self, request: bytes) -> dict[str, Any]:
        """The engine's answer to `request`; EmulationError where it has none."""
        engine = self._engine
        assert engine is not None
        assert engine.stdin is not None
        assert engine.stdout is not None
        answer = b""
        try:
            engine.stdin.write(request)
            engine.stdin.flush()
            with selectors.DefaultSelector() as selector:
                selector.register(engine.stdout, selectors.EVENT_READ)
                until = time.monotonic() + _ANSWER_WITHIN
                while not answer.endswith(b"\n"):
                    if not selector.select(max(until - time.monotonic(), 0.0)):
                        raise EmulationError(
                            f"the link's engine gave no answer within {_ANSWER_WITHIN:g} s"
                            ": try again when this machine is less busy"
                        )
                    part = os.read(engine.stdout.fileno(), 1 << 16)
                    if not part:
                        raise EmulationError("the link's engine has ended; see what it said above")
                    answer += part
        except BrokenPipeError:
            raise EmulationError("the link's engine has ended; see what it said above") from None
        parsed: dict[str, Any] = json.loads(answer)
        return parsed

    def _missed(self, end: int) -> int:
        """Packets that the device of an end dropped because the engine was too slow to take them."""
        command = [*self._enter(end), "ip", "-json", "-stats", "link", "show", DEVICE]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_ANSWER_WITHIN, check=True)
        return int(json.loads(done.stdout)[0]["stats64"]["tx"]["dropped"])

    def _end_commands(self) -> None:
        """End what runs in the namespaces: first the commands, by asking, then whatever is left there."""
        for process in self._commands:
            if process.poll() is None:
                process.terminate()
        until = time.monotonic() + _END_WITHIN
        for process in self._commands:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(max(until - time.monotonic(), 0.0))
            if process.poll() is None:
                process.kill()
                process.wait(_ANSWER_WITHIN)
        while left := self._inside():
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            if time.monotonic() > until + _ANSWER_WITHIN:
                raise EmulationError(f"processes {left} do not end: end them by hand")
            time.sleep(0.01)

    def _inside(self) -> list[int]:
        """Processes in the namespaces; dead ones that nobody has waited for are none."""
        assert self._engine is not None
        ours = {os.stat(f"/proc/{self._engine.pid}/fd/{descriptor}").st_ino for descriptor in self._namespaces}
        inside = []
        for folder in Path("/proc").iterdir():
            if folder.name.isdigit():
                with contextlib.suppress(OSError):
                    if (folder / "ns" / "net").stat().st_ino in ours:
                        inside.append(int(folder.name))
        return inside

    def _close(self) -> None:
        engine, self._engine = self._engine, None
        if engine is None:
            return
        assert engine.stdin is not None
        assert engine.stdout is not None
        with contextlib.suppress(OSError):
            engine.stdin.close()
        try:
            engine.wait(_ANSWER_WITHIN)
        finally:
            if engine.poll() is None:
                engine.kill()
                engine.wait()
            engine.stdout.close()


def emulate(
    up: LinkOptions,
    down: LinkOptions | None = None,
    *,
    seed: int = 0,
    tcp: str | None = None,
    edge: str | None = None,
    datacenter: str | None = None,
    report: Path | None = None,
) -> int:
    """Put a link up for two commands of a shell's words, as the command line does; returns the edge's exit status.

    `datacenter` is started first and ended last; the link is there until `edge` ends. Without `edge` it is there until
    an interrupt or SIGTERM, and what to put before commands of other shells is printed. What the link did is printed,
    or written to `report`, as JSON.
    """
    status = 0
    commands = {"datacenter": _words(datacenter), "edge": _words(edge)}
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with NamespaceLink(up, down, seed=seed, tcp=tcp) as link, contextlib.suppress(KeyboardInterrupt):
            for name, words in link.way_in().items():
                address = EDGE_ADDRESS if name == "edge" else DATACENTER_ADDRESS
                print(f"{name} ({address}): {shlex.join(words)} COMMAND", file=sys.stderr)
            if commands["datacenter"]:
                link.run_datacenter(commands["datacenter"])
            if not commands["edge"]:
                signal.pause()
            else:
                status = _INTERRUPTED
                status = link.run_edge(commands["edge"]).wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    text = json.dumps(link.report(), indent=2) + "\n"
    if report is not None:
        write_atomically(report, text.encode())
    else:
        print(text, end="")
    return status


def _words(command: str | None) -> list[str]:
    """A command's words; none where there is no command."""
    try:
        return shlex.split(command or "")
    except ValueError as error:
        raise EmulationError(f"{command}: is no command of a shell's words ({error}): close its quotes") from error


def _default_tcp() -> str:
    return Path("/proc/sys/net/ipv4/tcp_congestion_control").read_text().strip()
