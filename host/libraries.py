"""Libraries built on this machine from a package's sources: in the user's cache folder, never in a package.

A package travels; compiled code must not. A library is found by the content of what it was made from and by the kind
of machine, so that neither another package nor another processor ever meets it. Each lies in a folder of its own, an
*entry*, beside what it reads (csim's weights), with the checksums of all of it; an entry that is not whole is not
loaded, and is built anew. The cache is the user's alone; only the `MOST_ENTRIES` entries used last are kept, and all
of it may be removed at any time.

Words owned here: kind (csim or verilated), entry, recipe (tools, options and glue that a library was built with).
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from edgesight.host.cache import cache_folder, prune
from edgesight.host.fabric.base import FabricError
from edgesight.host.files import read_regular, remedy, sha256, write_atomically
from edgesight.host.package import RTL, Package

Kind = Literal["csim", "verilated"]

MOST_ENTRIES = 32
LIBRARY = "library.so"
_MANIFEST = "built.json"
_SOURCES: dict[Kind, str] = {"csim": "csim/", "verilated": RTL}


class LibraryError(FabricError):
    """A library is absent, damaged, or cannot be kept: says where it belongs and what to do."""


def entry(package: Package, kind: Kind) -> Path:
    """The folder where the library of exactly this package's sources, for this kind of machine, lies or belongs."""
    kernel = package.kernel
    listed = {**kernel.files, **{f"{RTL}{name}": digest for name, digest in kernel.library.items()}}
    facts = {
        "files": {name: digest for name, digest in listed.items() if name.startswith(_SOURCES[kind])},
        "build_hash": kernel.build_hash,
        "input": kernel.input.shape,
        "stages": [(stage.outputs, stage.logit_bits) for stage in kernel.stages],
        "machine": _machine(),
    }
    key = sha256(json.dumps([kind, facts], sort_keys=True).encode())[:32]
    return cache_folder() / "libraries" / f"{kind}-{kernel.build_hash}-{key}"


def find(package: Package, kind: Kind, recipe: str | None = None) -> Path | None:
    """The library if its entry is there and whole (and, where one is given, was built by `recipe`); else None."""
    folder = entry(package, kind)
    try:
        built = json.loads(read_regular(folder / _MANIFEST))
        whole = all(sha256(read_regular(folder / name)) == digest for name, digest in built["files"].items())
        fits = whole and LIBRARY in built["files"] and recipe in (None, built["recipe"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None
    if not fits:
        return None
    with contextlib.suppress(OSError):
        os.utime(folder)  # used now
    return folder / LIBRARY


def keep(package: Package, kind: Kind, recipe: str, files: Mapping[str, bytes]) -> Path:
    """Put a library, `files` with `LIBRARY` among them, where `find` finds it; returns its path.

    It appears whole, by rename; an entry that was there is replaced. Raises LibraryError.
    """
    folder = entry(package, kind)
    manifest = {"recipe": recipe, "files": {name: sha256(content) for name, content in sorted(files.items())}}
    building = None
    try:
        folder.parent.mkdir(mode=0o700, exist_ok=True)
        building = Path(tempfile.mkdtemp(dir=folder.parent, prefix=f".{folder.name}."))
        for name, content in {**files, _MANIFEST: json.dumps(manifest, indent=1).encode()}.items():
            target = building / "new" / name
            target.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(target, content)
        with contextlib.suppress(FileNotFoundError):
            os.rename(folder, building / "old")
        with contextlib.suppress(FileExistsError, NotADirectoryError):  # somebody else's, built at the same time
            os.rename(building / "new", folder)
    except OSError as error:
        raise LibraryError(
            f"{folder}: the library cannot be kept ({error.strerror or error}): "
            f"{remedy(error) or 'set XDG_CACHE_HOME to another folder'}"
        ) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
    prune(folder.parent, MOST_ENTRIES, folder)
    found = find(package, kind)
    if found is None:
        raise LibraryError(f"{folder}: is not whole though it was just written: try again")
    return found


def _machine() -> str:
    """The kind of this machine, as far as code compiled for its very processor depends on it."""
    able = ""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines():
            name, _, value = line.partition(":")
            if name.strip() in ("flags", "Features"):
                able = " ".join(sorted(value.split()))
                break
    return " ".join([platform.system(), platform.machine(), *platform.libc_ver(), able])
