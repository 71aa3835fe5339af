"""Anything at the edge's Unix socket, and anything that answers there."""

from __future__ import annotations

import asyncio
import json

from pydantic import ValidationError

from edgesight.host.edge import EdgeError
from edgesight.host.queries import _LENGTH, _first_fault, _Query, _read_header, _read_picture, _Reload, _Response

MAX_LENGTH = 4_096


def seeds() -> list[bytes]:
    query = {"protocol": 1, "name": "picture.png", "size": 4, "accuracy": 0.9, "deadline_ms": 50.0}
    header = json.dumps(query).encode()
    refusal = json.dumps({"protocol": 1, "refusal": {"kind": "image", "message": "none", "best": None}}).encode()
    told = json.dumps({"protocol": 1, "reload": True}).encode()
    return [_LENGTH.pack(len(header)) + header + b"abcd", *(_LENGTH.pack(len(one)) + one for one in (refusal, told))]


async def _read(reader: asyncio.StreamReader) -> tuple[_Query | _Reload, bytes]:
    header = await _read_header(reader)
    if isinstance(header, _Reload):
        return header, b""
    return header, await _read_picture(reader, header.size)


def consume(data: bytes) -> None:
    reader = asyncio.StreamReader(loop=_LOOP)
    reader.feed_data(data)
    reader.feed_eof()
    reading = _read(reader)
    try:
        reading.send(None)
    except StopIteration as done:
        header, content = done.value
        assert len(content) == (header.size if isinstance(header, _Query) else 0)
    except ValidationError as error:
        _first_fault(error).encode()  # what the asker is told
    except (EdgeError, asyncio.IncompleteReadError):
        pass
    else:
        raise AssertionError("all is there, and it still waits")
    try:
        _Response.model_validate_json(data[_LENGTH.size :])
    except ValidationError:
        return


_LOOP = asyncio.new_event_loop()  # never runs: everything is there before it is read
