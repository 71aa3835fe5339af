"""Clients' certificates at an edge, which has the data centre's authority's certificate, and not its index.

So an edge knows when a certificate has expired, and not that it was revoked.
"""

from __future__ import annotations

import dataclasses
from pathlib import Path

from edgesight.host.doors.access import ByCertificate, Shown, Tls
from edgesight.host.doors.certificates import OTHER, client_in
from edgesight.host.link.keys import Clock, KeysError, load_certificate, now, pem


def by_authority(tls: Tls, path: Path, clock: Clock = now) -> ByCertificate:
    """Access for whom the authority enrolled as a client whose certificate is in the file at `path`.

    Raises KeysError where it cannot be used.
    """
    try:
        authority = load_certificate(path.read_bytes())
    except (OSError, ValueError) as error:
        raise KeysError(f"{path} holds no authority's certificate ({error}): name a client's ca.crt") from error

    def check(shown: bytes) -> Shown:
        client, certificate = client_in(shown, authority, clock())

        def refusal() -> str | None:
            if clock() < certificate.not_valid_after_utc:
                return None
            return f"the certificate of client {client.name!r} has expired: {OTHER}"

        return Shown(client, refusal)

    return ByCertificate(dataclasses.replace(tls, authority=pem(authority)), check)
