"""The authority's index: the tokens that were made, the certificates that were given for them, and what was done.

One SQLite file, `edges.db` of the data centre's keys folder. All that is ever asked of it or written to it stands here.

Words owned here: index, event.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgesight.host.link.keys import KeysError, check_private

MAX_EVENTS = 10_000
AGAIN = "make keys with `edgesight keys make FOLDER` at the data centre, then enroll every edge"
_TABLES = """
CREATE TABLE tokens (
    id TEXT PRIMARY KEY, secret_sha256 BLOB NOT NULL, name TEXT NOT NULL, expires REAL NOT NULL, used REAL
) WITHOUT ROWID;
CREATE TABLE certificates (
    serial TEXT PRIMARY KEY, name TEXT NOT NULL, issued REAL NOT NULL, expires REAL NOT NULL, revoked REAL
) WITHOUT ROWID;
"""
_TABLES_2 = """
CREATE TABLE events (number INTEGER PRIMARY KEY, at REAL NOT NULL, name TEXT NOT NULL, what TEXT NOT NULL);
ALTER TABLE tokens ADD COLUMN replaces INTEGER NOT NULL DEFAULT 0;
PRAGMA user_version = 2;
"""
_VERSION = 2
# A column takes what is no number, too, and nothing here can work with that. A text is larger than every number.
_WRONG = """
SELECT 1 FROM certificates WHERE typeof(serial) != 'text' OR typeof(name) != 'text'
    OR NOT (issued BETWEEN 0 AND :last) OR NOT (expires BETWEEN 0 AND :last) OR NOT (revoked BETWEEN 0 AND :last)
UNION ALL SELECT 1 FROM tokens WHERE typeof(id) != 'text' OR typeof(name) != 'text' OR typeof(secret_sha256) != 'blob'
    OR NOT (expires BETWEEN 0 AND :last) OR NOT (used BETWEEN 0 AND :last)
