"""gRPC's messages on a simulated connection of TCP: what arrives, in which order, and how long losses hold it up."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from edgesight.bench.link.peers import tcp
from edgesight.bench.link.peers.tcp_sender import INITIAL_WINDOW, MSS, Cubic, Sender
from edgesight.bench.link.workload import Unanswered
from edgesight.sim.link.model import directions
from edgesight.sim.link.options import ConstantRate, LinkOptions
from edgesight.sim.link.virtual import VirtualLoop

DELAY_S = 0.02
IMAGE = np.zeros((28, 28, 1), np.uint8)


class Echo:
    """A back end that answers at once, with what the first pixel says."""

    def __init__(self) -> None:
        self.seen: list[int] = []

    async def reply(self, payload: bytes, left_s: float) -> bytes:
        self.seen.append(payload[0])
        return bytes([1, 0, payload[0]])


def asked(
    gaps_s: Sequence[float], loss: float = 0.0, seed: int = 0, deadline_s: float = 5.0, rate: float | None = None
) -> tuple[list[float], list[int], VirtualLoop]:
    """Seconds of a request after each gap, NaN where it had no answer; the requests that came, in order; the loop."""
    options = LinkOptions(ConstantRate(rate) if rate else None, delay_s=DELAY_S, loss=loss)
    loop = VirtualLoop(*directions(options, options, seed), 0.0)
    back_end = Echo()

    async def main() -> list[float]:
        async with tcp.serving(back_end, Path(), "192.0.2.2", 1), tcp.asking(Path(), "192.0.2.2", 1) as ask:  # type: ignore[arg-type]

            async def one(number: int) -> float:
                begun = loop.time()
                try:
                    assert await ask(IMAGE + number, deadline_s) == number
                except Unanswered:
                    return float("nan")
                return loop.time() - begun

            tasks = []
            for number, gap in enumerate(gaps_s):
                await asyncio.sleep(gap)  # sleeps: in virtual time
                tasks.append(loop.create_task(one(number % 256)))
            return list(await asyncio.gather(*tasks))

    try:
        return loop.run_until_complete(main()), back_end.seen, loop
    finally:
        loop.close()


def test_without_loss_each_takes_a_round_trip() -> None:
    took, seen, loop = asked([0.01] * 50)
    assert took == [pytest.approx(2 * DELAY_S, abs=1e-4)] * 50
    assert seen == list(range(50))
    # Headers of IP and TCP with timestamps, a picture, and what gRPC puts around it.
    assert loop.up.counts.delivered_bytes >= 50 * (52 + 784 + 109)


@pytest.mark.parametrize("seed", range(5))
def test_what_is_lost_comes_again_in_its_place(seed: int) -> None:
    took, seen, loop = asked([0.02] * 300, loss=0.1, seed=seed)
    assert loop.up.counts.lost > 10
    assert seen == [number % 256 for number in range(300)]  # all of them, in order, once
    assert not np.isnan(took).any()
    assert min(took) >= 2 * DELAY_S
    assert max(took) > 3 * DELAY_S  # what was lost, and what was held up behind it


def test_the_last_is_probed_for_and_then_timed_out() -> None:
    for seed in range(40):  # requests that stand alone: nothing that comes after them tells of their loss
        took, _, loop = asked([0.0, 2.0, 2.0], loss=0.3, seed=seed)
        if loop.up.counts.lost:
            assert max(took) > 0.2 + 2 * DELAY_S  # a timeout, or a probe of a single segment, waits that long
            break
    else:
        pytest.fail("nothing was lost in 40 runs")


def test_a_request_that_cannot_be_in_time_has_no_answer() -> None:
    took, _, _ = asked([0.01] * 5, deadline_s=0.03)
    assert np.isnan(took).all()


def test_what_waits_for_room_when_its_time_is_over_is_not_sent() -> None:
    took, seen, loop = asked([0.0] * 200, deadline_s=0.3, rate=200_000.0)
    assert np.isnan(took).any()
    assert len(seen) < 200
    assert loop.up.counts.delivered_bytes < 200 * 900


def test_a_window_opens_by_what_is_acknowledged_and_closes_at_a_loss() -> None:
    sender = Sender()
    sender.end = 100 * MSS
    first = sender.due(0.0)
    assert len(first) == INITIAL_WINDOW
    sender.acknowledged(first[4].end, [], 0.04, 0.0)
    assert len(sender.due(0.04)) == 10  # five left, and slow start adds one for each
    lost = sender.out[0]
    sacked = [(one.begin, one.end) for one in sender.out[1:5]]
    sender.acknowledged(lost.begin, sacked, 0.05, 0.0)
    again = sender.due(0.05)
    assert again[0] is lost
    assert sender.cubic.threshold == int(15 * 717 / 1024)
    sender.acknowledged(sender.next, [], 0.09, 0.05)
    assert sender.cubic.window - sender.cubic.threshold in (0, 1)  # it may grow again by what ended the recovery


def test_a_loss_that_was_none_is_undone() -> None:
    sender = Sender()
    sender.end = MSS
    sender.due(0.0)
    assert sender.timer is not None
    at, kind = sender.timer
    assert kind == "timeout"
    again = sender.expired(at)
    assert len(again) == 1
    assert sender.cubic.window == 1
    sender.acknowledged(MSS, [], at + 0.01, 0.0)  # it was the first sending that came
    assert sender.cubic.window == INITIAL_WINDOW


def test_cubic_comes_back_to_where_it_was() -> None:
    cubic = Cubic()
    cubic.window = 400
    cubic.reduce()
    cubic.window = cubic.threshold
    assert cubic.window == 280
    now, windows = 0.0, []
    while now < 12.0:
        now += 0.04
        cubic.acknowledged(cubic.window, now, 0.04)
        windows.append(cubic.window)
    back = 0.04 * next(place for place, window in enumerate(windows) if window >= 398)
    assert back == pytest.approx((120 / 0.4) ** (1 / 3) - (2 / 0.4) ** (1 / 3), rel=0.1)  # RFC 9438: K, but for 2
    assert windows[-1] > 430
    assert windows == sorted(windows)
