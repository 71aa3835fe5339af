"""Keys and certificates that nobody should trust, or nobody can read."""

from __future__ import annotations

import base64
import datetime
import random
import re
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes

from edgesight.host.link.keys import CLIENT_USAGE, load_key, make_certificate, new_key, save_edge

YEAR = datetime.timedelta(days=365)
# Of a certificate or a key: bytes of its DER form, and what makes them a thing that is not known.
SPOILED = {
    "version": (b"\xa0\x03\x02\x01\x02", b"\xa0\x03\x02\x01\x08"),
    "curve": (bytes.fromhex("06082a8648ce3d030107"), bytes.fromhex("06082a8648ce3d030177")),
    "signature": (bytes.fromhex("06082a8648ce3d040302"), bytes.fromhex("06082a8648ce3d040377")),
    "extension": (bytes.fromhex("0603551d0e"), bytes.fromhex("0603551d23")),  # a second one of the kind
}
_BLOCK = re.compile(rb"-----BEGIN ([A-Z ]+)-----\n(.*?)-----END [A-Z ]+-----\n", re.DOTALL)


def spoil(content: bytes, what: str) -> bytes:
    """PEM `content` with the first block that has `what` spoiled in it."""
    right, wrong = SPOILED[what]
    for block in _BLOCK.finditer(content):
        der = base64.b64decode(block[2])
        if right in der:
            return content[: block.start()] + pem_block(block[1], der.replace(right, wrong)) + content[block.end() :]
    raise AssertionError(f"nothing has a {what}")


def damage(content: bytes, chance: random.Random) -> bytes:
    """PEM `content` with a byte of the DER form of one block changed."""
    block = chance.choice(list(_BLOCK.finditer(content)))
    der = bytearray(base64.b64decode(block[2]))
    der[chance.randrange(len(der))] ^= 1 << chance.randrange(8)
    return content[: block.start()] + pem_block(block[1], bytes(der)) + content[block.end() :]


def pem_block(name: bytes, der: bytes) -> bytes:
    """A PEM block."""
    return b"-----BEGIN %s-----\n%s-----END %s-----\n" % (name, base64.encodebytes(der), name)


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
