"""Clients' certificates: given by the data centre's authority, and asked for at the doors."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgesight.host.doors.access import ByCertificate, Client, Role, Shown, Tls
from edgesight.host.doors.served import Code, Refused
from edgesight.host.files import write_atomically
from edgesight.host.link.keys import KeysError, key_pem, load_certificate, new_key, now, pem, request_certificate
from edgesight.host.link.server import Admitted
from edgesight.host.link.tls import Untrusted, check_client

if TYPE_CHECKING:
    from cryptography.x509 import Certificate

    from edgesight.host.datacenter.authority import Authority

KEY_FILE, CERTIFICATE_FILE, AUTHORITY_FILE = "client.key", "client.crt", "ca.crt"
OTHER = "ask the data centre's owner for a client's certificate"


def make_client(authority: Authority, name: str, folder: Path, *, manages: bool = False, renew: bool = False) -> None:
    """Enroll client `name`: its key, its certificate and the authority's come to be in a new `folder`, each in PEM.

    `manages`: it may also load and unload models. `renew`: it is enrolled, and its former certificate stays good until
    that ends. Raises KeysError where somebody else is called so, or the folder is there.
    """
    key = new_key()
    try:
        folder.mkdir(mode=0o700, parents=True)
        try:
            certificate = authority.enroll_client(name, request_certificate(key), manages=manages, renew=renew)
        except KeysError:
            folder.rmdir()  # so that the next try may name it again
            raise
        for file, content in (
            (KEY_FILE, key_pem(key)),
            (CERTIFICATE_FILE, certificate.encode()),
            (AUTHORITY_FILE, pem(authority.certificate)),
        ):
            write_atomically(folder / file, content, mode=0o600)
    except OSError as error:
        raise KeysError(f"{folder} cannot be made ({error.strerror}): name another") from error


def door_tls(authority: Authority, hosts: Sequence[str], *, clients: bool) -> Tls:
    """What a door shows that is found by those names or IP addresses; `clients`: it asks for their certificates.

    Raises KeysError where a host's name is none.
    """
    key, begin, certificate = authority.door_pem(hosts).partition(b"-----BEGIN CERTIFICATE-----")
    return Tls(key, begin + certificate, pem(authority.certificate) if clients else None)


def client_in(shown: bytes, authority: Certificate, at: datetime.datetime) -> tuple[Client, Certificate]:
    """The client whose certificate was shown, in PEM, and that certificate.

    Raises Refused (UNAUTHENTICATED) where it is no client's that `authority` signed, or does not hold `at` that time.
    """
    try:
        certificate = load_certificate(shown)
        manages = check_client(certificate, authority, at)
    except (ValueError, Untrusted) as error:
        raise Refused(Code.UNAUTHENTICATED, f"{error}: {OTHER}") from error
    name = certificate.subject.rfc4514_string().removeprefix("CN=")
    return Client(name, Role.MANAGE if manages else Role.ASK), certificate


def by_certificate(authority: Authority, hosts: Sequence[str]) -> ByCertificate:
    """Access for the clients that `authority` enrolled, and did not revoke, at doors found by `hosts`."""

    def check(shown: bytes) -> Shown:
        client, certificate = client_in(shown, authority.certificate, now())
        admitted = Admitted(client.name, f"{certificate.serial_number:x}", certificate.not_valid_after_utc)

        def refusal() -> str | None:
            if authority.refusal(admitted) is None:
                return None
            return f"the certificate of client {admitted.name!r} was revoked or has expired: {OTHER}"

        return Shown(client, refusal)

    return ByCertificate(door_tls(authority, hosts, clients=True), check)
