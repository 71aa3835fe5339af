"""Parity strips: what lost strips are recovered from, exactly.

A Reed-Solomon code over GF(256) whose parity rows are a Cauchy matrix: with m parity strips any m lost strips of a
group come back, whichever they are, where exclusive-or over m interleaved groups brings back one of each (Bloemer et
al., "An XOR-based erasure-resilient coding scheme", ICSI TR-95-048). Each strip is coded with its length before it and
zeros behind it, so that strips may differ in length. Images of more strips than a group holds are dealt out to several
groups in turn.

Words owned here: group, row.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from edgesight.host.link.datagrams import MAX_PARITY, LinkError

PREFIX = 2  # bytes by which a parity strip is longer than the longest strip
RISK = 0.02  # that parity strips are too few, and the rest is concealed
_GROUP = 160  # strips; with their parity strips fewer than the field's elements
_POLYNOMIAL = 0x11D  # x^8 + x^4 + x^3 + x^2 + 1, whose root 2 generates the field

Bytes = npt.NDArray[np.uint8]


def _tables() -> tuple[Bytes, Bytes]:
    """Products [256, 256] and inverses [256] (of 0: 0) in GF(256)."""
    powers = np.zeros(255, np.int64)
    value = 1
    for exponent in range(255):
        powers[exponent] = value
        value <<= 1
        if value > 0xFF:
            value ^= _POLYNOMIAL
    logarithms = np.zeros(256, np.int64)
    logarithms[powers] = np.arange(255)
    products = np.zeros((256, 256), np.uint8)
    products[1:, 1:] = powers[(logarithms[1:, None] + logarithms[None, 1:]) % 255]
    inverses = np.zeros(256, np.uint8)
    inverses[1:] = powers[-logarithms[1:] % 255]
    return products, inverses


_PRODUCTS, _INVERSES = _tables()


def strips_for(count: int, loss: float, risk: float = RISK) -> int:
    """How many parity strips `count` strips need so that losing more than them has at most the probability `risk`.

    Losses are taken for independent, at rate `loss`; at most `MAX_PARITY`, and none where concealing is no worse.
    """
    parity = 0
    while parity < MAX_PARITY and _more_than(parity, count + parity, loss) > risk:
        parity += _groups(count)
    return min(parity, MAX_PARITY)


def encode(strips: Sequence[bytes], parity: int) -> list[bytes]:
    """`parity` parity strips of `strips`, the longest of which has fewer than 65,536 bytes."""
    if not parity:
        return []
    size = max(map(len, strips)) + PREFIX
    rows = np.stack([_row(strip, size) for strip in strips])
    groups = _groups(len(strips))
    coded = []
    for index in range(parity):
        group, place = index % groups, index // groups
        coded.append(_combine(_coefficients(place, len(rows[group::groups])), rows[group::groups]).tobytes())
    return coded


def enough(strips: Mapping[int, bytes], coded: Mapping[int, bytes], count: int) -> bool:
    """Whether all of `count` strips can be had from the `strips` and parity strips (`coded`) that came, by index."""
    groups = _groups(count)
    spare = [0] * groups
    for index in coded:
        spare[index % groups] += 1
    if len(strips) + len(coded) < count:
        return False
    for index in range(count):
        if index not in strips:
            spare[index % groups] -= 1
    return min(spare) >= 0


def recover(strips: Mapping[int, bytes], coded: Mapping[int, bytes], count: int) -> dict[int, bytes]:
    """The strips that did not come, by index, where `enough`; raises LinkError when the lengths contradict another."""
    recovered: dict[int, bytes] = {}
    groups = _groups(count)
    for group in range(groups):
        members = range(group, count, groups)
        lost = [place for place, index in enumerate(members) if index not in strips]
        if not lost:
            continue
        rows = [index for index in sorted(coded) if index % groups == group][: len(lost)]
        sizes = {len(coded[index]) for index in rows}
        longest = max((len(strips[index]) for index in members if index in strips), default=0) + PREFIX
        if len(sizes) != 1 or max(sizes) < longest:
            raise LinkError(f"parity strips of {sorted(sizes)} bytes: expected one length of at least {longest}")
        size = sizes.pop()
        came = [place for place, index in enumerate(members) if index in strips]
        known = (
            np.stack([_row(strips[members[place]], size) for place in came]) if came else np.zeros((0, size), np.uint8)
        )
        matrix = np.stack([_coefficients(index // groups, len(members)) for index in rows])
        sums = np.stack([np.frombuffer(coded[index], np.uint8) for index in rows])
        for row, coefficients in enumerate(matrix):
            sums[row] ^= _combine(coefficients[came], known)
        for place, content in zip(lost, _solve(matrix[:, lost], sums), strict=True):
            length = int(content[0]) << 8 | int(content[1])
            if length > size - PREFIX:
                raise LinkError(f"a recovered strip has {length} of {size - PREFIX} bytes: the sender is faulty")
            recovered[members[place]] = content[PREFIX : PREFIX + length].tobytes()
    return recovered


def _more_than(most: int, sent: int, loss: float) -> float:
    """Probability that more than `most` of `sent` strips are lost: the upper tail of the binomial distribution."""
    return 1.0 - sum(math.comb(sent, lost) * loss**lost * (1.0 - loss) ** (sent - lost) for lost in range(most + 1))


def _groups(count: int) -> int:
    return -(-count // _GROUP)


def _coefficients(place: int, columns: int) -> Bytes:
    """Row `place` of the Cauchy matrix 1 / (x + y) with x = 255, 254, ... for rows and y = 0, 1, ... for columns."""
    row: Bytes = _INVERSES[(255 - place) ^ np.arange(columns)]
    return row


def _row(strip: bytes, size: int) -> Bytes:
    row = np.zeros(size, np.uint8)
    row[0], row[1] = divmod(len(strip), 256)
    row[PREFIX : PREFIX + len(strip)] = np.frombuffer(strip, np.uint8)
    return row


def _combine(coefficients: Bytes, rows: Bytes) -> Bytes:
    """Sum of `rows` [n, size], each times its one of `coefficients` [n]."""
    total: Bytes = np.bitwise_xor.reduce(_PRODUCTS[coefficients[:, None], rows], axis=0)
    return total


def _solve(matrix: Bytes, sums: Bytes) -> Bytes:
    """Gauss-Jordan elimination of `matrix` [n, n], regular, on `sums` [n, size]."""
    matrix, sums = matrix.copy(), sums.copy()
    for column in range(len(matrix)):
        # Every square part of a Cauchy matrix is regular, and so are its leading parts: no pivot is ever 0.
        scale = _INVERSES[matrix[column, column]]
        matrix[column], sums[column] = _PRODUCTS[scale, matrix[column]], _PRODUCTS[scale, sums[column]]
        for row in range(len(matrix)):
            factor = matrix[row, column]
            if row != column and factor:
                matrix[row] ^= _PRODUCTS[factor, matrix[column]]
                sums[row] ^= _PRODUCTS[factor, sums[column]]
    return sums
