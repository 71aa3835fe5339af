"""Edge's keys that nobody should trust."""

from __future__ import annotations

import datetime
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from host.link.keys import CLIENT_USAGE, load_key, make_certificate, new_key, save_edge

YEAR = datetime.timedelta(days=365)


def forge_edge(
    datacenter: Path,
    folder: Path,
    *,
    life: datetime.timedelta = YEAR,
    usage: x509.ObjectIdentifier | None = CLIENT_USAGE,
    signed_by: Path | None = None,
) -> None:
    """An edge's keys that no token was used for: signed with the key of `signed_by`, else of `datacenter`.

    With None for `usage` the certificate names none.
    """
    own, authority = new_key(), x509.load_pem_x509_certificate((datacenter / "ca.crt").read_bytes())
    signer = signed_by or datacenter
    issuer = x509.load_pem_x509_certificate((signer / "ca.crt").read_bytes())
    signing_key = load_key((signer / "ca.key").read_bytes())
    certificate = make_certificate("forged", own.public_key(), (issuer, signing_key), life, usage or CLIENT_USAGE)
    if usage is None:
        builder = x509.CertificateBuilder(
            certificate.issuer,
            certificate.subject,
            own.public_key(),
            certificate.serial_number,
            certificate.not_valid_before_utc,
            certificate.not_valid_after_utc,
        )
        for extension in certificate.extensions:
            if not isinstance(extension.value, x509.ExtendedKeyUsage):
                builder = builder.add_extension(extension.value, extension.critical)
        certificate = builder.sign(signing_key, hashes.SHA256())
    save_edge(folder, own, certificate, authority)
