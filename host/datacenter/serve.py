"""A data centre from its files to its end: edges are let in over the link, clients at the doors, and are answered.

Edges ask a package's back end. Clients ask it, too, and the models of a repository. Where there are doors, every model
has a process of its own; a data centre for edges alone runs the one that it has itself, and needs no library of theirs.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgesight.host.datacenter.authority import Authority
from edgesight.host.datacenter.models import OnnxModel, PackageModel
from edgesight.host.datacenter.quotas import Quotas
from edgesight.host.datacenter.repository import BackEnd, Repository
from edgesight.host.datacenter.requests import Image, See, unseen
from edgesight.host.datacenter.service import Service
from edgesight.host.link.addresses import joined
from edgesight.host.link.quic import IDLE_TIMEOUT
from edgesight.host.link.server import MAX_EDGES, Server, check_sound
from edgesight.host.measures import Measure
from edgesight.host.process import run_until_told
from edgesight.host.recent import Recent

if TYPE_CHECKING:
    from edgesight.host.datacenter.application import DataCentre
    from edgesight.host.datacenter.engine import Engine
    from edgesight.host.datacenter.on_ray.place import Place
    from edgesight.host.datacenter.on_ray.settings import Settings
    from edgesight.host.doors.access import Access
    from edgesight.host.doors.serve import Addresses, Options

_RENEW_EVERY = 3_600.0  # seconds between looks at the data centre's own certificate
_LAST_REPLIES_S = 1.0  # for requests of edges that have come when the end is told
_LOOK_EVERY = 0.01  # seconds, meanwhile


@dataclass(frozen=True)
class Link:
    """Where edges are let in.

    Attributes:
        keys_folder: the data centre's.
        at: UDP host and port; 0 chooses one.
        max_edges: that may be connected at a time.
    """

    keys_folder: Path
    at: tuple[str, int] = ("127.0.0.1", 4433)
    max_edges: int = MAX_EDGES


@dataclass(frozen=True)
class Cluster:
    """Of Ray, on which models run in replicas.

    Attributes:
        address: HOST:PORT of one, or `auto`; None begins one on this machine, which ends with this process.
        settings: of the replicas that are begun there; None: of those that are there, else what is usual.
    """

    address: str | None = None
    settings: Settings | None = None


@dataclass(frozen=True)
class Clients:
    """Which doors are open to clients, and what they may ask there beside the package's back end.

    Attributes:
        doors: whose `access` holds where `names` is empty.
        budget: bytes that all models may take in memory together, where they run on this machine.
        cluster: where they run on a cluster; None: on this machine.
        repository: folder of further models, laid out as Triton's model repository; None: there are none.
        load: names of those of them that are loaded at the beginning; None: all.
        quotas: of each client.
        keys_folder: the data centre's, whose authority the doors' certificate is of.
        names: or IP addresses that this certificate is for; empty: the doors show none of the authority's.
        tokens: file of the tokens by which clients are let in; None: by certificates of the authority.
    """

    doors: Options
    budget: int
    repository: Path | None = None
    load: Sequence[str] | None = None
    quotas: Quotas = field(default_factory=Quotas)
    keys_folder: Path | None = None
    names: Sequence[str] = ()
    tokens: Path | None = None
    cluster: Cluster | None = None


def serve(
    back_end: BackEnd | None,
    link: Link | None,
    clients: Clients | None = None,
    announce: Callable[[str], None] = print,
) -> None:
    """Serve until SIGINT or SIGTERM; a second one ends at once.

    `announce` gets a line for the link and one for the doors, once requests are taken. Raises KeysError, ModelError,
    LinkError, DoorError or ClusterError before any are.
    """
    with contextlib.ExitStack() as kept:
        opened: dict[Path, Authority] = {}

        def authority_of(folder: Path) -> Authority:
            if folder not in opened:
                opened[folder] = kept.enter_context(contextlib.closing(Authority(folder)))
            return opened[folder]

        if link is not None:
            check_sound()
            authority_of(link.keys_folder)
        model: PackageModel | None = None
        if clients is None and back_end is not None:
            model = OnnxModel(back_end.path, back_end.form, back_end.expected_sha256, back_end.threads)
        repository = options = new_engine = None
        if clients is not None:
            repository, options = Repository(clients.repository, back_end), clients.doors
            place = None
            if clients.cluster is not None:
                from edgesight.host.datacenter.on_ray.place import placed  # needs what one machine does not

                place = kept.enter_context(placed(clients.cluster.address, clients.cluster.settings))
            new_engine = partial(_engine, place, clients.budget)
            if clients.names and clients.keys_folder is not None:
                access = _access(authority_of(clients.keys_folder), clients)
                options = dataclasses.replace(options, access=access)

        async def main(told: asyncio.Event) -> None:
            lines: list[str] = []
            tasks: list[asyncio.Task[Any]] = []
            asked = model  # in this process, where no client asks it
            centre: DataCentre | None = None
            async with contextlib.AsyncExitStack() as stack:
                if clients is not None and repository is not None and options is not None and new_engine is not None:
                    from edgesight.host.datacenter.in_worker import in_worker  # needs what a link alone does not

                    names = clients.load
                    if names is not None and back_end is not None:
                        names = [back_end.name, *names]
                    opening = _behind_doors(repository, new_engine(), clients.quotas, names, options, told, lines)
                    centre = await stack.enter_async_context(opening)
                    if link is not None and back_end is not None and not told.is_set():
                        asked = await in_worker(centre, back_end)
                if link is not None and asked is not None:
                    seen = (
                        partial(_see, centre.seen, back_end) if centre is not None and back_end is not None else unseen
                    )
                    opening_link = _to_edges(asked, link, authority_of(link.keys_folder), lines, seen)
                    tasks, measures = await stack.enter_async_context(opening_link)
                    if centre is not None:
                        centre.link = measures
                if not told.is_set():
                    announce("\n".join(lines))
                await _until(told, tasks)

        new_loop: Callable[[], asyncio.AbstractEventLoop] | None = None
        if link is None:  # uvloop's answers clients somewhat sooner; QUIC's library was tried on Python's own
            from edgesight.host.doors.serve import new_event_loop

            new_loop = new_event_loop
        run_until_told(main, new_loop)


async def _until(told: asyncio.Event, tasks: Sequence[asyncio.Task[Any]]) -> None:
    """Wait until it is told to end, or one of `tasks` has: a fault of ours, which is let be seen."""
    stopping = asyncio.get_running_loop().create_task(told.wait())
    try:
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
    for task in tasks:
        if task.done():
            task.result()


@contextlib.asynccontextmanager
async def _to_edges(
    model: PackageModel,
    link: Link,
    authority: Authority,
    lines: list[str],
    seen: See,
) -> AsyncIterator[tuple[list[asyncio.Task[Any]], Callable[[], Sequence[Measure]]]]:
    """The tasks that work for the link, and what it counts; at the end edges get the answers that are on their way."""
    configuration = authority.configuration(IDLE_TIMEOUT)

    async def renew() -> None:
        while True:
            await asyncio.sleep(_RENEW_EVERY)
            authority.renew_own(configuration)  # connections that begin from now on are shown it

    loop = asyncio.get_running_loop()
    service = Service(model, form=model.form, seen=seen)
    server = Server(configuration, authority, service.served, service.received, service.gone, link.max_edges)
    at = await server.listen(*link.at)
    lines.insert(0, f"data centre: model {model.sha256[:12]} on {joined(*at)}")
    tasks: list[asyncio.Task[Any]] = [loop.create_task(service.run()), loop.create_task(renew())]

    def measures() -> Sequence[Measure]:
        return *server.measures(), *service.measures()

    try:
        yield tasks, measures
        ends = loop.time() + _LAST_REPLIES_S
        while service.open_requests and loop.time() < ends and not tasks[0].done():
            await asyncio.sleep(_LOOK_EVERY)  # the service tells nobody that it has none
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _engine(place: Place | None, budget: int) -> Engine:
    """Of the replicas at `place`, else of this machine; in the loop that it runs in."""
    if place is None:
        from edgesight.host.datacenter.local import Local

        return Local(budget)
    from edgesight.host.datacenter.on_ray.engine import OnRay

    return OnRay(place)


@contextlib.asynccontextmanager
async def _behind_doors(
    repository: Repository,
    engine: Engine,
    quotas: Quotas,
    names: Sequence[str] | None,
    options: Options,
    told: asyncio.Event,
    lines: list[str],
) -> AsyncIterator[DataCentre]:
    """The models `names`, loaded, behind doors that are open meanwhile, too; at the end doors and models drain."""
    from edgesight.host.datacenter.application import DataCentre
    from edgesight.host.doors.serve import open_doors

    async with (
        DataCentre(repository, engine, quotas) as centre,
        open_doors(centre, options) as addresses,
    ):
        loading, ending = (asyncio.ensure_future(one) for one in (centre.start(names), told.wait()))
        try:
            await asyncio.wait([loading, ending], return_when=asyncio.FIRST_COMPLETED)
            if loading.done():
                loading.result()
            lines.append(_where(addresses, centre))
            yield centre
        finally:
            centre.close_to_new()
            for task in (loading, ending):
                task.cancel()
            await asyncio.gather(loading, ending, return_exceptions=True)


def _see(recent: Recent, back_end: BackEnd, picture: Image, edge: str, label: int, seconds: float) -> None:
    """Keep a picture of an edge that was answered, for who looks on."""
    name = back_end.labels[label] if label < len(back_end.labels) else f"class {label}"
    said = {"class_name": name, "asked_by": edge, "milliseconds": seconds * 1e3}
    recent.add(back_end.name, picture, lambda: said)


def _access(authority: Authority, clients: Clients) -> Access:
    """Who may come in, at doors that show a certificate of the authority; raises KeysError."""
    from edgesight.host.doors.access import ByToken
    from edgesight.host.doors.certificates import by_certificate, door_tls
    from edgesight.host.doors.tokens import Tokens

    if clients.tokens is None:
        return by_certificate(authority, clients.names)
    return ByToken(Tokens(clients.tokens).find, door_tls(authority, clients.names, clients=False))


def _where(addresses: Addresses, centre: DataCentre) -> str:
    """The doors and the models behind them, in words."""
    ready = ", ".join(dict.fromkeys(entry.name for entry in centre.index(True))) or "none"
    return f"data centre: {addresses.told()}, models {ready}"
