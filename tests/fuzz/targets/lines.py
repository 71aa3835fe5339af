"""Anything as a connection's first line, from either side, of edges that are known or enroll."""

from __future__ import annotations

import json

from pydantic import BaseModel, ValidationError

from edgesight.host.link.enrollment import MAX_LINE, Enroll, Enrolled
from edgesight.host.link.quic import Hello, Welcome
from tests.fuzz.documents import edited

MODELS: list[type[BaseModel]] = [Hello, Welcome, Enroll, Enrolled]
MAX_LENGTH = MAX_LINE


_ZEROS = "0" * 64
LINES: list[dict[str, object]] = [
    {"protocol": 5, "jpeg_tables": _ZEROS},
    {"protocol": 5, "jpeg_tables": _ZEROS, "request": "-----BEGIN"},
    {"protocol": 5, "model_sha256": _ZEROS, "input_shape": [28, 28, 1], "classes": 10, "session": 7},
    {"protocol": 1, "token": _ZEROS[:16], "secret": _ZEROS, "request": "x"},
    {"protocol": 1, "name": "door", "certificate": "x"},
]


def seeds() -> list[bytes]:
    return [json.dumps(line).encode() for line in LINES] + [bytes([number, 0, 1, 5]) for number in range(len(LINES))]


def consume(data: bytes) -> None:
    if data and data[0] < len(LINES):  # no text begins with so low a byte
        data = edited(LINES[data[0]], data[1:])
    for model in MODELS:
        try:
            message = model.model_validate_json(data)
        except ValidationError:
            continue
        assert model.model_validate_json(message.model_dump_json()) == message, message
