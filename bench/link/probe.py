"""What crosses a link between namespaces, packet by packet: numbered UDP packets, stamped when sent and when received.

A probe is two processes, `python -m edgesight.bench.link.probe send|receive`, one at each end, so that nothing but
the link is between them; the kernel stamps what is received, so that a busy receiver makes no packet late.

Words owned here: probe, arrivals.
"""

from __future__ import annotations

import json
import select
import socket
import struct
import subprocess
import sys
import time
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from edgesight.sim.link.namespaces import DATACENTER_ADDRESS, EDGE_ADDRESS, NamespaceLink
from edgesight.sim.link.options import EmulationError

SMALLEST = 44  # bytes of a probe's packet, headers included
_HEADERS = 28  # IPv4 and UDP
_STAMP = struct.Struct("!Qq")  # number, nanoseconds since the epoch
_UDP_SEGMENT = 103  # linux/udp.h: the kernel cuts one write into packets of so many bytes
_SO_RCVBUFFORCE = 33
_SO_TIMESTAMPNS = 35
_TIMESPEC = struct.Struct("@ll")
_ROOM = 64 << 20  # bytes that a receiver may leave waiting
_WITHIN = 30.0  # seconds that the link may take to settle after the last packet
_LOOK_EVERY = 0.05  # seconds

Way = Literal["up", "down"]


@dataclass(frozen=True)
class Arrivals:
    """What arrived of `sent` packets of `size` bytes each: arrays of one entry an arrival, in their order."""

    sent: int
    size: int
    numbers: npt.NDArray[np.int64]  # of the packet, from 0
    delays_s: npt.NDArray[np.float64]  # from sending to arriving
    times_s: npt.NDArray[np.float64]  # of arriving, from the first one on

    @property
    def mbit_per_s(self) -> float:
        """The rate of arriving, from the first arrival to the last."""
        return float((len(self.times_s) - 1) * self.size * 8 / (self.times_s[-1] - self.times_s[0]) / 1e6)

    @property
    def missing(self) -> int:
        """Packets that did not arrive."""
        return self.sent - len(np.unique(self.numbers))

    @property
    def bursts(self) -> list[int]:
        """Lengths of the runs of consecutive packets that did not arrive."""
        arrived = np.zeros(self.sent, bool)
        arrived[self.numbers] = True
        return [len(list(run)) for there, run in groupby(arrived.tolist()) if not there]


class Probe:
    """Numbered packets that cross `link` one way, as soon as this is made; `arrivals` waits for the last one's fate."""

    def __init__(
        self, link: NamespaceLink, way: Way, *, packets: int, size: int, mbit_per_s: float, at_once: int = 1
    ) -> None:
        """Send `packets` of `size` bytes, headers included, at a rate, in evenly spaced groups of `at_once`."""
        if not SMALLEST <= size <= 1_500 or packets % at_once or at_once * size > 60_000:
            raise ValueError(f"{packets} packets of {size} bytes by {at_once}: expected 44 to 1500 bytes, whole groups")
        self._link, self._way, self._packets, self._size = link, way, packets, size
        here, there = (link.run_edge, link.run_datacenter) if way == "up" else (link.run_datacenter, link.run_edge)
        address = DATACENTER_ADDRESS if way == "up" else EDGE_ADDRESS
        program = [sys.executable, "-m", "edgesight.bench.link.probe"]
        self._receiver = there([*program, "receive", address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert self._receiver.stdout is not None
        port = self._receiver.stdout.readline().strip()
        if not port:
            raise EmulationError("the probe's receiver did not start; see what it said above")
        self._sender = here(
            [*program, "send", address, port, str(packets), str(size), str(mbit_per_s * 1e6), str(at_once)]
        )

    def arrivals(self) -> Arrivals:
        """What arrived, when everything sent has arrived or been dropped."""
        if self._sender.wait():
            raise EmulationError(
                f"the probe's sender ended with status {self._sender.returncode}: see what it said above"
            )
        until = time.monotonic() + _WITHIN
        while self._link.report()[self._way]["under_way"]:
            if time.monotonic() > until:
                raise EmulationError(
                    f"packets were still under way {_WITHIN:g} s after the last one was sent"
                    ": try again when this machine is less busy"
                )
            time.sleep(_LOOK_EVERY)
        found = json.loads(self._receiver.communicate()[0])
        came = np.array(found["came"], np.int64)
        return Arrivals(
            self._packets,
            self._size,
            np.array(found["numbers"], np.int64),
            np.asarray((came - np.array(found["sent"], np.int64)) * 1e-9, np.float64),
            np.asarray((came - came[:1]) * 1e-9, np.float64),
        )


def _send(address: str, port: str, packets: str, size: str, bit_per_s: str, at_once: str) -> None:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.connect((address, int(port)))
    group, payload = int(at_once), int(size) - _HEADERS
    if group > 1:
        link.setsockopt(socket.IPPROTO_UDP, _UDP_SEGMENT, payload)
    rest = bytes(payload - _STAMP.size)
    spacing = group * int(size) * 8 / float(bit_per_s)
    at = time.monotonic()
    for number in range(0, int(packets), group):
        wait = at - time.monotonic()
        if wait > 0.0:
            time.sleep(wait)
        now = time.time_ns()
        link.send(b"".join(_STAMP.pack(number + index, now) + rest for index in range(group)))
        at += spacing


def _receive(address: str) -> None:
    link = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    link.setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _ROOM)
    link.setsockopt(socket.SOL_SOCKET, _SO_TIMESTAMPNS, 1)
    link.bind((address, 0))
    link.setblocking(False)
    print(link.getsockname()[1], flush=True)
    found: dict[str, list[int]] = {"numbers": [], "sent": [], "came": []}
    ended = False
    while not ended:
        ended = sys.stdin in select.select([link, sys.stdin], [], [])[0]  # its end; what has arrived is still read
        while _take(link, found):
            pass
    print(json.dumps(found))


def _take(link: socket.socket, found: dict[str, list[int]]) -> bool:
    """Whether there was a packet to receive."""
    try:
        data, ancillary, *_ = link.recvmsg(1_500, socket.CMSG_SPACE(_TIMESPEC.size))
    except BlockingIOError:
        return False
    number, sent = _STAMP.unpack_from(data)
    seconds, nanoseconds = _TIMESPEC.unpack(ancillary[0][2])
    found["numbers"].append(number)
    found["sent"].append(sent)
    found["came"].append(seconds * 1_000_000_000 + nanoseconds)
    return True


if __name__ == "__main__":
    programs: dict[str, Any] = {"send": _send, "receive": _receive}
    programs[sys.argv[1]](*sys.argv[2:])
