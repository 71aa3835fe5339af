"""The process behind a `NamespaceLink`: owns the two network namespaces and their TUN devices, and carries packets.

`python -m edgesight.sim.link.engine` reads its `Task` as a pickle from standard input and writes one JSON line when
the link is up: where the namespaces are, or what is wrong. Every line that it then reads it answers with a report,
one JSON line; at the end of its input it ends. The namespaces have no names and the devices are not persistent, so
the kernel removes all of it with this process, however that ends.
"""

from __future__ import annotations

import ctypes
import fcntl
import gc
import json
import os
import pickle
import select
import signal
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgesight.sim.link.model import Direction, Schedule, Times, directions
from edgesight.sim.link.options import EmulationError, LinkOptions

EDGE_ADDRESS = "10.0.0.1"
DATACENTER_ADDRESS = "10.0.0.2"
TUN = "/dev/net/tun"
DEVICE = "link0"
MTU = 1_500

_CLONE_NEWNET = 0x40000000
_TUNSETIFF, _IFF_TUN, _IFF_NO_PI = 0x400454CA, 0x0001, 0x1000
# Packets that wait for this process to take them; the device drops what comes beyond, and counts it. A longer queue
# would hide for longer that this process is too slow.
_DEVICE_QUEUE = 1_000
_READ_AT_ONCE = 16  # packets of one side, before those due are looked at again
_IP_WITHIN = 10.0  # seconds
_NO_IPV6 = Path("/proc/sys/net/ipv6/conf/all/disable_ipv6")


@dataclass(frozen=True)
class Task:
    """What the engine is to emulate."""

    up: LinkOptions
    down: LinkOptions
    seed: int
    tcp: str | None  # congestion control of new connections; None: the kernel's own choice
    began: float | None  # of the monotonic clock: when traces begin; None: when the link is up


@dataclass
class _End:
    """One end of the link: its namespace, the device in it, and the direction that begins there."""

    namespace: int  # file descriptor
    device: int  # file descriptor
    direction: Direction
    lateness: Times


class Engine:
    """Both ends, and the packets between them."""

    def __init__(self, task: Task) -> None:
        """Make the namespaces and devices; EmulationError says what this machine refuses."""
        self._schedule: Schedule[tuple[_End, int, bytes]] = Schedule()
        self._real_time = _ask_for_real_time()
        libc = ctypes.CDLL(None, use_errno=True)
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        self._ends: list[_End] = []
        addresses = (EDGE_ADDRESS, DATACENTER_ADDRESS)
        for direction, own, other in zip(
            directions(task.up, task.down, task.seed), addresses, reversed(addresses), strict=True
        ):
            if libc.unshare(_CLONE_NEWNET):
                raise EmulationError(
                    f"no network namespace can be made: {os.strerror(ctypes.get_errno())}; run as root"
                )
            device = _make_device(own, other, task.tcp)
            namespace = os.open("/proc/self/ns/net", os.O_RDONLY)
            self._ends.append(_End(namespace, device, direction, Times()))
        if libc.setns(home, _CLONE_NEWNET):
            raise EmulationError(
                f"the way back from a network namespace: {os.strerror(ctypes.get_errno())}; start anew"
            )
        os.close(home)
        self._began = time.monotonic() if task.began is None else task.began

    @property
    def namespaces(self) -> list[int]:
        """File descriptors in this process: edge, data centre."""
        return [end.namespace for end in self._ends]

    def run(self, requests: int) -> None:
        """Carry packets; answer each line read from the descriptor `requests` with a report; return at its end."""
        edge, datacenter = self._ends
        ways = {edge.device: (edge, datacenter), datacenter.device: (datacenter, edge)}
        watched = [edge.device, datacenter.device, requests]
        schedule, clock, began = self._schedule, time.monotonic, self._began
        # Nothing here makes cycles, and a collection would hold packets back.
        gc.collect()
        gc.disable()
        while True:
            wait = schedule.next_time - (clock() - began)
            readable, _, _ = select.select(watched, [], [], None if wait == float("inf") else max(wait, 0.0))
            if requests in readable:
                text = os.read(requests, 4_096)
                for _ in range(text.count(b"\n")):
                    _say(self.report())
                if not text:
                    return
                readable.remove(requests)
            for device in readable:
                self._take(*ways[device])
            self._hand_over()

    def report(self) -> dict[str, Any]:
        """What both directions did so far: plain JSON."""
        return {
            "seconds": time.monotonic() - self._began,
            "real_time": self._real_time,
            **{
                name: {
                    **end.direction.report(),
                    # How much later than the model says packets were handed over: the emulator's own error.
                    "late_ms": end.lateness.percentiles_ms(),
                }
                for name, end in zip(("up", "down"), self._ends, strict=True)
            },
        }

    def _take(self, end: _End, other: _End) -> None:
        clock, began, offer, add = time.monotonic, self._began, end.direction.offer, self._schedule.add
        for _ in range(_READ_AT_ONCE):
            try:
                packet = os.read(end.device, MTU)
            except BlockingIOError:
                return
            due = offer(clock() - began, len(packet))
            if due is not None:
                add(due, (end, other.device, packet))

    def _hand_over(self) -> None:
        clock, began, schedule = time.monotonic, self._began, self._schedule
        while schedule.next_time <= (now := clock() - began):
            due, (end, device, packet) = schedule.pop()
            os.write(device, packet)
            end.direction.delivered(len(packet))
            end.lateness.add(now - due)


def main() -> None:
    """Be the engine of the `Task` on standard input."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the link ends with its owner, which may have much to do until then
    task: Task = pickle.load(sys.stdin.buffer)  # its owner sends nothing more until it has been answered
    try:
        engine = Engine(task)
    except (EmulationError, OSError) as error:
        _say({"error": str(error)})
        sys.exit(1)
    _say({"namespaces": engine.namespaces})
    engine.run(sys.stdin.fileno())


def _make_device(own: str, other: str, tcp: str | None) -> int:
    """A TUN device of the present namespace, set up, as a file descriptor that doesn't block."""
    device = os.open(TUN, os.O_RDWR | os.O_NONBLOCK)
    fcntl.ioctl(device, _TUNSETIFF, struct.pack("16sH22x", DEVICE.encode(), _IFF_TUN | _IFF_NO_PI))
    if _NO_IPV6.exists():  # else its own chatter would be counted among the packets
        _NO_IPV6.write_text("1")
    # The route names the control, as a namespace's default may be none that the host reserves for itself.
    control = f"congctl {tcp}" if tcp is not None else ""
    _ip(
        f"link set lo up\naddress add {own} dev {DEVICE}\n"
        f"link set {DEVICE} mtu {MTU} txqueuelen {_DEVICE_QUEUE} up\nroute add {other} dev {DEVICE} {control}\n"
    )
    return device


def _ip(batch: str) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"], input=batch, capture_output=True, text=True, timeout=_IP_WITHIN, check=False
    )
    if done.returncode:
        raise EmulationError(f"ip: {done.stderr.strip()}")


def _ask_for_real_time() -> bool:
    """Go before ordinary processes, where that is allowed: packets are then on time on a busy machine, too."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        return False
    return True


def _say(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
