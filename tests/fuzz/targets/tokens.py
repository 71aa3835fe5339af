"""Anything as an enrollment token, with a right check sequence, too, which chance would not find."""

from __future__ import annotations

import base64
import hashlib

from edgesight.host.link.enrollment import Token
from edgesight.host.link.keys import KeysError

MAX_LENGTH = 400
_CHECKED = b"\x01"  # what follows is a token's content, and gets its check sequence here


def seeds() -> list[bytes]:
    text = Token(bytes(32), bytes(8), bytes(32), "127.0.0.1", 4433).pack()
    content = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))[:-4]
    return [b"\x00" + text.encode(), _CHECKED + content, _CHECKED + content[:-9] + "büro.example".encode()]


def consume(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    if kind == _CHECKED:
        content = base64.urlsafe_b64encode(content + hashlib.sha256(content).digest()[:4])
    try:
        token = Token.parse(content.decode(errors="surrogateescape"))  # as a command line's arguments are decoded
    except KeysError:
        return
    assert Token.parse(token.pack()) == token
