"""Other servers that ours is measured beside: each in an environment of its own, which pip fills.

MLServer (Apache-2.0) serves the same ONNX files by ONNX Runtime with one thread, in a worker process as it does by
itself, through the runtime that stands beside this file and is copied to the models.

Words owned here: peer.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgesight.bench.service.environments import NotInstalled, environment
from edgesight.host.errors import EdgeSightError

# Its workers take the current event loop, which later uvloops give to none that did not set one.
PACKAGES = ("mlserver==1.7.1", "onnxruntime==1.31.1", "uvloop==0.21.0")
_RUNTIME = Path(__file__).with_name("mlserver_onnx.py")
_START_WITHIN_S, _END_WITHIN_S = 90.0, 10.0


class PeerError(EdgeSightError):
    """A peer that cannot be measured here: says why."""


@dataclass(frozen=True)
class Peer:
    """MLServer that runs: HOST:PORT of its gRPC, its own process, and those that run models."""

    grpc: str
    process: int
    workers: tuple[int, ...]


@contextlib.contextmanager
def mlserver(folder: Path, models: Mapping[str, Path]) -> Iterator[Peer]:
    """MLServer with models by name, ready, its environment, settings and log in `folder`; raises PeerError."""
    try:
        python = environment(folder / "environment", *PACKAGES)
    except NotInstalled as error:
        raise PeerError(
            f"MLServer is not here ({error}): look at what pip says, or leave it out by --no-peers"
        ) from error
    place = folder / "models"
    shutil.rmtree(place, ignore_errors=True)
    for name, file in models.items():
        (place / name).mkdir(parents=True)
        shutil.copy(file, place / name / "model.onnx")
        shutil.copy(_RUNTIME, place / name)
        settings = {"name": name, "implementation": f"{_RUNTIME.stem}.Onnx", "parameters": {"uri": "./model.onnx"}}
        (place / name / "model-settings.json").write_text(json.dumps(settings))
    http, grpc, metrics = _free_ports(3)
    own = {"host": "127.0.0.1", "http_port": http, "grpc_port": grpc, "metrics_port": metrics, "parallel_workers": 1}
    (place / "settings.json").write_text(json.dumps(own))
    log = folder / "mlserver.log"
    command = [str(python.with_name("mlserver")), "start", str(place)]
    with (
        log.open("wb") as said,
        subprocess.Popen(command, cwd=place, stdout=said, stderr=said, start_new_session=True) as process,
    ):
        try:
            _until_ready(process, f"http://127.0.0.1:{http}/v2/health/ready", log)
            yield Peer(f"127.0.0.1:{grpc}", process.pid, _children(process.pid))
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(_END_WITHIN_S)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def _until_ready(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    until = time.monotonic() + _START_WITHIN_S
    while True:
        with contextlib.suppress(urllib.error.URLError, OSError), urllib.request.urlopen(url, timeout=1.0):
            return
        if process.poll() is not None or time.monotonic() > until:
            raise PeerError(f"MLServer does not start: see its log {log}")
        time.sleep(0.25)


def _children(process: int) -> tuple[int, ...]:
    found = Path(f"/proc/{process}/task").glob("*/children")
    return tuple(int(child) for file in found for child in file.read_text().split())


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as opened:
        sockets = [opened.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]
