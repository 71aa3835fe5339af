"""An image is encoded as finely as the way carries, and no more coarsely than it must be."""

from __future__ import annotations

import math

import numpy as np
import pytest

from edgesight.host.kernel import Rung
from edgesight.host.link.datagrams import Kind, LinkError, Strip
from edgesight.host.link.quality import LADDER, PACKET, Room, Step, fit, ladder_of, room
from edgesight.host.link.strips import QUALITY, RAW_BELOW, assemble, resize, through_loss
from tests.host.photographs import picture

LARGE = picture((224, 224, 3))


def test_ample_bandwidth_changes_nothing() -> None:
    fitted = fit(LARGE, LADDER, Room(), 0.0)
    encoded = fitted.encoded
    assert (encoded.quality, encoded.height, encoded.width) == (QUALITY, 224, 224)
    assert (fitted.parity, fitted.coarse) == (0, False)
    assert room(None, [0.1], 0.05, 0) == Room(math.inf, math.inf)


def test_less_bandwidth_lowers_the_quality_first_and_the_size_then() -> None:
    seen = []
    for within in range(12_000, 200, -200):
        fitted = fit(LARGE, LADDER, Room(within, within), 0.0)
        encoded = fitted.encoded
        seen.append((LARGE.shape[0] // encoded.height, encoded.quality))
        if seen[-1] != (LADDER[-1].divisor, LADDER[-1].quality):
            assert encoded.size <= within
        assert fitted.coarse == (seen[-1] != (1, QUALITY))
    steps = [(step.divisor, step.quality) for step in LADDER]
    assert [steps.index(one) for one in seen] == sorted(steps.index(one) for one in seen)
    assert seen[-1] == steps[-1]
    assert len(set(seen)) > 4


MEASURED = [
    Rung(quality=60, divisor=2, bytes=4_000.0, accuracy=0.9),
    Rung(quality=30, divisor=2, bytes=2_500.0, accuracy=0.88),
    Rung(quality=30, divisor=4, bytes=1_000.0, accuracy=0.8),
]


def test_a_calibrations_ladder_is_gone_down_from_its_own_first_rung() -> None:
    """It may be at a lower size: the targets hold for it all the same, so that it is not called coarse."""
    ladder = ladder_of(MEASURED)
    seen = []
    for within in (math.inf, *range(6_000, 200, -200)):
        fitted = fit(LARGE, ladder, Room(within, within), 0.0)
        seen.append(Step(fitted.encoded.quality, LARGE.shape[0] // fitted.encoded.height))
        assert fitted.coarse == (seen[-1] != ladder[0])
    assert tuple(dict.fromkeys(seen)) == ladder
    only = fit(LARGE, ladder[:1], Room(-1.0, -1.0), 0.0)
    assert (only.encoded.quality, only.coarse) == (60, False)  # there is no coarser one
    assert ladder_of([]) == LADDER


def test_where_the_first_step_cannot_be_encoded_a_coarser_one_goes() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 3), dtype=np.uint8)
    fitted = fit(noise, (Step(95, 1), Step(90, 1), Step(50, 2)), Room(), 0.0, largest=200)
    assert (fitted.encoded.quality, fitted.encoded.height, fitted.coarse) == (50, 128, True)
    with pytest.raises(LinkError, match="block takes"):
        fit(noise, (Step(95, 1), Step(90, 1)), Room(), 0.0, largest=200)


@pytest.mark.parametrize("quality", [85, 40])
@pytest.mark.parametrize("divisor", [1, 2, 3])
@pytest.mark.parametrize("shape", [(224, 224, 3), (97, 65, 1), (65, 20, 3), (28, 28, 1)])
def test_calibration_sees_what_the_data_centre_sees_of_a_rung(
    shape: tuple[int, int, int], divisor: int, quality: int
) -> None:
    """Enlarged by the service's own function; tiny images, which travel raw, are left as they are."""
    image = picture(shape)
    encoded = fit(image, (Step(quality, divisor),), Room(), 0.0).encoded
    arrived = assemble(Strip.parse(message) for message in encoded.pack(request=1, left_ms=9)).image()
    seen = through_loss(image, 0.0, np.random.default_rng(0), quality, divisor=divisor)
    assert seen is not None
    assert seen.shape == shape
    assert (seen == resize(arrived, shape)).all()
    if max(shape) < RAW_BELOW:
        assert (seen == image).all()
    elif divisor > 1:
        assert encoded.height == -(-shape[0] // divisor)


@pytest.mark.parametrize("shape", [(28, 28, 1), (8, 8, 1), (3, 1, 1)])
def test_a_tiny_image_is_never_made_smaller(shape: tuple[int, int, int]) -> None:
    fitted = fit(picture(shape), LADDER, Room(-1.0, -1.0), 0.0)
    strips = [Strip.parse(message) for message in fitted.encoded.pack(request=1, left_ms=9)]
    assert (assemble(strips).image() == picture(shape)).all()
    assert not fitted.coarse


@pytest.mark.parametrize("shape", [(224, 224, 3), (65, 33, 1)])
def test_the_smallest_is_an_image_too(shape: tuple[int, int, int]) -> None:
    encoded = fit(picture(shape), LADDER, Room(-1.0, -1.0), 0.0).encoded
    strips = [Strip.parse(message) for message in encoded.pack(request=1, left_ms=9)]
    assert assemble(strips).image().shape == (-(-shape[0] // 4), -(-shape[1] // 4), shape[2])


def test_parity_follows_the_loss() -> None:
    parities = [fit(LARGE, LADDER, Room(), loss).parity for loss in (0.0, 0.01, 0.05, 0.1, 0.2)]
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
    fitted = fit(LARGE, LADDER, Room(), 0.1, entire=True)
    assert (fitted.encoded.kind, fitted.parity) == (Kind.WHOLE, 0)
    assert fit(LARGE, LADDER, Room(), 0.1).parity > 0


def test_on_a_quick_path_no_progressive_jpeg_is_tried_at_the_quality_asked_for() -> None:
    plain = fit(LARGE, LADDER, Room(), 0.0, entire=True, progressive=False).encoded
    short = fit(LARGE, LADDER, Room(), 0.0, entire=True).encoded
    assert (plain.payloads[0][0], short.payloads[0][0]) == (0, 1)  # how the body says which it is
    assert short.size < plain.size
    strips = [[Strip.parse(one) for one in encoded.pack(request=1, left_ms=9)] for encoded in (plain, short)]
    assert (assemble(strips[0]).image() == assemble(strips[1]).image()).all()
    sizes = [one.size + PACKET * len(one.payloads) for one in (short, plain)]
    little = Room(whole=sum(sizes) / 2, coarse=sum(sizes) / 2)
    coarser = fit(LARGE, LADDER, little, 0.0, entire=True, progressive=False).encoded
    assert coarser.quality < QUALITY
    assert coarser.payloads[0][0] == 1
