"""Bitstreams in the form that Vivado writes them."""

from __future__ import annotations

import struct

HEAD = bytes.fromhex("00090ff00ff00ff00ff0000001")


def bit_file(data: bytes) -> bytes:
    """A .bit file as Vivado writes it around a configuration."""
    fields = ((b"a", b"system_wrapper;UserID=0XFFFFFFFF\0"), (b"b", b"xck26-sfvc784-2LV-c\0"), (b"c", b"2026/11/28\0"))
    text = b"".join(key + struct.pack(">H", len(value)) + value for key, value in (*fields, (b"d", b"07:49:10\0")))
    return HEAD + text + b"e" + struct.pack(">I", len(data)) + data
