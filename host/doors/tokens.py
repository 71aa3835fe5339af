"""Bearer tokens of clients: a file of their hashes, made and taken back by name.

A token is `edgesight_ID_SECRET`. The file knows the secret's SHA-256 alone: it has 256 random bits, so nothing slower
is needed. A door sees with its next request what was made or taken back.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import hmac
import json
import os
import re
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, TypeAdapter, ValidationError

from edgesight.host.doors.access import Client, Role
from edgesight.host.files import remove_leftovers, write_atomically
from edgesight.host.link.keys import KeysError, check_edge_name, read_private

_TOKEN = re.compile(r"edgesight_([0-9a-f]{16})_([A-Za-z0-9_-]{43})")
_AGAIN = "restore it from a backup, or remove it and make tokens anew"
_NONE = bytes(32)


@dataclass(frozen=True)
class Entry:
    """A token that was made. Times are seconds since 1970; `expires` None: never."""

    id: str
    name: str
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]  # of the secret
    manages: bool
    made: float
    expires: float | None = None


_ENTRIES = TypeAdapter(list[Entry])


def make_token(path: Path, name: str, *, manages: bool = False, life: float | None = None) -> str:
    """A new token for client `name`, for `life` seconds, whose hash goes into the file at `path`; raises KeysError.

    A name has one token: another is made when that was revoked.
    """
    check_edge_name(name)
    number, secret, made = secrets.token_hex(8), secrets.token_urlsafe(32), time.time()
    with _writing(path) as entries:
        if any(entry.name == name for entry in entries):
            raise KeysError(f"client {name!r} has a token: revoke it, or choose another name")
        expires = None if life is None else made + life
        entries.append(Entry(number, name, hashlib.sha256(secret.encode()).hexdigest(), manages, made, expires))
    return f"edgesight_{number}_{secret}"


def revoke_token(path: Path, name: str) -> None:
    """Take the token of client `name` back; raises KeysError where there is none."""
    with _writing(path) as entries:
        kept = [entry for entry in entries if entry.name != name]
        if len(kept) == len(entries):
            names = ", ".join(sorted(entry.name for entry in entries)) or "none"
            raise KeysError(f"no client {name!r} has a token: name one that has: {names}")
        entries[:] = kept


def read_tokens(path: Path) -> list[Entry]:
    """All tokens in the file at `path`, none where it is not there; raises KeysError where it cannot be used."""
    if not path.exists():
        return []
    try:
        return _ENTRIES.validate_json(read_private(path, _AGAIN))
    except ValidationError as error:
        raise KeysError(f"{path} holds no tokens ({error.errors()[0]['msg']}): {_AGAIN}") from error


class Tokens:
    """The tokens of a file, as it is now."""

    def __init__(self, path: Path, clock: Callable[[], float] = time.time) -> None:
        """Raises KeysError where the file is there and cannot be used."""
        self._path, self._clock = path, clock
        self._seen: tuple[int, int, int] | None = None
        self._entries: dict[str, Entry] = {}
        self._follow()

    def find(self, token: str) -> Client | None:
        """The client of `token`; None for one that is unknown or ended. Raises KeysError."""
        self._follow()
        read = _TOKEN.fullmatch(token)
        number, secret = read.groups() if read is not None else ("", "")
        entry = self._entries.get(number)
        known = bytes.fromhex(entry.sha256) if entry is not None else _NONE
        # Compared in any case, so that time does not tell which ids there are.
        same = hmac.compare_digest(known, hashlib.sha256(secret.encode()).digest())
        if entry is None or not same or (entry.expires is not None and self._clock() > entry.expires):
            return None
        return Client(entry.name, Role.MANAGE if entry.manages else Role.ASK)

    def _follow(self) -> None:
        try:
            found = os.stat(self._path)
            seen = (found.st_ino, found.st_mtime_ns, found.st_size)
        except FileNotFoundError:
            seen = (0, 0, 0)
        if seen != self._seen:
            self._entries = {entry.id: entry for entry in read_tokens(self._path)}
            self._seen = seen


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[list[Entry]]:
    """Meanwhile nobody else changes the tokens; they are written unless an exception comes."""
    try:
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            fcntl.flock(folder, fcntl.LOCK_EX)
            entries = read_tokens(path)
            yield entries
            remove_leftovers(path)
            write_atomically(path, json.dumps([asdict(entry) for entry in entries], indent=1).encode(), mode=0o600)
        finally:
            os.close(folder)
    except OSError as error:
        raise KeysError(f"{path} cannot be written ({error.strerror}): look at the folder and the disk") from error
