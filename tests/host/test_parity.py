"""What parity strips promise is kept: as many lost strips as there are parity strips come back, byte for byte."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from edgesight.host.link.datagrams import LinkError
from edgesight.host.link.parity import encode, enough, recover, strips_for


@settings(deadline=None)
@given(st.data())
def test_any_strips_lost_up_to_the_parity_come_back_exactly(data: st.DataObject) -> None:
    strips = data.draw(st.lists(st.binary(max_size=40), min_size=1, max_size=40))
    parity = data.draw(st.integers(1, 12))
    coded = encode(strips, parity)
    indices = range(len(strips) + parity)
    lost = data.draw(st.sets(st.sampled_from(indices), max_size=parity))
    came = {index: strip for index, strip in enumerate(strips) if index not in lost}
    spare = {index: strip for index, strip in enumerate(coded) if index + len(strips) not in lost}
    assert enough(came, spare, len(strips))
    assert came | recover(came, spare, len(strips)) == dict(enumerate(strips))


@pytest.mark.parametrize("count", [160, 161, 500, 4_000])
def test_many_strips_are_dealt_out_to_groups(count: int) -> None:
    generator = random.Random(count)
    strips = [generator.randbytes(generator.randint(0, 9)) for _ in range(count)]
    coded = encode(strips, 64)
    spare = dict(enumerate(coded))
    burst = range(17, 17 + 48)  # lost one behind the other: spread over the groups
    came = {index: strip for index, strip in enumerate(strips) if index not in burst}
    assert enough(came, spare, count)
    assert recover(came, spare, count) == {index: strips[index] for index in burst}


def test_too_few_are_not_enough() -> None:
    strips = [b"a", b"bc", b"def"]
    coded = dict(enumerate(encode(strips, 2)))
    assert not enough({}, coded, 3)
    assert not enough({0: b"a"}, {1: coded[1]}, 3)
    assert enough({0: b"a"}, coded, 3)


@given(st.dictionaries(st.integers(0, 5), st.binary(max_size=20)), st.dictionaries(st.integers(0, 5), st.binary()))
def test_any_bytes_are_recovered_from_or_a_link_error(came: dict[int, bytes], coded: dict[int, bytes]) -> None:
    if not enough(came, coded, 6):
        return
    try:
        recovered = recover(came, coded, 6)
    except LinkError:
        return
    assert sorted(came | recovered) == list(range(6))


@pytest.mark.parametrize("count", [1, 4, 30, 150])
@pytest.mark.parametrize("loss", [0.002, 0.012, 0.05, 0.13])
def test_as_many_parity_strips_as_the_risk_asks_for_and_none_more(count: int, loss: float) -> None:
    parity = strips_for(count, loss, risk=0.01)
    assert binom.sf(parity, count + parity, loss) <= 0.01
    assert parity == 0 or binom.sf(parity - 1, count + parity - 1, loss) > 0.01
