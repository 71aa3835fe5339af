"""Anything as a request for a certificate (PKCS 10), as PEM and as the DER inside it."""

from __future__ import annotations

import base64
import contextlib
import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from edgesight.host.link.keys import new_key, now, request_certificate
from edgesight.host.link.server import Admitted
from edgesight.host.link.tls import Untrusted
from tests.fuzz.trust import SERVER

MAX_LENGTH = 2_048
_PEM = b"\x01"


# Its certificate ends soon, so that a request is looked at; nothing is written unless the request is good.
EDGE = Admitted("door", "0", now() + datetime.timedelta(minutes=10))


def seeds() -> list[bytes]:
    """A good one, and good ones of the wrong kinds."""
    pem = request_certificate(new_key())
    found = [
        _PEM + pem.encode(),
        b"\x00" + x509.load_pem_x509_csr(pem.encode()).public_bytes(serialization.Encoding.DER),
    ]
    others: list[tuple[ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey, bool]] = [
        (ec.generate_private_key(ec.SECP384R1()), True),
        (ed25519.Ed25519PrivateKey.generate(), False),
        (rsa.generate_private_key(65_537, 2_048), True),
    ]
    for key, hashed in others:
        builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
        made = builder.sign(key, hashes.SHA256() if hashed else None)
        found.append(b"\x00" + made.public_bytes(serialization.Encoding.DER))
    return found


def consume(data: bytes) -> None:
    kind, content = data[:1], data[1:]
    if kind != _PEM:
        content = (
            b"-----BEGIN CERTIFICATE REQUEST-----\n"
            + base64.encodebytes(content)
            + b"-----END CERTIFICATE REQUEST-----\n"
        )
    with contextlib.suppress(Untrusted):
        SERVER.renew(EDGE, content.decode(errors="replace"))
