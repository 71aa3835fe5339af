"""An image is encoded as finely as the way carries, and no more coarsely than it must be."""

from __future__ import annotations

import math

import pytest

from edgesight.host.link.datagrams import Kind, Strip
from edgesight.host.link.quality import LADDER, PACKET, Room, fit, room
from edgesight.host.link.strips import QUALITY, assemble
from tests.host.photographs import picture

LARGE = picture((224, 224, 3))


def test_ample_bandwidth_changes_nothing() -> None:
    encoded, parity = fit(LARGE, QUALITY, Room(), 0.0)
    assert (encoded.quality, encoded.height, encoded.width, parity) == (QUALITY, 224, 224, 0)
    assert room(None, [0.1], 0.05, 0) == Room(math.inf, math.inf)


def test_less_bandwidth_lowers_the_quality_first_and_the_size_then() -> None:
    seen = []
    for within in range(12_000, 200, -200):
        encoded, _ = fit(LARGE, QUALITY, Room(within, within), 0.0)
        seen.append((LARGE.shape[0] // encoded.height, encoded.quality))
        if seen[-1] != (LADDER[-1].divisor, LADDER[-1].quality):
            assert encoded.size <= within
    steps = [(1, QUALITY), *((step.divisor, step.quality) for step in LADDER)]
    assert [steps.index(one) for one in seen] == sorted(steps.index(one) for one in seen)
    assert seen[-1] == steps[-1]
    assert len(set(seen)) > 4


def test_a_lower_quality_asked_for_is_never_raised() -> None:
    for within in (math.inf, 4_000.0, 3_000.0, 2_000.0):
        encoded, _ = fit(LARGE, 40, Room(within, within), 0.0)
        assert encoded.quality <= 40 or encoded.height < LARGE.shape[0]
    assert fit(LARGE, 40, Room(), 0.0)[0].quality == 40


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (3, 1, 1)])
def test_a_tiny_image_is_never_made_smaller(shape: tuple[int, int, int]) -> None:
    encoded, _ = fit(picture(shape), QUALITY, Room(-1.0, -1.0), 0.0)
    strips = [Strip.parse(message) for message in encoded.pack(request=1, left_ms=9)]
    assert (assemble(strips).image() == picture(shape)).all()


@pytest.mark.parametrize("shape", [(224, 224, 3), (65, 33, 1)])
def test_the_smallest_is_an_image_too(shape: tuple[int, int, int]) -> None:
    encoded, _ = fit(picture(shape), QUALITY, Room(-1.0, -1.0), 0.0)
    strips = [Strip.parse(message) for message in encoded.pack(request=1, left_ms=9)]
    assert assemble(strips).image().shape == (-(-shape[0] // 4), -(-shape[1] // 4), shape[2])


def test_parity_follows_the_loss() -> None:
    parities = [fit(LARGE, QUALITY, Room(), loss)[1] for loss in (0.0, 0.01, 0.05, 0.1, 0.2)]
    assert parities[0] == 0
    assert parities == sorted(parities)
    assert parities[-1] > parities[1]


def test_room_shrinks_with_time_and_with_what_goes_before() -> None:
    assert room(1e6, [0.14], 0.04, 0).coarse == pytest.approx(60_000)
    assert room(1e6, [0.14], 0.09, 10_000).coarse == pytest.approx(20_000)
    assert room(1e6, [0.01], 0.05, 0) == Room(0.0, 0.0)
    assert room(1e6, [0.14], 0.04, 0).whole > room(1e6, [0.14], 0.04, 0).coarse


def test_room_is_left_for_those_behind() -> None:
    alone = room(1e6, [0.2], 0.0, 0).whole
    assert room(1e6, [0.2, 0.4], 0.0, 0).whole == pytest.approx(alone)  # it has the time
    assert room(1e6, [0.2, 0.2], 0.0, 0).whole == pytest.approx(alone / 2)
    assert room(1e6, [0.2, 0.3, 0.3], 0.0, 0).whole == pytest.approx(alone / 2)


def test_an_entire_image_has_no_parity() -> None:
    encoded, parity = fit(LARGE, QUALITY, Room(), 0.1, entire=True)
    assert (encoded.kind, parity) == (Kind.WHOLE, 0)
    assert fit(LARGE, QUALITY, Room(), 0.1)[1] > 0


def test_on_a_quick_path_no_progressive_jpeg_is_tried_at_the_quality_asked_for() -> None:
    plain, _ = fit(LARGE, QUALITY, Room(), 0.0, entire=True, progressive=False)
    short, _ = fit(LARGE, QUALITY, Room(), 0.0, entire=True)
    assert (plain.payloads[0][0], short.payloads[0][0]) == (0, 1)  # how the body says which it is
    assert short.size < plain.size
    strips = [[Strip.parse(one) for one in encoded.pack(request=1, left_ms=9)] for encoded in (plain, short)]
    assert (assemble(strips[0]).image() == assemble(strips[1]).image()).all()
    sizes = [one.size + PACKET * len(one.payloads) for one in (short, plain)]
    little = Room(whole=sum(sizes) / 2, coarse=sum(sizes) / 2)
    coarser, _ = fit(LARGE, QUALITY, little, 0.0, entire=True, progressive=False)
    assert coarser.quality < QUALITY
    assert coarser.payloads[0][0] == 1
