"""Whoever asks an edge and its data centre in a run with faults, and writes down what was done and what came back.

Words owned here: unsure (a picture that the fabric hands on under the highest target).
"""

from __future__ import annotations

import asyncio
import json
import socket
import time
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgesight.bench.watch.run_log import Asked, Meant, RunLog, Said
from edgesight.bench.watch.scraping import ScrapeError, get
from edgesight.host.queries import query

ENOUGH_MS = 20_000.0  # deadline, for whatever comes
_HOST = "127.0.0.1"
_AT_ONCE = 8
_WITHIN_S = 60.0
_LOOK_EVERY_S = 0.05
_CAME = 'edgesight_link_strips_total{what="came"}'


@dataclass(frozen=True)
class Places:
    """Where everything is, HOST:PORT each."""

    link: str
    http: str
    centre: str  # its port for health
    edge_http: str
    edge: str
    prometheus: str


class Asker:
    """Asks; `log` is what was done and what came back."""

    def __init__(self, name: str, highest: float, at: Places, edge_socket: Path) -> None:
        """An application, its `highest` target, and where everything is."""
        self.log = RunLog()
        self.life = 1
        self.unsure: list[Path] = []
        self._name, self._highest, self._at, self._socket = name, highest, at, edge_socket

    def link(self) -> float:
        """Whether the edge is connected, as it says at its port for health."""
        text = str(get(self._at.edge, "/metrics"))
        return next(
            float(line.split()[-1]) for line in text.splitlines() if line.startswith("edgesight_link_connected")
        )

    async def until(self, what: str, reached: Callable[[], bool]) -> None:
        """Wait until `reached` says so; raises ScrapeError where it never does."""
        until = time.monotonic() + _WITHIN_S
        while not await asyncio.to_thread(reached):
            if time.monotonic() > until:
                raise ScrapeError(f"{what}: not within {_WITHIN_S:g} s: run it again on a machine with less to do")
            await asyncio.sleep(_LOOK_EVERY_S)

    def stats(self, address: str) -> list[Any]:
        """The statistics of all models behind a door."""
        return list(get(address, "/v2/models/stats")["model_stats"])

    async def ask(self, pictures: Sequence[Path], accuracy: float, deadline_ms: float, meant: Meant = "") -> None:
        """Over the socket."""
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(picture: Path) -> Said:
            async with room:
                answer = await asyncio.to_thread(query, self._socket, picture, accuracy, deadline_ms)
            said = Said.of_answer(answer, self.life, meant)
            if said.stage == "datacenter" and accuracy == self._highest and picture not in self.unsure:
                self.unsure.append(picture)
            return said

        self.log.said += await asyncio.gather(*map(one, pictures))

    async def ask_door(
        self, picture: Path, accuracy: float, deadline_ms: float, meant: Meant = "", refused: bool = False
    ) -> None:
        """Over HTTP; `refused`: it is to be."""
        status, told = await post(self._at.edge_http, self._path(), self._body(picture, accuracy, deadline_ms))
        if (status != 200) != refused:
            raise ScrapeError(f"the edge's door said {status}, {told}: see its log")
        if refused:
            self.log.edge_door.failed += 1
        else:
            self.log.edge_door.took(1)
            self.log.said.append(Said.of_parameters(told["parameters"], self.life, meant))

    async def take_back(self, picture: Path, when: asyncio.Event) -> None:
        """Ask over HTTP, and hang up."""
        asking = asyncio.create_task(
            post(self._at.edge_http, self._path(), self._body(picture, self._highest, ENOUGH_MS))
        )
        await when.wait()
        if asking.done():
            raise ScrapeError("an answer came while the model stood still: run it again on a machine with less to do")
        asking.cancel()
        await asyncio.gather(asking, return_exceptions=True)
        self.log.taken_back[self.life] += 1

    def _path(self) -> str:
        return f"/v2/models/{self._name}/infer"

    def _body(self, picture: Path, accuracy: float, deadline_ms: float) -> dict[str, Any]:
        pixels = _pixels(picture)
        taken = {"name": "picture", "datatype": "UINT8", "shape": [1, *pixels.shape], "data": pixels.ravel().tolist()}
        return {"inputs": [taken], "parameters": {"accuracy": accuracy, "deadline_ms": deadline_ms}}

    async def ask_centre(self, model: str, rows: int, right: bool = True) -> None:
        """Rows of a model at the data centre's own doors; not `right`: of a shape that it does not take."""
        (port,) = (await asyncio.to_thread(get, self._at.http, f"/v2/models/{model}"))["inputs"]
        shape = [rows, *map(int, port["shape"][1:])]
        if not right:
            shape[-1] += 1
        taken = {"name": port["name"], "datatype": port["datatype"], "shape": shape}
        data = [0] * int(np.prod(shape))
        status, told = await post(self._at.http, f"/v2/models/{model}/infer", {"inputs": [{**taken, "data": data}]})
        if (status == 200) != right:
            raise ScrapeError(f"the data centre's door said {status}, {told}: see its log")
        asked = self.log.doors.setdefault(self.life, {}).setdefault(model, Asked())
        if right:
            asked.took(rows)
        else:
            asked.failed += 1

    async def there(self, asking: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Ask, and wait until strips of the picture are at the data centre."""
        came = await asyncio.to_thread(self.came)
        task = asyncio.create_task(asking)
        await self.until("a picture at the data centre", lambda: self.came() > came)
        return task

    def came(self) -> float:
        """Strips that came to the data centre: by which it is known that pictures are there."""
        text = str(get(self._at.centre, "/metrics"))
        return next(float(line.split()[-1]) for line in text.splitlines() if line.startswith(_CAME))

    def ready(self, model: str) -> bool:
        """Whether a model of the data centre takes requests."""
        try:
            get(self._at.http, f"/v2/models/{model}/ready")
        except OSError:
            return False
        return True


def _pixels(path: Path) -> npt.NDArray[np.uint8]:
    pixels = np.asarray(Image.open(path), np.uint8)
    return pixels if pixels.ndim == 3 else pixels[..., None]


async def post(address: str, path: str, body: Any) -> tuple[int, Any]:
    """Status and JSON; cancelled, it hangs up."""
    host, port = address.split(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        content = json.dumps(body).encode()
        head = f"POST {path} HTTP/1.1\r\nHost: {address}\r\nContent-Type: application/json\r\n"
        writer.write(f"{head}Content-Length: {len(content)}\r\nConnection: close\r\n\r\n".encode() + content)
        answer = await reader.read()
    finally:
        writer.close()
    told, _, content = answer.partition(b"\r\n\r\n")
    return int(told.split()[1]), json.loads(content) if content else None


def free(kind: socket.SocketKind) -> str:
    """HOST:PORT that nobody has just now."""
    with socket.socket(socket.AF_INET, kind) as taken:
        taken.bind((_HOST, 0))
        return f"{_HOST}:{taken.getsockname()[1]}"
