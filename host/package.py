"""A kernel package on disk: a folder with `kernel.json` and beside it the files that it lists with their checksums.

`kernel.json` itself carries a checksum over everything else in it, so that what a guarantee rests on (thresholds,
calibration, classes, input, the networks' checksums) cannot be changed by hand unnoticed. It tells damage and edits,
not who made the package: whoever writes one can compute it.

Words owned here: package.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

from pydantic import Field, ValidationError

from edgesight.host.files import Claim, place_folder, read_regular, sha256, write_atomically
from edgesight.host.kernel import SCHEMA_VERSION, BoardBuild, Hex64, Kernel, KernelError

MANIFEST = "kernel.json"
TOP = "rtl/kernel.sv"  # the file that says the build hash
_EARLIER_LIBRARY = re.compile(r"lib/(csim|verilated)-[0-9a-f]{8}\.so")  # built by versions that kept them here
_SAID_HASH = re.compile(r"BuildHash\(32'h([0-9a-f]{8})\)")


class _Sealed(Kernel):
    """`kernel.json` as it is written: with the checksum of all its other fields."""

    seal: Annotated[Hex64, Field(alias="checksum")]


def hardware_hash(sources: Mapping[str, bytes]) -> str:
    """The build hash of SystemVerilog `sources`, by their path in a package: `kernel.sv` counts as if it said none."""
    digest = [
        name.removeprefix("rtl/")
        + _SAID_HASH.sub(f"BuildHash(32'h{'0' * 8})", sources[name].decode("utf-8", "replace"))
        for name in sorted(sources)
    ]
    return sha256("".join(digest).encode())[:8]


class Package:
    """A kernel package on disk, validated on load."""

    def __init__(self, path: Path, kernel: Kernel) -> None:
        """Use `Package.load`."""
        self.path = path
        self.kernel = kernel

    @classmethod
    def load(cls, path: Path | str, *, verify: bool = True) -> Package:
        """Read and validate the package in folder `path`.

        With `verify`, every listed file's checksum is compared. Raises KernelError naming file, field and remedy.
        """
        path = Path(path)
        manifest = path / MANIFEST
        try:
            text = read_regular(manifest)
        except OSError as error:
            raise KernelError(
                f"{manifest}: cannot be read ({error.strerror}); a kernel package is a folder with {MANIFEST}, "
                "made by `edgesight compile`"
            ) from error
        package = cls(path, _opened(manifest, text))
        if verify:
            package.verify()
        return package

    def verify(self) -> None:
        """Compare every listed file with its checksum, and the build hash with the RTL; KernelError at a difference."""
        sources = {}
        for name in self.kernel.files:
            content = self.read(name)
            if name.startswith("rtl/") and name.endswith(".sv"):
                sources[name] = content
        said = _SAID_HASH.search(sources.get(TOP, b"").decode("utf-8", "replace"))
        if said is None:  # no hardware of the compiler's
            return
        if not said.group(1) == self.kernel.build_hash == hardware_hash(sources):
            raise KernelError(
                f"{self.path / MANIFEST}: field build_hash: {self.kernel.build_hash} is not that of the files in rtl/ "
                f"({hardware_hash(sources)}, and {TOP} says {said.group(1)}): compile the package again"
            )

    def read(self, name: str) -> bytes:
        """Contents of a file listed in the manifest; KernelError where it is not what its checksum says."""
        if name not in self.kernel.files:
            raise KernelError(f"{self.path / MANIFEST}: field files: lists no {name!r}; compile the package again")
        try:
            content = read_regular(self.path / name)
        except OSError as error:
            raise KernelError(
                f"{self.path / name}: listed in {MANIFEST} but cannot be read ({error.strerror}); "
                "copy the package again"
            ) from error
        if sha256(content) != self.kernel.files[name]:
            raise KernelError(
                f"{self.path / name}: checksum differs from the one in {MANIFEST}; "
                "the file was changed or damaged: compile or copy the package again"
            )
        return content

    def board(self, name: str) -> BoardBuild:
        """The build for board `name`; KernelError, naming those that there are, where there is none."""
        try:
            return self.kernel.boards[name]
        except KeyError:
            built = ", ".join(sorted(self.kernel.boards)) or "none"
            raise KernelError(
                f"{self.path}: has no bitstream for board {name} (built: {built}): make one with "
                f"`make bitstream BOARD={name} KERNEL={self.path}`"
            ) from None

    def add_board(self, build: BoardBuild, files: Mapping[str, bytes]) -> Package:
        """Put a board's build and its files into the package, replacing one that was there; returns it as it now is.

        Files of the replaced build that the new one has not are removed. Whenever this is cut short, the package can be
        loaded: with the old build, with the new one, or, while files are swapped, with none for this board, but never
        with parts of two. Until all files are written, which is what takes long or fails, it is the old one.
        """
        folder = f"boards/{build.board}/"
        stray = [name for name in files if not name.startswith(folder)]
        if stray:
            raise KernelError(f"{self.path}: {stray[0]} of board {build.board} belongs in {folder}")
        kept = {name: digest for name, digest in self.kernel.files.items() if not name.startswith(folder)}
        listed = {**kept, **{name: sha256(content) for name, content in files.items()}}
        others = {name: board.model_dump() for name, board in self.kernel.boards.items() if name != build.board}
        staging = Path(tempfile.mkdtemp(dir=self.path, prefix=f".{build.board}."))
        try:
            for name, content in files.items():
                (staging / name).parent.mkdir(parents=True, exist_ok=True)
                write_atomically(staging / name, content)
            # Files of old and new build have the same names: between the two, the manifest must list neither.
            self.replace(boards=others, files=kept)
            for name in files:
                (self.path / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(staging / name, self.path / name)
            package = self.replace(
                boards={**others, build.board: build.model_dump()}, files=dict(sorted(listed.items()))
            )
        finally:
            shutil.rmtree(staging, ignore_errors=True)
        for name in set(self.kernel.files) - set(listed):
            (self.path / name).unlink(missing_ok=True)
        return package

    def check_trained_on(self, name: str, checksum: str) -> None:
        """Raise KernelError unless the networks were trained on the data set `name`, by its checksum."""
        kernel = self.kernel
        if checksum != kernel.dataset_sha256:
            raise KernelError(
                f"{self.path}: was trained on data set {kernel.dataset} ({kernel.dataset_sha256[:12]}...), but {name} "
                f"has checksum {checksum[:12]}...; give that data set, with the same --groups, or train and compile "
                "anew"
            )

    def replace(self, **fields: object) -> Package:
        """Write `kernel.json` anew with some fields replaced; returns the package as it now is."""
        kernel = Kernel.model_validate({**self.kernel.model_dump(), **fields})
        write_atomically(self.path / MANIFEST, _manifest(kernel))
        return Package(self.path, kernel)


def _stranger(folder: Path) -> str | None:
    """What in `folder` is not a kernel package's; None where all of it is. Packages of every schema count."""
    try:
        document = json.loads(read_regular(folder / MANIFEST))
        listed = {"build_hash", "stages"} <= document.keys() and set(document["files"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError):
        listed = False
    if not listed:
        return f"no {MANIFEST} in it says so"
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if not path.is_dir() and name not in listed and name != MANIFEST and not _EARLIER_LIBRARY.fullmatch(name):
            return f"it holds {name}, which {MANIFEST} does not list"
    return None


PACKAGE = Claim("kernel package", _stranger)


def write_package(path: Path, kernel: Kernel, files: Mapping[str, bytes]) -> Package:
    """Make the folder `path` hold exactly this package: built beside it, then swapped in by rename.

    `kernel.files` is filled from `files`. A package that was there is replaced whole; on any error it stays as it was.
    Raises OutputError, touching nothing, where `path` is anything else than a package, an empty folder or absent.
    """
    kernel = kernel.model_copy(update={"files": {name: sha256(files[name]) for name in sorted(files)}})
    place_folder(path, {**files, MANIFEST: _manifest(kernel)}, PACKAGE)
    return Package(path, kernel)


def load_kernel(path: Path) -> Kernel:
    """The kernel of the package in `path`, which may be of the schema before this one: to take its calibration over.

    Its files are compared with their checksums, its thresholds with their curves. Raises KernelError.
    """
    manifest = path / MANIFEST
    try:
        document = json.loads(read_regular(manifest))
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schema_version") != 2:
        return Package.load(path).kernel
    try:
        for stage in document["stages"]:
            stage["outputs"] = len(document["classes"])
        kernel = Kernel.model_validate({**document, "schema_version": SCHEMA_VERSION})
    except (ValueError, KeyError, TypeError) as error:
        raise KernelError(f"{manifest}: its calibration cannot be taken over ({error}): calibrate anew") from error
    Package(path, kernel).verify()
    return kernel


def _opened(manifest: Path, text: bytes) -> Kernel:
    """The kernel that `text` of file `manifest` says, its checksum compared; KernelError."""
    try:
        sealed = _Sealed.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("schema_version",) and isinstance(first["input"], int):
            raise KernelError(
                f"{manifest}: is of schema version {first['input']}, this EdgeSight reads {SCHEMA_VERSION}: compile it "
                "again, taking its calibration over by "
                f"`edgesight compile ZOO --out NEW --calibration {manifest.parent}`"
            ) from error
        field = ".".join(str(part) for part in first["loc"]) or "whole file"
        raise KernelError(
            f"{manifest}: field {field}: {first['msg']} ({len(text)} bytes read, {error.error_count()} faults); "
            "the file is damaged, was changed, or is of another version: compile or copy the package again"
        ) from error
    kernel = Kernel.model_validate(sealed.model_dump(exclude={"seal"}))
    if kernel.checksum != sealed.seal:
        raise KernelError(
            f"{manifest}: field checksum: differs from that of the other fields; the file was changed or damaged: "
            "compile or copy the package again"
        )
    return kernel


def _manifest(kernel: Kernel) -> bytes:
    """The text of `kernel.json`."""
    document = {**kernel.model_dump(mode="json"), "checksum": kernel.checksum}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()
