"""Commands of a data centre: serving, and who may ask it."""

from __future__ import annotations

import dataclasses
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from edgesight.cli import doors, ending
from edgesight.cli.options import Json, KeysFolder
from edgesight.cli.show import load

if TYPE_CHECKING:
    from edgesight.host.datacenter.quotas import Quotas
    from edgesight.host.datacenter.repository import BackEnd
    from edgesight.host.datacenter.serve import Clients, Cluster


class EngineKind(str, Enum):
    """What runs a data centre's models, by the values that are typed."""

    LOCAL = "local"
    RAY = "ray"


class _ServeByDefault(TyperGroup):
    """What is no command's name is a package to serve: `edgesight datacenter PACKAGE`."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in (*self.commands, "--help"):
            args = ["serve", *args]
        return super().parse_args(ctx, args)


group = typer.Typer(
    no_args_is_help=True,
    cls=_ServeByDefault,
    help="What answers edges and clients, and who may ask it. `edgesight datacenter PACKAGE` serves.",
)


@group.command()
def enroll(
    name: Annotated[str, typer.Argument(help="What the edge is to be called.")],
    keys_folder: KeysFolder,
    address: Annotated[str, typer.Option(help="HOST:PORT at which the edge reaches this data centre.")] = (
        "127.0.0.1:4433"
    ),
    replace: Annotated[
        bool, typer.Option("--replace", help="Let it take the place of the edge of this name, whose keys are revoked.")
    ] = False,
    json_: Json = False,
) -> None:
    """Print a token with which one edge gets its certificate; it works once, for ten minutes. Keep it to yourself."""
    from edgesight.host.datacenter.authority import Authority
    from edgesight.host.link.addresses import host_and_port

    at = host_and_port(address, "--address")
    with closing(Authority(keys_folder)) as authority:
        token = authority.invite(name, *at, replace=replace).pack()
    if json_:
        ending.print_json({"edge": name, "token": token})
    else:
        print(token)


@group.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Edge or client that may not talk to this data centre any more.")],
    keys_folder: KeysFolder,
    json_: Json = False,
) -> None:
    """Take back an edge's or a client's certificates and tokens; a running data centre cuts it off within seconds."""
    from edgesight.host.datacenter.authority import Authority

    with closing(Authority(keys_folder)) as authority:
        authority.revoke(name)
    if json_:
        ending.print_json({"edge": name, "revoked": True})
    else:
        print(f"{name}: revoked")


@group.command()
def edges(
    keys_folder: KeysFolder,
    all_: Annotated[
        bool, typer.Option("--all", help="Every certificate that was given, and what was done for whom.")
    ] = False,
    json_: Json = False,
) -> None:
    """List the edges and clients that have certificates, and until when they may talk."""
    import time
    from datetime import datetime

    from edgesight.host.datacenter.authority import Authority

    def day(at: float) -> str:
        return f"{datetime.fromtimestamp(at):%Y-%m-%d %H:%M}"

    with closing(Authority(keys_folder)) as authority:
        known = authority.certificates() if all_ else authority.edges()
        events = authority.events() if all_ else []
    if json_:
        listed = [dataclasses.asdict(entry) for entry in known]
        ending.print_json({"edges": listed, "events": [dataclasses.asdict(one) for one in events]} if all_ else listed)
        return
    for entry in known:
        if entry.revoked is not None:
            state = f"revoked on {day(entry.revoked)}"
        else:
            state = f"{'may talk until' if entry.expires > time.time() else 'expired on'} {day(entry.expires)}"
        print(f"{entry.name}: {state}" + (f", given on {day(entry.issued)}, {entry.serial}" if all_ else ""))
    for event in events:
        print(f"{day(event.at)} {event.name}: {event.what}")


@group.command()
def client(
    name: Annotated[str, typer.Argument(help="What the client is to be called.")],
    folder: Annotated[
        Path, typer.Argument(help="New folder for the client's key and certificate, and the authority's.")
    ],
    keys_folder: KeysFolder,
    manages: Annotated[
        bool,
        typer.Option(
            "--manages", help="It may also load and unload models, and see others' pictures on the live page."
        ),
    ] = False,
    renew: Annotated[
        bool, typer.Option("--renew", help="Another certificate of a client that has one, which stays good, too.")
    ] = False,
    json_: Json = False,
) -> None:
    """Make a certificate by which a client of the Open Inference Protocol is let in for 90 days; `revoke` ends it."""
    from edgesight.host.datacenter.authority import Authority
    from edgesight.host.doors.certificates import make_client

    with closing(Authority(keys_folder)) as authority:
        make_client(authority, name, folder, manages=manages, renew=renew)
    if json_:
        ending.print_json({"client": name, "folder": str(folder)})
    else:
        print(folder)


@group.command()
def serve(  # noqa: PLR0913 - a command's options are its surface
    package: Annotated[
        Path | None,
        typer.Argument(metavar="PACKAGE", help="Kernel package, whose back end edges ask; --repository does without."),
    ] = None,
    keys_folder: Annotated[
        Path | None, typer.Option("--keys", help="The data centre's keys folder, made by `edgesight keys make`.")
    ] = None,
    host: Annotated[str, typer.Option(help="Address at which edges are listened for.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="UDP port for edges; 0 chooses one.")] = 4433,
    model: Annotated[Path | None, typer.Option(help="ONNX back end; default the package's datacenter.onnx.")] = None,
    threads: Annotated[int, typer.Option(min=1, max=1024, help="Threads of the back end.")] = 1,
    max_edges: Annotated[
        int, typer.Option(min=1, help="Edges that may be connected at a time; each may have two connections.")
    ] = 64,
    http: doors.Http = None,
    grpc: doors.Grpc = None,
    health: doors.Health = None,
    repository: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="Models for HTTP and gRPC, laid out as Triton's model repository."),
    ] = None,
    load_: Annotated[
        list[str] | None,
        typer.Option("--load", metavar="NAME", help="Model of the repository to begin with; default all. Repeatable."),
    ] = None,
    memory: Annotated[
        int | None,
        typer.Option(min=1, metavar="MIB", help="Memory that all models may take; default half of the machine's."),
    ] = None,
    quota: Annotated[
        list[str] | None,
        typer.Option(
            metavar="[NAME=]N",
            help="Requests a second that each client may make, or the one of this name: of its certificate, else of "
            "its token, else its address. Repeatable.",
        ),
    ] = None,
    insecure: doors.Insecure = False,
    name: Annotated[
        list[str] | None,
        typer.Option(
            metavar="HOST",
            help="Name or IP address by which clients find HTTP and gRPC, which are encrypted then by a certificate "
            "of --keys; default the addresses that they listen at. Repeatable.",
        ),
    ] = None,
    tls: doors.TlsFile = None,
    tokens: doors.TokensFile = None,
    engine: Annotated[
        EngineKind,
        typer.Option(help="What runs the models: processes of this machine, or replicas of Ray Serve on a cluster."),
    ] = EngineKind.LOCAL,
    ray: Annotated[
        str | None,
        typer.Option(
            metavar="ADDRESS",
            help="Ray's cluster: HOST:PORT of its head, or `auto`. Default: one begins on this machine and ends with "
            "this command.",
        ),
    ] = None,
    replicas: Annotated[
        str | None,
        typer.Option(metavar="MIN:MAX", help="Replicas, as many as requests need; N for just so many. Default 1."),
    ] = None,
    models_per_replica: Annotated[
        int | None, typer.Option(min=1, max=1000, metavar="N", help="Models that a replica holds at once. Default 4.")
    ] = None,
    replica_cpus: Annotated[
        float | None, typer.Option(min=0.01, max=1000, metavar="N", help="CPUs for each replica. Default 1.")
    ] = None,
    replica_gpus: Annotated[
        float | None, typer.Option(min=0, max=100, metavar="N", help="GPUs for each replica. Default none.")
    ] = None,
) -> None:
    """Serve edges over QUIC datagrams, and clients of the Open Inference Protocol; stop with Ctrl-C."""
    from edgesight.host.datacenter.executors.base import ModelError
    from edgesight.host.datacenter.serve import Link
    from edgesight.host.datacenter.serve import serve as run
    from edgesight.host.link.keys import KeysError
    from edgesight.host.process import machine_memory, write_log

    write_log()
    opened = doors.addresses_of(
        http,
        grpc,
        health,
        {
            "--repository": repository,
            "--load": load_,
            "--memory": memory,
            "--quota": quota,
            "--name": name,
            "--tls": tls,
            "--tokens": tokens,
            "--insecure": insecure or None,
            "--engine ray": engine is EngineKind.RAY or None,
        },
    )
    of_ray = {
        "--ray": ray,
        "--replicas": replicas,
        "--models-per-replica": models_per_replica,
        "--replica-cpus": replica_cpus,
        "--replica-gpus": replica_gpus,
    }
    cluster = _cluster(engine, of_ray, memory)
    if package is None and repository is None:
        raise ModelError("nothing is given to serve: name a kernel package, or a folder of models by --repository")
    if package is None and (model is not None or opened is None):
        raise ModelError("a model for edges is a kernel package's: name the package")
    if package is not None and keys_folder is None and http is None and grpc is None:
        raise KeysError("edges are let in by keys: name the data centre's folder by --keys")
    back_end = _back_end(package, model, threads) if package is not None else None
    link = None
    if back_end is not None and keys_folder is not None:
        link = Link(keys_folder, (host.strip("[]"), port), max_edges)
    clients = None
    if opened is not None:
        clients = _clients(opened, keys_folder, insecure, name or [], tls, tokens)
        clients = dataclasses.replace(
            clients,
            budget=machine_memory() // 2 if memory is None else memory << 20,
            repository=repository,
            load=load_,
            quotas=_quotas(quota or []),
            cluster=cluster,
        )
    run(back_end, link, clients)


def _cluster(engine: EngineKind, told: dict[str, Any], memory: int | None) -> Cluster | None:
    """Where models run by `--engine ray`, of the options `told` that only it has; None: here."""
    given = {option: value for option, value in told.items() if value is not None}
    if engine is not EngineKind.RAY:
        for option in given:
            raise ending.ArgumentError(f"{option} is for replicas: say --engine ray, or leave it out")
        return None
    if memory is not None:
        raise ending.ArgumentError(
            "--memory is for models of this machine: leave it out, and say by --models-per-replica how many a replica "
            "holds"
        )
    from edgesight.host.datacenter.on_ray.settings import Settings
    from edgesight.host.datacenter.serve import Cluster

    address = given.pop("--ray", None)
    if not given:
        return Cluster(address)
    least, _, most = str(given.get("--replicas", "1")).partition(":")
    if not all(one.isascii() and one.isdecimal() and 1 <= int(one) <= 1000 for one in (least, most or least)) or (
        int(least) > int(most or least)
    ):
        raise ending.ArgumentError(
            f"--replicas {given['--replicas']}: expected MIN:MAX, whole numbers of 1 to 1000, such as 1:4"
        )
    fields = {"--models-per-replica": "models", "--replica-cpus": "cpus", "--replica-gpus": "gpus"}
    chosen = {fields[option]: value for option, value in given.items() if option in fields}
    return Cluster(address, Settings(min_replicas=int(least), max_replicas=int(most or least), **chosen))


def _back_end(package: Path, model: Path | None, threads: int) -> BackEnd:
    from edgesight.host.back_end import form_for
    from edgesight.host.datacenter.repository import BackEnd

    opened = load(package)
    kernel = opened.kernel
    return BackEnd(
        kernel.name,
        model or opened.path / "datacenter.onnx",
        form_for(kernel),
        tuple(kernel.classes),
        kernel.calibration.backend_sha256 if kernel.calibration else None,
        threads,
    )


def _clients(
    opened: doors.Addresses,
    keys_folder: Path | None,
    insecure: bool,
    names: list[str],
    tls: Path | None,
    tokens: Path | None,
) -> Clients:
    """Who may come in: where doors are open to other machines, and encrypted, by certificate or by token.

    Raises DoorError or KeysError.
    """
    from edgesight.host.datacenter.serve import Clients
    from edgesight.host.doors.access import DoorError, is_loopback
    from edgesight.host.doors.serve import Options

    hosts = [at[0] for at in (opened.http, opened.grpc) if at is not None]
    options = Options(opened.grpc, opened.http, opened.health, insecure=insecure)
    plain = insecure or all(map(is_loopback, hosts))
    if tls is not None or (plain and not names):
        if names:
            raise DoorError("--name is for a certificate of --keys, and --tls brings one: leave one of them out")
        access = doors.access_of(tls, tokens, None)
        return Clients(dataclasses.replace(options, access=access), 0)
    if keys_folder is None:
        raise DoorError(
            f"doors at {', '.join(hosts)} are open to other machines: give --keys, by which they are encrypted, or "
            "--tls with --tokens, or say --insecure"
        )
    if insecure:
        raise DoorError("--name encrypts, and --insecure does not: leave one of them out")
    found = dict.fromkeys([*names, *(host for host in hosts if host not in ("0.0.0.0", "::"))])
    if not found:
        raise DoorError("doors at every address: say by --name HOST by which name clients find them")
    return Clients(options, 0, keys_folder=keys_folder, names=list(found), tokens=tokens)


def _quotas(told: list[str]) -> Quotas:
    """Of each `--quota`."""
    from edgesight.host.datacenter.quotas import Quota, Quotas

    of: dict[str, Quota] = {}
    for text in told:
        name, _, number = text.rpartition("=")
        try:
            rate = float(number)
        except ValueError:
            rate = 0.0
        if not 0.0 < rate < 1e9:
            raise ending.ArgumentError(f"--quota {text}: expected requests a second, such as 100 or door-camera=100")
        if name in of:
            raise ending.ArgumentError(f"--quota {text}: {name or 'everyone'} has one already: leave one out")
        of[name] = Quota(rate)
    return Quotas(of.pop("", None), of)
