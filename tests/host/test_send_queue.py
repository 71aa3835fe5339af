"""What waits to be sent goes in time or not at all, and images share packets, so that a lost one hurts little."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from aioquic.quic.packet import QuicPacketType
from aioquic.quic.packet_builder import QuicSentPacket
from aioquic.tls import Epoch
from hypothesis import given
from hypothesis import strategies as st

from edgesight.host.link import queue
from edgesight.host.link.congestion import Controller
from edgesight.host.link.datagrams import MAX_DATAGRAM, Strip, parse
from edgesight.host.link.loss import ALL_LOST, FEWEST_COPIES, MOST_COPIES, LossMeter, copies
from edgesight.host.link.queue import SendQueue, Waiting
from edgesight.host.link.repair import Followed
from edgesight.host.link.strips import cut


def drain(waiting: SendQueue, now: float = 0.0) -> list[bytes]:
    return [b"".join(one.message for one in taken) for taken in iter(lambda: waiting.next(now, MAX_DATAGRAM), [])]


def test_a_lone_request_sends_each_strip_in_a_packet_of_its_own() -> None:
    waiting = SendQueue()
    messages = cut(np.zeros((28, 28, 1), np.uint8), request=1, left_ms=9)
    waiting.add(1.0, 1, messages)
    assert waiting.bytes == sum(map(len, messages))
    assert drain(waiting) == messages
    assert waiting.bytes == len(waiting) == 0


def test_a_lost_packet_takes_at_most_one_strip_of_each_tiny_image() -> None:
    waiting = SendQueue()
    for request in range(8):
        waiting.add(1.0, request, cut(np.zeros((28, 28, 1), np.uint8), request=request, left_ms=9))
    packets = [parse(datagram) for datagram in drain(waiting)]
    assert len(packets) < 10  # of 32 strips
    for packet in packets:
        requests = [message.request for message in packet]
        assert len(set(requests)) == len(requests)
    strips = [message for packet in packets for message in packet if isinstance(message, Strip)]
    assert {(strip.request, strip.index) for strip in strips} == set(itertools.product(range(8), range(4)))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1, 1_200)), max_size=60))
def test_everything_goes_once_and_in_order_for_each_request(messages: list[tuple[int, int]]) -> None:
    waiting = SendQueue()
    for number, (request, size) in enumerate(messages):
        waiting.add(1.0, request, [bytes([number]) * size])
    sent = drain(waiting)
    assert all(len(datagram) <= MAX_DATAGRAM or len(set(datagram)) == 1 for datagram in sent)
    numbers = [number for datagram in sent for number, _ in itertools.groupby(datagram)]
    assert sorted(numbers) == list(range(len(messages)))
    for wanted in range(6):
        own = [number for number in numbers if messages[number][0] == wanted]
        assert own == sorted(own)
    assert waiting.bytes == 0


def test_what_is_late_is_dropped_and_what_is_withdrawn_forgotten() -> None:
    waiting = SendQueue()
    waiting.add(1.0, 1, [b"late"])
    waiting.add(3.0, 2, [b"withdrawn"])
    waiting.add(3.0, 3, [b"in time"])
    waiting.forget(2)
    assert drain(waiting, 2.0) == [b"in time"]
    assert (waiting.dropped, waiting.bytes) == (1, 0)


def test_what_got_lost_goes_first() -> None:
    waiting = SendQueue()
    waiting.add(3.0, 1, [b"a" * 1_000, b"b" * 1_000], again=True)
    lost = waiting.next(0.0, MAX_DATAGRAM)
    waiting.add_again(lost)
    assert waiting.waits(1)
    assert drain(waiting) == [b"a" * 1_000, b"b" * 1_000]
    assert not waiting.waits(1)
    assert waiting.bytes == 0


def test_the_queue_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(queue, "_MOST", 3)
    waiting = SendQueue()
    waiting.add(1.0, 1, [b"a", b"b", b"c", b"d"])
    assert (len(waiting), waiting.bytes, waiting.dropped) == (3, 3, 1)


@given(st.floats(0.0, 1.0))
def test_copies_keep_the_chance_that_all_are_lost_small(loss: float) -> None:
    count = copies(loss)
    assert FEWEST_COPIES <= count <= MOST_COPIES
    assert loss**count <= ALL_LOST * 1.001 or count == MOST_COPIES
    assert count == FEWEST_COPIES or loss ** (count - 1) > ALL_LOST


def test_copies_follow_the_loss() -> None:
    assert [copies(loss) for loss in (0.0, 0.01, 0.05, 0.1, 0.2, 0.9)] == [2, 2, 3, 3, 5, 6]


def test_measured_loss_nears_the_paths_and_follows_it() -> None:
    generator = np.random.default_rng(4)
    meter = LossMeter()
    assert (meter.loss, copies(meter.at_most)) == (0.0, 3)
    for loss in (0.1, 0.0):
        for _ in range(5_000):
            meter.add(1, int(generator.random() < loss))
        assert abs(meter.loss - loss) < 0.03
        assert loss <= meter.at_most < loss + 0.08
    assert copies(meter.at_most) == FEWEST_COPIES


def test_what_a_full_queue_drops_is_not_the_paths_loss() -> None:
    crowded = False
    meter = LossMeter()
    meter.listen(Controller(max_datagram_size=1_200), lambda: crowded)
    meter.add(400, 40)
    crowded = True
    meter.add(400, 400)
    assert meter.path_loss == 0.1
    assert meter.loss == 0.55


class Packets:
    """Packets over a controller that a meter and a follower listen to."""

    def __init__(self) -> None:
        self.meter = LossMeter()
        self.lost: list[Waiting] = []
        self.followed = Followed(self.lost.extend)
        self.controller = Controller(max_datagram_size=1_200)
        self.meter.listen(self.controller, lambda: False)
        self.followed.listen(self.controller, lambda: False)
        self.number, self.now = 0, 0.0

    def send(self, *messages: Waiting) -> QuicSentPacket:
        self.followed.hand_over(list(messages))
        packet = QuicSentPacket(Epoch.ONE_RTT, True, True, False, self.number, QuicPacketType.ONE_RTT, self.now)
        packet.sent_bytes = 1_200
        self.number += 1
        self.controller.on_packet_sent(packet=packet)
        return packet

    def arrive(self, packet: QuicSentPacket, after: float = 0.04) -> None:
        self.now += after
        self.controller.on_packet_acked(now=self.now, packet=packet)

    def lose(self, *packets: QuicSentPacket) -> None:
        self.controller.on_packets_lost(now=self.now, packets=packets)


def test_what_was_lost_goes_again_as_long_as_it_is_followed() -> None:
    packets = Packets()
    again, once = Waiting(9.0, 1, b"again", True), Waiting(9.0, 2, b"once", False)
    progress = packets.followed.follow(1)
    packets.followed.follow(2)
    packet = packets.send(again, once)
    assert (progress.under_way, progress.arrived) == (1, 0)
    packets.lose(packet)
    assert packets.lost == [again]
    assert (progress.under_way, progress.arrived) == (0, 0)
    packets.arrive(packets.send(again))
    assert (progress.under_way, progress.arrived) == (0, 1)
    packet = packets.send(again)
    packets.followed.forget(1)
    packets.lose(packet)
    assert packets.lost == [again]  # nobody waits for it any more


def test_what_queues_drop_for_our_sake_is_told_by_lone_packets() -> None:
    packets = Packets()
    for _ in range(100):
        burst = [packets.send() for _ in range(5)]  # of which the queue holds three
        packets.arrive(burst[0])
        for packet in burst[1:3]:
            packets.arrive(packet, 0.0)
        packets.lose(*burst[3:])
    assert packets.meter.loss > 0.35
    assert packets.meter.lone_loss == 0.0
    assert packets.meter.own_doing
    assert packets.meter.path_loss < 0.1


@pytest.mark.parametrize(("round_trip", "loss"), [(0.04, 0.05), (0.08, 0.0)])
def test_where_no_packet_goes_alone_losses_without_a_queue_are_the_paths(round_trip: float, loss: float) -> None:
    packets, generator = Packets(), np.random.default_rng(1)
    packets.arrive(packets.send(), 0.04)  # the least round trip
    under_way: list[QuicSentPacket] = []
    for _ in range(2_000):  # three are always under way
        under_way.append(packets.send())
        packets.now += round_trip / 4
        if len(under_way) > 3:
            one = under_way.pop(0)
            if generator.random() < 0.05:
                packets.lose(one)
            else:
                packets.arrive(one, 0.0)
    assert packets.meter.lone_loss == 0.0
    assert packets.meter.message_loss == pytest.approx(loss, abs=0.025)  # with two standard deviations taken off


def test_a_few_losses_without_a_queue_are_no_reason_for_parity() -> None:
    """A queue that is full for a moment drops some; parity would keep it full."""
    packets = Packets()
    packets.arrive(packets.send(), 0.04)
    under_way: list[QuicSentPacket] = []
    for number in range(250):  # three are always under way
        under_way.append(packets.send())
        packets.now += 0.01
        if len(under_way) > 3:
            one = under_way.pop(0)
            if number in (100, 200):
                packets.lose(one)
            else:
                packets.arrive(one, 0.0)
    assert packets.meter.loss > 0.005
    assert packets.meter.message_loss == 0.0


def test_lone_packets_tell_of_a_path_that_loses() -> None:
    packets, generator = Packets(), np.random.default_rng(1)
    for _ in range(400):
        packet = packets.send()
        if generator.random() < 0.1:
            packets.lose(packet)
        else:
            packets.arrive(packet)
    assert packets.meter.lone_loss == pytest.approx(0.1, abs=0.05)
    assert not packets.meter.own_doing


@pytest.mark.parametrize(("round_trip", "counted"), [(0.04, True), (2.0, False)])
def test_what_a_silent_path_was_given_up_on_is_not_known_to_be_lost(round_trip: float, counted: bool) -> None:
    packets = Packets()
    for _ in range(40):
        packets.arrive(packets.send())
    given_up = packets.send()
    packets.controller.on_packets_expired(packets=[given_up])
    packets.arrive(packets.send(), round_trip)
    assert (packets.meter.lone_loss > 0.0) == counted


def test_what_is_given_up_after_silence_counts_as_lost_but_for_the_handshakes() -> None:
    controller = Controller(max_datagram_size=1_200)
    meter = LossMeter()
    meter.listen(controller, lambda: False)
    for epoch, count in ((Epoch.HANDSHAKE, 0), (Epoch.ONE_RTT, 1)):
        packet = QuicSentPacket(epoch, True, True, False, 7, QuicPacketType.ONE_RTT, 0.0)
        packet.sent_bytes = 1_200
        controller.on_packet_sent(packet=packet)
        controller.on_packets_expired(packets=[packet])
        assert meter.loss == count / 50
        assert controller.bytes_in_flight == 0
