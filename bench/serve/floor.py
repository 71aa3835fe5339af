"""What physics leaves of a cell: the least time that its offloaded requests could take.

The same arrivals go, first come first served, over a link of the same rate and delay that loses nothing, in the fewest
bytes that reach the target: what our encoder makes of a picture at the first step of its ladder, in full datagrams,
without parity or repeats. At the back end they meet a server that never waits while there is work, and that answers
each as fast as in a full batch, but not sooner than it answers one alone.

Words owned here: floor.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from edgesight.bench.serve.material import Material
from edgesight.bench.serve.virtual import BEGIN_S
from edgesight.host.fabric.base import OFFLOAD
from edgesight.host.link.quality import ladder_of
from edgesight.host.link.strips import encode_at
from edgesight.sim.link.model import directions
from edgesight.sim.link.options import LinkOptions, Packets
from edgesight.sim.workload import Workload

_DATAGRAM = 1_200  # bytes of payload
_HEADERS = 28  # bytes of IPv4 and UDP
_REPLY = 40  # bytes
_QUEUE = 1_000_000  # packets: none is dropped

Floats = npt.NDArray[np.float64]


def floor_s(
    material: Material,
    rows: list[list[int]],
    workload: Workload,
    links: tuple[LinkOptions, LinkOptions],
    sizes: dict[int, int],
) -> Floats:
    """Seconds from arrival of each request [N]: the fabric's where it is sure under the row of its target.

    `sizes`, bytes by picture, are those of all cells, and grow.
    """
    records = [material.records(row) for row in rows]
    clock = material.package.kernel.clock_mhz * 1e6
    chosen = [records[target][picture] for target, picture in zip(workload.target, workload.picture, strict=True)]
    took = np.array([float(record["cycles"]) / clock for record in chosen])
    unsure = np.array([bool(record["stage"] & OFFLOAD) for record in chosen])
    perfect = [_without_loss(one) for one in links]
    up, down = directions(perfect[0], perfect[1], 0)
    each, alone = 1 / material.profile.capacity, material.profile.usual(1)
    free = 0.0
    leaves = BEGIN_S + workload.at + took  # where the systems meet the link's trace
    for number in sorted(np.flatnonzero(unsure).tolist(), key=lambda one: float(leaves[one])):
        picture = int(workload.picture[number])
        if picture not in sizes:
            sizes[picture] = _bytes(material, picture)
        left, there = sizes[picture], 0.0
        while left > 0:
            at = up.offer(float(leaves[number]), min(left, _DATAGRAM) + _HEADERS)
            assert at is not None  # its queue is endless, and it loses nothing
            there, left = at, left - _DATAGRAM
        free = max(free, there) + each
        done = max(free, there + alone)
        back = down.offer(done, _REPLY + _HEADERS)
        assert back is not None
        took[number] = back - BEGIN_S - float(workload.at[number])
    return took


def counted_floor_s(
    material: Material, rows: list[list[int]], workload: Workload, links: tuple[LinkOptions, LinkOptions]
) -> Floats:
    """As `floor_s`, counted as a system's seconds are: where even the floor is late a fallback answers at the deadline.

    Without that a link that stands still would leave the floor behind systems that give up in time.
    """
    return np.minimum(floor_s(material, rows, workload, links, {}), workload.deadline_s)


def _without_loss(options: LinkOptions) -> LinkOptions:
    return LinkOptions(options.rate, options.delay_s, queue=Packets(_QUEUE))


def _bytes(material: Material, picture: int) -> int:
    step = ladder_of(material.calibration.ladder)[0]
    return encode_at(material.photographs[picture], step.quality, step.divisor, entire=True).size
