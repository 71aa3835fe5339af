"""Anything as the `kernel.json` of a package whose other files are there, and that of a good one with wrong values."""

from __future__ import annotations

import json

from host.kernel import MANIFEST, KernelError, Package
from tests.fuzz.documents import edited
from tests.fuzz.package import small_package

MAX_LENGTH = 16_384
PACKAGE = small_package()
TEXT = (PACKAGE.path / MANIFEST).read_bytes()
DOCUMENT = json.loads(TEXT)


def seeds() -> list[bytes]:
    return [TEXT, b"e\x00\x07\x01", b"e\x00\x40\x05\x00\x23\x23"]


def consume(data: bytes) -> None:
    text = edited(DOCUMENT, data[1:]) if data.startswith(b"e") else data
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
