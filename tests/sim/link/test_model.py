"""The model of a link does to packets what its options say, by arithmetic alone."""

from __future__ import annotations

import math
import os
from collections import deque
from itertools import groupby
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from edgesight.sim.link.model import Direction, Schedule, Times, directions
from edgesight.sim.link.options import (
    BandwidthDelayProducts,
    ConstantRate,
    EmulationError,
    GilbertElliott,
    LinkOptions,
    MahimahiTrace,
    Packets,
    RateTrace,
)

MANY = 20_000


def direction(options: LinkOptions, seed: int = 1) -> Direction:
    return Direction(options, str(seed), 2 * options.delay_s)


def losses(options: LinkOptions, packets: int = MANY, seed: int = 1) -> list[bool]:
    link = direction(options, seed)
    return [link.offer(number * 0.001, 100) is None for number in range(packets)]


def bursts(lost: list[bool]) -> list[int]:
    return [len(list(run)) for is_lost, run in groupby(lost) if is_lost]


def test_without_options_every_packet_is_delivered_as_it_comes() -> None:
    link = direction(LinkOptions())
    assert [link.offer(time, 1_500) for time in (0.0, 0.0, 0.5)] == [0.0, 0.0, 0.5]
    assert link.report()["queue_delay_ms"] is None


def test_a_constant_rate_sends_packets_one_behind_the_other_then_delays_them() -> None:
    link = direction(LinkOptions(rate=ConstantRate(8_000.0), delay_s=0.25))  # 1,000 bytes a second
    assert [link.offer(0.0, 500), link.offer(0.25, 250), link.offer(4.0, 1_000)] == [0.75, 1.0, 5.25]


def test_a_rate_of_mbit_by_second_is_kept_in_every_second_and_repeats() -> None:
    rates = (8.0, 0.0, 1.6, 0.4)
    link = direction(LinkOptions(rate=RateTrace(rates), queue=Packets(10**9)))
    arrivals = [link.offer(0.0, 100) for _ in range(30_000)]
    for second in range(8):
        through = sum(1 for time in arrivals if time is not None and second < time <= second + 1)
        assert abs(through * 800 - rates[second % 4] * 1e6) <= 800


def in_mahimahis_words(
    milliseconds: list[int], packets: list[tuple[int, int]]
) -> list[int]:  # arrivals and sizes to departures
    """What Mahimahi's link queue does, told opportunity by opportunity."""
    waiting = deque(enumerate(packets))
    left_of = [size for _, size in packets]
    departures = [-1] * len(packets)
    base = 0
    while waiting:
        for moment in milliseconds:
            bytes_left = 1_500
            while waiting and bytes_left and waiting[0][1][0] <= base + moment:
                index = waiting[0][0]
                used = min(bytes_left, left_of[index])
                bytes_left -= used
                left_of[index] -= used
                if not left_of[index]:
                    departures[index] = base + moment
                    waiting.popleft()
        base += milliseconds[-1]
    return departures


@given(
    st.lists(st.integers(0, 40), min_size=1, max_size=12).map(sorted).filter(lambda moments: moments[-1] > 0),
    st.lists(st.tuples(st.integers(0, 60), st.sampled_from([40, 750, 1_000, 1_500, 4_000])), max_size=30),
)
@settings(max_examples=300, deadline=None)
def test_a_mahimahi_trace_gives_its_opportunities_as_mahimahi_does(
    moments: list[int], gaps: list[tuple[int, int]]
) -> None:
    packets, now = [], 0
    for gap, size in gaps:
        now += gap
        packets.append((now, size))
    # Arrivals off the grid of the trace, as rounding must decide nothing: at 7.1 the opportunity of 8 is next.
    link = direction(LinkOptions(rate=MahimahiTrace(tuple(moments)), queue=Packets(10**9)))
    came = [link.offer((time - 0.9) * 1e-3 if time else 0.0, size) for time, size in packets]
    expected = in_mahimahis_words(moments, packets)
    assert [round(time * 1e3, 6) for time in came if time is not None] == expected


def test_a_full_queue_of_packets_drops_at_its_tail() -> None:
    link = direction(LinkOptions(rate=ConstantRate(8_000.0), queue=Packets(3)))
    fates = [link.offer(0.0, 1_000) for _ in range(5)] + [link.offer(1.0, 1_000), link.offer(1.0, 1_000)]
    assert fates == [1.0, 2.0, 3.0, None, None, 4.0, None]
    assert (link.counts.offered, link.counts.overflowed, link.counts.under_way) == (7, 3, 4)


