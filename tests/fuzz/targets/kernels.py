"""Anything as the `kernel.json` of a package whose other files are there, and that of a good one with wrong values.

The wrong values get a right checksum: otherwise nothing behind it would be reached.
"""

from __future__ import annotations

import json

from pydantic import ValidationError

from edgesight.host.kernel import Kernel, KernelError
from edgesight.host.package import MANIFEST, Package
from tests.fuzz.documents import edited
from tests.fuzz.package import small_package

MAX_LENGTH = 16_384
PACKAGE = small_package()
TEXT = (PACKAGE.path / MANIFEST).read_bytes()
DOCUMENT = json.loads(TEXT)


def seeds() -> list[bytes]:
    return [TEXT, b"e\x00\x07\x01", b"e\x00\x40\x05\x00\x23\x23"]


def consume(data: bytes) -> None:
    text = _sealed(edited(DOCUMENT, data[1:])) if data.startswith(b"e") else data
    (PACKAGE.path / MANIFEST).write_bytes(text)
    try:
        package = Package.load(PACKAGE.path)
    except KernelError:
        return
    for name in package.kernel.files:
        package.read(name)
    calibration = package.kernel.calibration
    for target in calibration.targets if calibration is not None else ():
        for curve in target.curves:
            assert 0.0 <= curve.at(100) <= 1.0


def _sealed(text: bytes) -> bytes:
    """The document with the checksum of what it now says, so that more than the checksum is looked at."""
    document = json.loads(text)
    try:
        kernel = Kernel.model_validate_json(json.dumps({k: v for k, v in document.items() if k != "checksum"}))
    except (ValidationError, AttributeError):
        return text
    return json.dumps({**document, "checksum": kernel.checksum}).encode()
