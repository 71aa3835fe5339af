"""Compressed HTTP bodies: gzip and deflate, both ways, bounded."""

from __future__ import annotations

import zlib

ENCODINGS = ("gzip", "deflate")
_WORTH_IT = 1_024  # bytes
_GZIP, _ZLIB = 16 + zlib.MAX_WBITS, zlib.MAX_WBITS
_LEVEL = 1  # an answer should not wait for the last few per cent


class TooLarge(Exception):
    """What a body unpacks to is more than a message may hold."""


class Damaged(Exception):
    """A body is not compressed as it says."""


def unpack(body: bytes, encoding: str, most: int) -> bytes:
    """What a body of one of the `ENCODINGS` unpacks to; raises TooLarge as soon as it is beyond `most` bytes, and
    Damaged."""
    unpacker = zlib.decompressobj(_GZIP if encoding == "gzip" else _ZLIB)
    try:
        content = unpacker.decompress(body, most + 1)
    except zlib.error as error:
        raise Damaged(str(error)) from error
    if len(content) > most:
        raise TooLarge
    if not unpacker.eof:
        raise Damaged("it ends too early")
    if unpacker.unused_data:
        raise Damaged("something stands behind it")
    return content


def pack(body: bytes, encoding: str) -> bytes:
    """`body` in one of the `ENCODINGS`."""
    packer = zlib.compressobj(_LEVEL, wbits=_GZIP if encoding == "gzip" else _ZLIB)
    return packer.compress(body) + packer.flush()


def chosen(accepted: str, size: int) -> str | None:
    """In which encoding a body of `size` bytes goes to a client that sent `accepted`; None: as it is."""
    if size < _WORTH_IT:
        return None
    weights: dict[str, float] = {}
    for part in accepted.lower().split(","):
        name, _, weight = part.partition(";")
        try:
            weights[name.strip()] = float(weight.strip()[2:]) if weight.strip().startswith("q=") else 1.0
        except ValueError:
            weights[name.strip()] = 0.0
    every = weights.get("*", 0.0)
    best = max(ENCODINGS, key=lambda encoding: weights.get(encoding, every))
    return best if weights.get(best, every) > 0 else None