def test_a_queue_of_bandwidth_delay_products_holds_that_many_bytes() -> None:
    # 20 Mbit/s and 40 ms there and back are 100,000 bytes.
    for products, bound in ((1.0, 100_000), (0.5, 50_000), (4.0, 400_000)):
        options = LinkOptions(ConstantRate(20e6), delay_s=0.02, queue=BandwidthDelayProducts(products))
        up, down = directions(options, options, seed=1)
        for link in (up, down):
            accepted = sum(1_000 for _ in range(1_000) if link.offer(0.0, 1_000) is not None)
            assert accepted == bound


def test_a_queue_smaller_than_a_packet_still_lets_one_through() -> None:
    link = direction(LinkOptions(ConstantRate(1e6), delay_s=0.001, queue=BandwidthDelayProducts(0.1)))
    assert link.offer(0.0, 1_500) is not None
    assert link.offer(0.0, 40) is None


def test_bandwidth_delay_products_of_a_trace_are_those_of_its_mean_rate() -> None:
    assert MahimahiTrace((0, 1, 2, 3, 4)).mean_bit_per_s == pytest.approx(5 * 12_000 / 0.004)
    assert RateTrace((2.0, 4.0)).mean_bit_per_s == pytest.approx(3e6)


@pytest.mark.parametrize("loss", [0.01, 0.05, 0.2])
def test_independent_loss_lies_within_its_binomial_interval_and_comes_in_runs_of_chance(loss: float) -> None:
    lost = losses(LinkOptions(loss=loss))
    low, high = binom.interval(0.999, MANY, loss)
    assert low <= sum(lost) <= high
    runs = bursts(lost)
    assert sum(runs) / len(runs) == pytest.approx(1 / (1 - loss), rel=0.1)


@pytest.mark.parametrize(("loss", "burst"), [(0.05, 4.0), (0.1, 8.0), (0.2, 2.0)])
def test_bursty_loss_has_the_share_and_the_mean_burst_asked_for(loss: float, burst: float) -> None:
    chain = GilbertElliott.of(loss, burst)
    assert chain.mean == pytest.approx(loss)
    packets = 200_000
    lost = losses(LinkOptions(loss=chain), packets)
    runs = bursts(lost)
    # Bursts are geometric: standard deviation sqrt(burst (burst - 1)), over as many as there were; four of that.
    assert abs(sum(runs) / len(runs) - burst) < 4 * math.sqrt(burst * (burst - 1) / len(runs))
    # The share varies as that of independent packets, times about 2 burst - 1 for the chain's memory.
    assert abs(sum(lost) / packets - loss) < 4 * math.sqrt(loss * (1 - loss) * (2 * burst - 1) / packets)


def test_a_chain_may_lose_in_both_states() -> None:
    chain = GilbertElliott(to_bad=0.02, to_good=0.2, loss_bad=0.5, loss_good=0.01)
    lost = losses(LinkOptions(loss=chain), 200_000)
    assert sum(lost) / len(lost) == pytest.approx(chain.mean, rel=0.05)


def test_a_seed_decides_all_chance_and_each_direction_has_its_own() -> None:
    options = LinkOptions(loss=0.3)
    assert losses(options, 200, seed=5) == losses(options, 200, seed=5)
    assert losses(options, 200, seed=5) != losses(options, 200, seed=6)
    up, down = directions(options, options, seed=5)
    assert [up.offer(0.0, 1) for _ in range(200)] != [down.offer(0.0, 1) for _ in range(200)]


def test_which_packets_are_lost_does_not_hang_on_delay_jitter_or_reordering() -> None:
    plain = losses(LinkOptions(loss=0.1), 500)
    assert losses(LinkOptions(loss=0.1, delay_s=0.02, jitter_s=0.01, reorder=0.2), 500) == plain


def test_a_packet_that_overflowed_takes_no_chance_from_those_behind_it() -> None:
    full = direction(LinkOptions(rate=ConstantRate(8_000.0), loss=0.3, queue=Packets(1)))
    roomy = direction(LinkOptions(rate=ConstantRate(8_000.0), loss=0.3))
    for number in range(100):
        assert full.offer(float(number), 1_000) == roomy.offer(float(number), 1_000)
        assert full.offer(number + 0.5, 1_000) is None
    assert full.counts.overflowed == 100


def test_lost_packets_have_used_their_share_of_the_rate() -> None:
    link = direction(LinkOptions(rate=ConstantRate(8_000.0), loss=0.5))
    came = [link.offer(0.0, 1_000) for _ in range(50)]
    assert 10 < link.counts.lost < 40
    assert all(time in (None, number + 1.0) for number, time in enumerate(came))


