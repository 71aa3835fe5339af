"""A data centre and an edge that it enrolled, made in one place, for links whose ends are not what is looked at."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from edgesight.host.datacenter.authority import Authority, make_authority
from edgesight.host.link.enrollment import Enroll
from edgesight.host.link.keys import Clock, new_key, now, request_certificate, save_edge


@dataclass(frozen=True)
class Trust:
    """Two keys folders."""

    datacenter: Path
    edge: Path


def make_trust(folder: Path) -> Trust:
    """Make keys of a data centre and of its edge `door`, in folders under `folder`."""
    trust = Trust(folder / "keys", folder / "edge-keys")
    make_authority(trust.datacenter)
    add_edge(trust.datacenter, "door", trust.edge)
    return trust


def add_edge(datacenter: Path, name: str, folder: Path, clock: Clock = now) -> None:
    """Enroll an edge by a token, without a connection: its keys come to be in `folder`, as of `clock`."""
    key = new_key()
    with contextlib.closing(Authority(datacenter, clock)) as authority:
        token = authority.invite(name, "127.0.0.1", 4433)
        asked = Enroll(protocol=1, token=token.id.hex(), secret=token.secret.hex(), request=request_certificate(key))
        _, certificate = authority.enroll(asked, "127.0.0.1")
        save_edge(folder, key, x509.load_pem_x509_certificate(certificate.encode()), authority.certificate)
