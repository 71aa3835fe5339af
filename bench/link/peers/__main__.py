"""The programs at the two ends of a link that are compared; see `edgesight.bench.link.peers`."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

import numpy as np

from edgesight.bench.link.peers import TRANSPORTS, grpc, quic, udp
from edgesight.bench.link.peers.back_end import CONNECT_WITHIN, BackEnd
from edgesight.bench.link.workload import Ask, Pixels, Plan, Unanswered, drive
from edgesight.host.datacenter import repository
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.datacenter.serve import Link
from edgesight.host.datacenter.serve import serve as serve_ours
from edgesight.host.link.client import OffloadClient
from edgesight.host.link.keys import client_keys
from edgesight.host.link.offload import NoAnswer
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.process import run_until_told


@asynccontextmanager
async def _asking_ours(keys: Path, host: str, port: int) -> AsyncIterator[Ask]:
    client = OffloadClient(host, port, client_keys(keys, IDLE_TIMEOUT))
    await client.wait_connected(CONNECT_WITHIN)

    async def ask(image: Pixels, left_s: float) -> int:
        try:
            return (await client.offload(image, left_s)).label
        except NoAnswer as error:
            raise Unanswered from error

    try:
        yield ask
    finally:
        await client.close()


_Serving = Callable[[BackEnd, Path, str, int], AbstractAsyncContextManager[None]]
_Asking = Callable[[Path, str, int], AbstractAsyncContextManager[Ask]]
_SERVERS: dict[str, _Serving] = {"grpc": grpc.serving, "quic": quic.serving, "udp": udp.serving}
_CLIENTS: dict[str, _Asking] = {"edgesight": _asking_ours, "grpc": grpc.asking, "quic": quic.asking, "udp": udp.asking}


def serve(transport: str, model: Path, keys: Path, port: int, host: str = "0.0.0.0") -> None:
    """Serve the ONNX `model` over `transport` until told to stop."""
    if transport == "edgesight":
        served = repository.BackEnd(model.stem, model)
        serve_ours(served, Link(keys, (host, port)), announce=lambda line: print("ready", flush=True))
        return
    executor = OnnxModel(model)

    async def main(told: asyncio.Event) -> None:
        back_end = BackEnd(executor)
        async with _SERVERS[transport](back_end, keys, host, port):
            work = asyncio.get_running_loop().create_task(back_end.run())
            stopping = asyncio.get_running_loop().create_task(told.wait())
            print("ready", flush=True)
            await asyncio.wait([work, stopping], return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
            for task in (work, stopping):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    run_until_told(main)


def ask(transport: str, keys: Path, address: str, port: int, images: Path, plan: Plan, begin: float) -> None:
    """Send `images` (.npy) as `plan` says, from `begin` of the monotonic clock on, and print the outcomes."""

    async def main() -> None:
        async with _CLIENTS[transport](keys, address, port) as one:
            outcomes = await drive(one, np.load(images, mmap_mode="r"), plan, begin)
        print(json.dumps(outcomes.to_json()), flush=True)

    asyncio.run(main())


def main() -> None:
    """Be the end of a comparison that the command line asks for."""
    role, transport, *rest = sys.argv[1:]
    if transport not in TRANSPORTS or role not in ("serve", "ask"):
        sys.exit(f"{role} {transport}: expected serve or ask, and one of {', '.join(TRANSPORTS)}")
    if role == "serve":
        model, keys, port = rest
        serve(transport, Path(model), Path(keys), int(port))
    else:
        keys, address, port, images, plan, begin = rest
        ask(transport, Path(keys), address, int(port), Path(images), Plan.from_json(plan), float(begin))


if __name__ == "__main__":
    main()