def test_bytes_that_were_lost_or_overflowed_were_offered_all_the_same() -> None:
    link = Direction(LinkOptions(loss=0.5), "1", 0.0)
    delivered = [size for size in range(1, 201) if link.offer(0.1 * size, size) is not None]
    assert 0 < len(delivered) < 200
    assert link.counts.offered_bytes == sum(range(1, 201))


def test_jitter_spreads_delay_evenly_and_lets_nothing_overtake() -> None:
    apart = direction(LinkOptions(delay_s=0.02, jitter_s=0.01))
    waits = [there - number for number in range(5_000) if (there := apart.offer(float(number), 100)) is not None]
    assert min(waits) == pytest.approx(0.01, abs=1e-4)
    assert max(waits) == pytest.approx(0.03, abs=1e-4)
    assert sum(waits) / len(waits) == pytest.approx(0.02, abs=3e-4)
    close = direction(LinkOptions(delay_s=0.02, jitter_s=0.01))
    came = [close.offer(number * 1e-4, 100) for number in range(5_000)]
    assert came == sorted(came)  # type: ignore[type-var]


def test_reordering_holds_back_its_share_of_packets() -> None:
    link = direction(LinkOptions(delay_s=0.02, reorder=0.1, reorder_s=0.005))
    waits = [round((link.offer(float(number), 100) or 0.0) - number, 9) for number in range(MANY)]
    low, high = binom.interval(0.999, MANY, 0.1)
    assert low <= link.counts.reordered <= high
    assert (waits.count(0.025), waits.count(0.02)) == (link.counts.reordered, MANY - link.counts.reordered)


def test_loss_can_be_changed_under_way() -> None:
    link = direction(LinkOptions())
    assert link.offer(0.0, 1) is not None
    link.set_loss(1.0)
    assert link.offer(0.0, 1) is None
    with pytest.raises(EmulationError, match="loss"):
        link.set_loss(-1.0)


def test_a_schedule_gives_packets_by_time_and_those_of_one_time_as_they_came() -> None:
    schedule: Schedule[str] = Schedule()
    assert schedule.next_time == math.inf
    for time, packet in ((2.0, "c"), (1.0, "a"), (2.0, "d"), (1.0, "b")):
        schedule.add(time, packet)
    assert [schedule.pop() for _ in range(4)] == [(1.0, "a"), (1.0, "b"), (2.0, "c"), (2.0, "d")]


def test_percentiles_are_the_least_times_that_a_share_does_not_exceed() -> None:
    times = Times()
    assert times.percentiles_ms() is None
    for number in range(100):
        times.add((number + 1) * 1e-3)
    found = times.percentiles_ms()
    assert found is not None
    for name, exact in (("p50", 50.0), ("p90", 90.0), ("p99", 99.0)):
        assert exact < found[name] <= exact * 1.02 + 1e-3
    assert found["max"] == 100.0
    times.add(0.0)
    assert sum(times._steps.values()) == 101


def test_options_are_read_as_people_write_them(tmp_path: Path) -> None:
    (tmp_path / "a.up").write_text("0\n5\n12\n")
    (tmp_path / "b.txt").write_text("1.5\n0\n")
    assert LinkOptions.parse("") == LinkOptions()
    assert LinkOptions.parse("rate=20, delay-ms=20,loss=0.05,burst=4,queue=1.5bdp") == LinkOptions(
        ConstantRate(20e6), 0.02, loss=GilbertElliott.of(0.05, 4), queue=BandwidthDelayProducts(1.5)
    )
    assert LinkOptions.parse("delay-ms=8,jitter-ms=4,reorder=0.5,reorder-ms=2,queue=7") == LinkOptions(
        delay_s=0.008, jitter_s=0.004, reorder=0.5, reorder_s=0.002, queue=Packets(7)
    )
    assert LinkOptions.parse(f"rate=mahimahi:{tmp_path}/a.up").rate == MahimahiTrace((0, 5, 12), f"{tmp_path}/a.up")
    assert LinkOptions.parse(f"rate=mbit:{tmp_path}/b.txt").rate == RateTrace((1.5, 0.0), f"{tmp_path}/b.txt")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("speed=3", "'speed=3': expected each of rate, delay-ms"),
        ("loss=0.1,loss=0.2", "at most once"),
        ("loss", "as KEY=N"),
        ("loss=lots", "loss=lots: expected a number"),
        ("loss=1.5", "loss 1.5: expected a probability"),
        ("loss=0.9,burst=2", "burst 2.0: expected at least 9 packets"),
        ("loss=1,burst=2", "loss 1.0"),
        ("loss=0.1,burst=0.5", "burst 0.5: expected packets, at least 1"),
        ("rate=0", "rate 0.0: expected bits a second above 0"),
        ("rate=nan", "rate nan"),
        ("rate=tape:x", "rate=tape:x: expected Mbit/s, mahimahi:FILE or mbit:FILE"),
        ("rate=mbit:/nowhere", "trace /nowhere: cannot be read"),
        ("delay-ms=-1", "delay_s -0.001"),
        ("delay-ms=1,jitter-ms=2", "jitter_s 0.002: expected seconds, 0 to delay_s"),
        ("reorder=2", "reorder 2.0"),
        ("reorder=0.1,reorder-ms=0", "reorder_s 0.0"),
        ("queue=0", "queue 0: expected packets, at least 1"),
        ("queue=-1bdp", "queue -1.0"),
        ("queue=big", "queue=big: expected packets, or"),
    ],
)
def test_options_that_no_link_can_have_are_refused_by_name(text: str, complaint: str) -> None:
    with pytest.raises(EmulationError, match=complaint):
        LinkOptions.parse(text)


