"""A target that has a fault, to see that the fuzzer finds it and says so."""

from __future__ import annotations

MAX_LENGTH = 8


def seeds() -> list[bytes]:
    return [b"fine"]


def consume(data: bytes) -> None:
    if data[:1] == b"b" and data[1:2] == b"u" and data[2:3] == b"g":
        raise IndexError("this is the fault")
