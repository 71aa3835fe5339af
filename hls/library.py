"""The library: the hand-written SystemVerilog modules that networks and kernels are assembled from."""

from __future__ import annotations

import re
from collections.abc import Mapping

from edgesight.host.package import LIBRARY

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/", re.DOTALL)


def library_modules() -> set[str]:
    """Names in lower case that no network may have: the library's modules and packages, and the kernel's own."""
    return {path.stem.lower() for path in LIBRARY.glob("*.sv")} | {"kernel"}


def library_sources() -> dict[str, str]:
    """The hand-written modules that kernels are assembled from: file name -> text."""
    return {path.name: path.read_text() for path in sorted(LIBRARY.glob("*.sv"))}


def library_of(sources: Mapping[str, str]) -> dict[str, str]:
    """The library's files that `sources` need, and those that these need in turn; file name -> text, as `sources`."""
    library = {name.removesuffix(".sv"): text for name, text in library_sources().items()}
    # An instance has parameters or a name behind its module's; what a package holds stands behind two colons.
    uses = {name: re.compile(rf"\b{name}\s*(?:#\s*\(|::|\s\w+\s*\()") for name in library}
    needed: dict[str, str] = {}
    unread = list(sources.values())
    while unread:
        text = _COMMENT.sub(" ", unread.pop())
        for name, use in uses.items():
            if f"{name}.sv" not in needed and use.search(text):
                needed[f"{name}.sv"] = library[name]
                unread.append(library[name])
    return dict(sorted(needed.items()))