@pytest.mark.parametrize(
    ("kind", "content", "complaint"),
    [
        ("mahimahi", "", "expected whole milliseconds"),
        ("mahimahi", "0\n", "the last above 0"),
        ("mahimahi", "5\n3\n", "none below the one before"),
        ("mahimahi", "1\n2.5\n", "line 2: '2.5' is not whole milliseconds"),
        ("mbit", "", "on average at least 1 bit/s"),
        ("mbit", "0\n0\n", "on average at least 1 bit/s"),
        ("mbit", "0\n2e-67\n", "on average at least 1 bit/s"),
        ("mbit", "1\n-1\n", "none below 0"),
        ("mbit", "1\nx\n", "line 2: 'x' is not Mbit/s"),
    ],
)
def test_a_damaged_trace_is_refused_by_file_and_line(tmp_path: Path, kind: str, content: str, complaint: str) -> None:
    file = tmp_path / "trace"
    file.write_text(content)
    with pytest.raises(EmulationError, match=complaint):
        LinkOptions.parse(f"rate={kind}:{file}")


def test_a_queue_of_bandwidth_delay_products_needs_a_bandwidth_and_a_delay() -> None:
    for options in (
        LinkOptions(delay_s=0.02, queue=BandwidthDelayProducts(1.0)),
        LinkOptions(ConstantRate(1e6), queue=BandwidthDelayProducts(1.0)),
    ):
        with pytest.raises(EmulationError, match="needs a rate and a delay"):
            direction(options)


def test_recorded_traces_carry_their_mean_rate_over_a_round() -> None:
    folder = os.environ.get("EDGESIGHT_TRACES")
    if folder is None:
        pytest.skip("EDGESIGHT_TRACES names no folder of traces: Mahimahi's *.up and *.down, others in Mbit/s")
    files = [file for file in sorted(Path(folder).iterdir()) if file.is_file()]
    assert files
    for file in files:
        rate = MahimahiTrace.read(file) if file.suffix in (".up", ".down") else RateTrace.read(file)
        period = rate.milliseconds[-1] * 1e-3 if isinstance(rate, MahimahiTrace) else float(len(rate.mbit_per_s))
        link = direction(LinkOptions(rate, queue=Packets(10**9)))
        through = 0
        while (link.offer(0.0, 1_500) or 0.0) <= period:
            through += 1
        assert abs(through * 12_000 / period / rate.mean_bit_per_s - 1.0) < 0.001, file


def test_in_an_outage_all_is_lost_and_nothing_else() -> None:
    link = direction(LinkOptions(rate=ConstantRate(8_000.0), delay_s=0.25, outages=((1.0, 2.0), (3.0, 3.5))))
    arrived = [link.offer(0.5 * number, 250) for number in range(8)]  # each leaves a quarter of a second later
    assert arrived == [0.5, 1.0, None, None, 2.5, 3.0, None, 4.0]
    assert (link.counts.lost, link.counts.offered) == (3, 8)
    assert link.options.describe()["outages_s"] == [[1.0, 2.0], [3.0, 3.5]]


@pytest.mark.parametrize("outages", [((2.0, 1.0),), ((-1.0, 1.0),), ((1.0, 3.0), (2.0, 4.0)), ((1.0, math.inf),)])
def test_outages_that_do_not_rise_are_refused(outages: tuple[tuple[float, float], ...]) -> None:
    with pytest.raises(EmulationError, match="outages"):
        LinkOptions(outages=outages)
