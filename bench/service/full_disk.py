"""A data centre whose keys, tokens, models, log and temporary files lie on a disk that is full.

The disk is a tmpfs of a few MB, mounted for that in the bench's own folder. Mounting it needs root.

Words owned here: disk.
"""

from __future__ import annotations

import contextlib
import errno
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import numpy as np

from edgesight.bench.kept import ROOT
from edgesight.bench.link.programs import ACCURACY, offloading_package
from edgesight.bench.service.outcome import Outcome
from edgesight.bench.service.program import Service, asked, client_of, command, doubles, edge, serving, wait_for
from edgesight.bench.service.tiny import put, scaled
from edgesight.host.errors import EdgeSightError
from edgesight.host.queries import query
from edgesight.sim.link.trust import make_trust

_MEGABYTES, _FILES = 4, 200
_LONG_S = 60.0
_PACKAGE = ROOT / "bitstreams" / "digits"


def full_disk(place: Path, outcome: Outcome) -> None:
    """Commands say which file there is no room for; the service, which writes next to nothing, goes on."""
    try:
        with _mounted(place / "disk") as disk:
            _fill_and_ask(place, disk, outcome)
    except PermissionError as error:
        outcome.skipped["full disk"] = str(error)


@contextlib.contextmanager
def _mounted(disk: Path) -> Iterator[Path]:
    """A small disk; PermissionError where none can be mounted."""
    disk.mkdir(exist_ok=True)
    options = f"size={_MEGABYTES}m,nr_inodes={_FILES},mode=700"
    command = ["mount", "-t", "tmpfs", "-o", options, "edgesight-bench", str(disk)]
    try:
        mounting = subprocess.run(command, capture_output=True, text=True, check=False)
    except FileNotFoundError as error:
        raise PermissionError("there is no `mount` here") from error
    if mounting.returncode:
        raise PermissionError(f"mounting a small disk needs root ({mounting.stderr.strip()})")
    try:
        yield disk
    finally:
        subprocess.run(["umount", "--lazy", str(disk)], check=False)


def _fill_and_ask(place: Path, disk: Path, outcome: Outcome) -> None:
    from edgesight.hls.csim import build_library

    trust = make_trust(disk)
    package = offloading_package(_PACKAGE, place / "package")
    build_library(package)
    np.save(place / "picture.npy", np.load(_PACKAGE / "vectors.npz")["images"][0])
    models, tokens, keys = disk / "models", disk / "tokens.json", trust.datacenter
    put(models, "double", scaled(2.0))
    put(models, "later", scaled(2.0))
    (disk / "tmp").mkdir()
    command("keys", "token", "first", "--tokens", tokens)
    held = tokens.read_bytes()
    words = [package.path, "--keys", keys, "--repository", models, "--load", "double"]
    environment = {"TMPDIR": str(disk / "tmp"), "EDGESIGHT_LOG": "debug"}
    with serving(disk / "log", *words, link=True, environment=environment) as service, client_of(service) as client:
        late = command("datacenter", "enroll", "late", "--keys", keys, "--address", service.link)
        (place / "token").write_text(late.stdout)
        _fill(disk)
        there = disk.as_posix()
        for name, line in {
            "a token for an edge": ("datacenter", "enroll", "another", "--keys", keys),
            "a client's certificate": ("datacenter", "client", "one", disk / "one", "--keys", keys),
            "a client's token": ("keys", "token", "second", "--tokens", tokens),
            "an edge taken back": ("datacenter", "revoke", "door", "--keys", keys),
            "another data centre's keys": ("keys", "make", disk / "others"),
        }.items():
            done = command(*line)
            said = done.stderr.strip()
            good = done.returncode == 1 and there in said and "\n" not in said and _says_full(said)
            outcome.holds(f"{name}: an error that names it", good, f"{done.returncode}: {said}")
        outcome.holds("tokens stay as they were", tokens.read_bytes() == held, tokens.read_bytes())
        outcome.holds("the service answers", doubles(client), service.said()[-500:])
        why = _loaded(client, "later")
        outcome.holds("a model is loaded", not why, why)
        enrolling = ("edge", "--enroll", place / "token", "--keys", place / "late-keys")
        done = command(*enrolling)
        outcome.holds(
            "an edge is told that it cannot be enrolled now",
            done.returncode == 1 and "\n" not in done.stderr.strip(),
            done.stderr,
        )
        _as_an_edge(place, service, trust.edge, package.path, outcome)
        (disk / "filling").unlink()
        for file in disk.glob("filling-*"):
            file.unlink()
        done = command(*enrolling)
        outcome.holds("with room again, the same token enrolls", done.returncode == 0, done.stderr)
        outcome.holds("the service answers afterwards", doubles(client), service.said()[-500:])
        outcome.at_most("exceptions that nobody handled", service.faults(), 0, "exceptions")


def _says_full(said: str) -> bool:
    """In the system's words, or in SQLite's."""
    return any(words in said for words in (os.strerror(errno.ENOSPC), "is full", "make room"))


def _fill(disk: Path) -> None:
    """Leave no byte, and no file."""
    with contextlib.suppress(OSError), (disk / "filling").open("wb", buffering=0) as file:
        while file.write(bytes(4096)):
            pass
    with contextlib.suppress(OSError):
        for number in range(_FILES):
            (disk / f"filling-{number}").touch()


def _loaded(client: object, name: str) -> str:
    """Why a model cannot be loaded; empty where it is, and answers."""
    import tritonclient.grpc as triton

    try:
        client.load_model(name, client_timeout=_LONG_S)  # type: ignore[attr-defined]
    except triton.InferenceServerException as error:
        return str(error.message())
    found, why = asked(client, name, "x", np.array([[1, 2, 3, 4]], np.float32))
    return "" if found is not None else why


def _as_an_edge(place: Path, service: Service, keys: Path, package: Path, outcome: Outcome) -> None:
    """An edge that was enrolled before comes in now, and is answered."""
    socket = place / "edge.sock"
    words = [package, "--fabric", "csim", "--socket", socket, "--keys", keys, "--datacenter", service.link]
    with edge(place / "edge.log", *words):

        def sound() -> bool:
            answer = query(socket, place / "picture.npy", ACCURACY, 2_000.0)
            return answer.stage == "datacenter" and not answer.degraded

        try:
            wait_for("an answer of the data centre's", sound, _LONG_S)
            why = ""
        except EdgeSightError as error:
            why = str(error)
    outcome.holds("an edge that is enrolled comes in and is answered", not why, why)