UNION ALL SELECT 1 FROM events WHERE typeof(name) != 'text' OR typeof(what) != 'text' OR NOT (at BETWEEN 0 AND :last)
LIMIT 1
"""
_LAST = 250_000_000_000  # seconds since 1970: in the year 9892, the last thousand that calendars here have
# What SQLite says, and what to do: of a newer SQLite's names of errors Python 3.10 knows none.
_REMEDIES = {
    "locked": "another program has it: try again",
    "busy": "another program has it: try again",
    "full": "the disk is full: make room, then try again",
    "readonly": "it may not be written: look at the folder's owner and whether the disk is mounted read-only",
    "unable to open": "look at the folder's owner, and whether the disk is full or mounted read-only",
    "disk I/O": "the disk fails: look at the system's log; the keys may well be whole",
    "no such": "it is not as this version makes it: restore the folder from a backup, or {again}",
    "malformed": "it is damaged: restore the folder from a backup, or {again}",
    "not a database": "it is damaged: restore the folder from a backup, or {again}",
}
_EDGES = "SELECT name, issued, expires, revoked, serial FROM certificates"


@dataclass(frozen=True)
class Event:
    """Something that was done. `at` is in seconds since 1970."""

    at: float
    name: str  # of the edge
    what: str


@dataclass(frozen=True)
class Edge:
    """A line of the index: a certificate of an edge. Times are seconds since 1970."""

    name: str
    issued: float
    expires: float
    revoked: float | None
    serial: str = ""


def make_tables(path: Path) -> None:
    """Make the tables of a new index in the empty file at `path`; raises sqlite3.Error."""
    with contextlib.closing(sqlite3.connect(path)) as index:
        index.executescript(_TABLES + _TABLES_2)


class Index:
    """A connection to the index that goes with its name: where another file takes that place, it goes over to it.

    SQLite itself would go on with the file that it opened, whatever is written to the one that is there now. Every
    method may raise sqlite3.Error.
    """

    def __init__(self, path: Path, wait: float) -> None:
        """Not open before `follow`; waits up to `wait` seconds for who has the index locked."""
        self._opened = 0  # times: what SQLite says of versions holds for one opening
        self._file: tuple[int, int] | None = None  # device and inode
        self._path = path
        self._wait = wait
        self._connection: sqlite3.Connection | None = None

    def follow(self) -> None:
        """Open the file that is there, unless it is open; raises KeysError when it is none that may be used."""
        if self._connection is not None and self._connection.in_transaction:
            return
        try:
            # Looked at without being opened: closing it again would take away the locks that this process has on it.
            found, folder = self._path.stat(), self._path.parent.stat()
        except OSError as error:
            raise KeysError(
                f"{self._path} cannot be read ({error.strerror}): restore it from a backup, or {AGAIN}"
            ) from error
        file = found.st_dev, found.st_ino
        if file == self._file:
            return
        check_private(self._path, found, folder)
        self.close()
        # Autocommit, so that transactions begin and end where they are written. Never makes the file.
        where = f"{self._path.absolute().as_uri()}?mode=rw"
        self._connection = sqlite3.connect(
            where, uri=True, timeout=self._wait, isolation_level=None, check_same_thread=False
        )
        self._opened += 1
        self._bring_up_to_date()
        self._file = file

    def close(self) -> None:
        """Close the connection, if there is one."""
        self._file = None
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    @contextlib.contextmanager
    def faults(self) -> Iterator[None]:
        """Meanwhile what SQLite says goes on as a KeysError that says what to do."""
        try:
            yield
        except sqlite3.Error as error:
            said = str(error)
            remedy = next((remedy for words, remedy in _REMEDIES.items() if words in said), "try again")
            again = remedy.format(again=AGAIN)
            raise KeysError(f"{self._path} cannot be used ({said}): {again}") from error

    def execute(self, statement: str, values: Sequence[object] | Mapping[str, object] = ()) -> sqlite3.Cursor:
        """Run one statement; after `follow`."""
        assert self._connection is not None
        return self._connection.execute(statement, values)

    @contextlib.contextmanager
    def transaction(self) -> Iterator[None]:
        """Meanwhile nobody else writes; what was written holds unless an exception comes."""
        assert self._connection is not None
        self.execute("BEGIN IMMEDIATE")
        try:
            yield
            self.execute("COMMIT")
        except BaseException:
            if self._connection.in_transaction:  # of a full disk, say, SQLite has rolled back by itself
                self.execute("ROLLBACK")
            raise

    def version(self) -> object:
        """Another one after anybody else wrote to the index, or put another in its place."""
        return self._opened, self.execute("PRAGMA data_version").fetchone()

    # ------------------------------------------------------------------------------------------------ certificates

    def known(self) -> dict[str, tuple[str, float | None]]:
        """Name and time of revocation of every certificate, by serial number; sqlite3.Error where anything is wrong."""
        if self.execute(_WRONG, {"last": _LAST}).fetchall():
            raise sqlite3.DatabaseError("malformed: a value is of another kind than its column's, or a time is none")
        rows = self.execute("SELECT serial, name, revoked FROM certificates").fetchall()
        return {serial: (name, revoked) for serial, name, revoked in rows}

    def certificates(self) -> list[Edge]:
        """Every certificate that was given, by name, the oldest first."""
        return [Edge(*row) for row in self.execute(f"{_EDGES} ORDER BY name, issued")]

    def certificate(self, serial: str, name: str) -> Edge | None:
        """The certificate of that serial number, if it is of edge `name`."""
        row = self.execute(f"{_EDGES} WHERE serial = ? AND name = ?", (serial, name)).fetchone()
        return Edge(*row) if row is not None else None

    def newest(self, name: str) -> Edge | None:
        """The certificate of edge `name` that was given last."""
        row = self.execute(f"{_EDGES} WHERE name = ? ORDER BY issued DESC", (name,)).fetchone()
        return Edge(*row) if row is not None else None

    def live(self, name: str, at: float) -> bool:
        """Whether edge `name` may talk `at` that time."""
        found = self.execute(
            "SELECT 1 FROM certificates WHERE name = ? AND revoked IS NULL AND expires > ?", (name, at)
        ).fetchone()
        return found is not None

    def add_certificate(self, edge: Edge) -> None:
        """Enter a certificate."""
        self.execute(
            "INSERT INTO certificates VALUES (?, ?, ?, ?, NULL)", (edge.serial, edge.name, edge.issued, edge.expires)
        )

    def revoke(self, name: str, at: float) -> int:
        """Take back every certificate of edge `name`; returns how many there were."""
        return self.execute(
            "UPDATE certificates SET revoked = ? WHERE name = ? AND revoked IS NULL", (at, name)
        ).rowcount

    # ------------------------------------------------------------------------------------------------------ tokens

    def token(self, number: str) -> tuple[bytes, str, float, float | None, int] | None:
        """Of a token the secret's sha256, the edge's name, when it expires, when it was used, whether it replaces."""
        found: tuple[bytes, str, float, float | None, int] | None = self.execute(
            "SELECT secret_sha256, name, expires, used, replaces FROM tokens WHERE id = ?", (number,)
        ).fetchone()
        return found

    def add_token(self, number: str, secret_sha256: bytes, name: str, expires: float, replaces: bool) -> None:
        """Enter a token that nobody used yet."""
        self.execute(
            "INSERT INTO tokens VALUES (?, ?, ?, ?, NULL, ?)", (number, secret_sha256, name, expires, replaces)
        )

    def use_token(self, number: str, at: float) -> None:
        """A token was used `at` that time."""
        self.execute("UPDATE tokens SET used = ? WHERE id = ?", (at, number))

    def withdraw_tokens(self, name: str) -> int:
        """Take back every unused token for edge `name`; returns how many there were."""
        return self.execute("DELETE FROM tokens WHERE name = ? AND used IS NULL", (name,)).rowcount

    def forget_tokens(self, expired: float) -> None:
        """Forget tokens that had `expired` by that time."""
        self.execute("DELETE FROM tokens WHERE expires < ?", (expired,))

    # ------------------------------------------------------------------------------------------------------ events

    def events(self) -> list[Event]:
        """What was done of late, the oldest first."""
        return [Event(*row) for row in self.execute("SELECT at, name, what FROM events ORDER BY number")]

    def note(self, event: Event) -> None:
        """Write an event down, and forget the oldest beyond `MAX_EVENTS`."""
        self.execute("INSERT INTO events (at, name, what) VALUES (?, ?, ?)", (event.at, event.name, event.what))
        self.execute("DELETE FROM events WHERE number <= (SELECT max(number) FROM events) - ?", (MAX_EVENTS,))

    # ------------------------------------------------------------------------------------------------------ tables

    def _bring_up_to_date(self) -> None:
        """Give an index of an earlier version what it lacks; raises KeysError for one of a later."""
        version = self._version()
        if version > _VERSION:
            raise KeysError(
                f"{self._path} is of version {version}, this program reads {_VERSION}: install the EdgeSight that made "
                "it, or a newer one"
            )
        if version == _VERSION:
            return
        with self.transaction():
            if self._version() < _VERSION:  # no other process was quicker
                for statement in _TABLES_2.strip().split(";"):
                    self.execute(statement)

    def _version(self) -> int:
        return int(self.execute("PRAGMA user_version").fetchone()[0])
