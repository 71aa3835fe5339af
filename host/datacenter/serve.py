"""A data centre from its files to its end: keys and model are opened, edges let in, requests answered."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.datacenter.service import Service
from edgesight.host.kernel import BackEndInput
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.server import MAX_EDGES, Server, check_sound
from edgesight.host.process import run_until_told

_RENEW_EVERY = 3_600.0  # seconds between looks at the data centre's own certificate


def serve(
    model: Path,
    keys_folder: Path,
    *,
    form: BackEndInput | None = None,
    at: tuple[str, int] = ("127.0.0.1", 4433),
    expected_sha256: str | None = None,
    threads: int = 1,
    max_edges: int = MAX_EDGES,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve the ONNX `model` at a UDP host and port (0 chooses one) until SIGINT or SIGTERM; a second one ends at once.

    `announce` gets one line, with the address, once requests are taken. `form` is the package's `backend_input`, and
    `expected_sha256` its calibration's `backend_sha256`; `max_edges` may be connected at a time. Raises KeysError,
    ModelError or LinkError before anything is served.
    """
    check_sound()
    authority = Authority(keys_folder)
    configuration = authority.configuration(IDLE_TIMEOUT)
    executor = OnnxModel(model, form, expected_sha256, threads)

    async def renew() -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            authority.renew_own(configuration)  # connections that begin from now on are shown it

    async def main(told: asyncio.Event) -> None:
        service = Service(executor, form=executor.form)
        server = Server(configuration, authority, service.served, service.received, service.gone, max_edges)
        address = await server.listen(*at)
        loop = asyncio.get_running_loop()
        work, renewing = loop.create_task(service.run()), loop.create_task(renew())
        announce(f"data centre: model {executor.sha256[:12]} on {address[0]}:{address[1]}")
        stopping = loop.create_task(told.wait())
        tasks: list[asyncio.Task[Any]] = [work, renewing, stopping]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in (work, renewing):
                if task.done():
                    task.result()  # a fault of ours: let it be seen
        finally:
            server.close()
            for one in tasks:
                one.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    with contextlib.closing(authority):
        run_until_told(main)
