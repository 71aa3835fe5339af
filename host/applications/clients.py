"""Clients' certificates at an edge, which has the data centre's authority's certificate, and not its index.

So an edge knows when a certificate has expired, and not that it was revoked.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgesight.host.doors.access import ByCertificate, Client, Role, Shown, Tls
from edgesight.host.doors.served import Code, Refused
from edgesight.host.link.keys import Clock, KeysError, load_certificate, now, pem
from edgesight.host.link.tls import Untrusted, check_client

_OTHER = "ask the data centre's owner for a client's certificate"


def by_authority(tls: Tls, path: Path, clock: Clock = now) -> ByCertificate:
    """Access for whom the authority enrolled as a client whose certificate is in the file at `path`.

    Raises KeysError where it cannot be used.
    """
    try:
        authority = load_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeysError(f"{path} holds no authority's certificate ({error}): name a client's ca.crt") from error

    def check(shown: bytes) -> Shown:
        try:
            certificate = load_certificate(shown)
            manages = check_client(certificate, authority, clock())
        except (ValueError, Untrusted) as error:
            raise Refused(Code.UNAUTHENTICATED, f"{error}: {_OTHER}") from error
        name = certificate.subject.rfc4514_string().removeprefix("CN=")

        def refusal() -> str | None:
            if clock() < certificate.not_valid_after_utc:
                return None
            return f"the certificate of client {name!r} has expired: {_OTHER}"

        return Shown(Client(name, Role.MANAGE if manages else Role.ASK), refusal)

    return ByCertificate(dataclasses.replace(tls, authority=pem(authority)), check)
