"""A kernel package on disk: a folder with `kernel.json` and beside it the files that it lists with their checksums.

`kernel.json` itself carries a checksum over everything else in it, so that what a guarantee rests on (thresholds,
calibration, classes, input, the networks' checksums) cannot be changed by hand unnoticed. It tells damage and edits,
not who made the package: whoever writes one can compute it.

The hand-written SystemVerilog that a kernel is assembled from (`hw/rtl`, the *library*) comes with EdgeSight: a package
names its files by checksum, and holds copies only where it was packed to leave for another version.

Words owned here: package, library, packed.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tempfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, ValidationError

from edgesight.host.board_build import BoardBuild
from edgesight.host.files import Claim, place_folder, read_regular, sha256, write_atomically
from edgesight.host.kernel import SCHEMA_VERSION, Kernel, KernelError, calibration_split
from edgesight.host.manifest_fields import Hex64

MANIFEST = "kernel.json"
LIBRARY = Path(__file__).resolve().parent.parent / "hw" / "rtl"
TOP = "kernel.sv"  # the source that says both hashes
RTL = "rtl/"
_EARLIER = (2, 3, 4, 5)  # schemas whose calibration can be taken over
# Not listed, and yet a package's: libraries built by versions that kept them here, and detectors of strange pictures of
# which nothing says any more or yet.
_UNLISTED = re.compile(r"lib/(csim|verilated)-[0-9a-f]{8}\.so|novelty-[0-9a-f]{8}\.npz")
_SAID_HASH = re.compile(r"\b(BuildHash|WeightsHash)\(32'h([0-9a-f]{8})\)")
_NO_HASH = r"\1(32'h00000000)"


class _Sealed(Kernel):
    """`kernel.json` as it is written: with the checksum of all its other fields."""

    seal: Annotated[Hex64, Field(alias="checksum")]


def structure_hash(generated: Mapping[str, bytes], library: Mapping[str, str]) -> str:
    """The build hash: of the SystemVerilog that was `generated` (file name -> text) and of the library's checksums.

    `kernel.sv` counts as if it said no hashes; the contents of weight memories do not count. Biases do, which are
    constants of the SystemVerilog.
    """
    digests = dict(library)
    for name, content in generated.items():
        if name.endswith(".sv"):
            text = content.decode("utf-8", "replace")
            digests[name] = sha256((_SAID_HASH.sub(_NO_HASH, text) if name == TOP else text).encode())
    return _of_digests(digests)[:8]


def weights_checksum(generated: Mapping[str, bytes]) -> str:
    """The SHA-256 of the weights: of the names and checksums of the memories' files among those `generated`."""
    return _of_digests({name: sha256(content) for name, content in generated.items() if name.endswith(".mem")})


def _of_digests(digests: Mapping[str, str]) -> str:
    return sha256("".join(f"{digests[name]}  {name}\n" for name in sorted(digests)).encode())


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
                f"{manifest}: cannot be read ({error.strerror}): name a kernel package, a folder with {MANIFEST}, "
                "made by `edgesight compile`"
            ) from error
        package = cls(path, _opened(manifest, text))
        if verify:
            package.verify()
        return package

    def verify(self) -> None:
        """Compare every listed file with its checksum, and both hashes with the RTL; KernelError at a difference."""
        for name in self.kernel.files:
            self.read(name)
        generated = self._generated()
        said = dict(_SAID_HASH.findall(generated.get(TOP, b"").decode("utf-8", "replace")))
        if not said:  # no hardware of the compiler's
            return
        kernel = self.kernel
        for field, register, stated, found in (
            ("build_hash", "BuildHash", kernel.build_hash, structure_hash(generated, kernel.library)),
            ("weights_sha256", "WeightsHash", kernel.weights_sha256, weights_checksum(generated)),
        ):
            if stated != found or said.get(register) != stated[:8]:
                raise KernelError(
                    f"{self.path / MANIFEST}: field {field}: {stated} is not that of the files in rtl/ "
                    f"({found}, and {RTL}{TOP} says {said.get(register)}): compile the package again"
                )

    def sources(self) -> dict[str, bytes]:
        """The hardware's files by name, library included: SystemVerilog and the contents of weight memories.

        Raises KernelError where one is not what its checksum says, or where this EdgeSight's library is another.
        """
        listed = self._generated()
        return {**listed, **{name: self._library_file(name).read_bytes() for name in self.kernel.library}}

    def source_paths(self) -> list[Path]:
        """Where the hardware's SystemVerilog lies, packages first, as tools want it; KernelError as of `sources`."""
        names = [name for name in self._generated() if name.endswith(".sv")]
        paths = [*(self.path / RTL / name for name in names), *map(self._library_file, self.kernel.library)]
        return sorted(paths, key=lambda path: (not path.stem.endswith("_pkg"), path.name))

    def _generated(self) -> dict[str, bytes]:
        """What the compiler wrote into rtl/, by file name."""
        names = [name.removeprefix(RTL) for name in self.kernel.files if name.startswith(RTL)]
        return {name: self.read(f"{RTL}{name}") for name in names if name not in self.kernel.library}

    def _library_file(self, name: str) -> Path:
        """A file of the library: the package's own copy if it was packed, else EdgeSight's; KernelError if another."""
        if f"{RTL}{name}" in self.kernel.files:
            self.read(f"{RTL}{name}")
            return self.path / RTL / name
        path = LIBRARY / name
        try:
            found = sha256(read_regular(path))
        except OSError:
            found = "none"
        if found != self.kernel.library[name]:
            raise KernelError(
                f"{self.path}: was compiled with another {path.name} than {LIBRARY} has, so that its hardware cannot "
                "be built here: compile it again, taking its calibration over (the shipped ones: `edgesight kernels "
                f"--keep-calibration`), or pack it where it was compiled (`edgesight pack {self.path} --out NEW`)"
            )
        return path

    def pack(self, out: Path) -> Package:
        """Write this package with the library's files in it to `out`: whole by itself, for another version's EdgeSight.

        Bitstreams come along. Raises KernelError as of `sources`, OutputError as of `write_package`.
        """
        library = {f"{RTL}{name}": self._library_file(name).read_bytes() for name in self.kernel.library}
        return write_package(out, self.kernel, {**{name: self.read(name) for name in self.kernel.files}, **library})

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
            raise KernelError(f"{self.path}: {stray[0]} of board {build.board} belongs in {folder}: move it there")
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

    def check_cascade(self) -> None:
        """Raise KernelError where it holds a network alone, which has no classes and promises no accuracy."""
        if self.kernel.logits_in_record:
            raise KernelError(
                f"{self.path}: holds a network alone, which answers with its logits (`edgesight board selftest` tries "
                "it; open_fabric runs it from Python): for a cascade with accuracy targets, compile a zoo folder"
            )

    def check_trained_on(self, name: str, checksum: str) -> None:
        """Raise KernelError unless it is a cascade that was trained on the data set `name`, by its checksum."""
        kernel = self.kernel
        self.check_cascade()
        if checksum != kernel.dataset_sha256:
            raise KernelError(
                f"{self.path}: was trained on data set {kernel.dataset} ({kernel.dataset_sha256[:12]}...), but {name} "
                f"has checksum {checksum[:12]}...; give that data set, with the same --groups, or train and compile "
                "anew"
            )

    def put(self, files: Mapping[str, bytes], gone: Collection[str], **fields: object) -> Package:
        """Add `files` and replace some fields of `kernel.json`; then remove those of its files that are `gone`.

        A file that is added has a name of its own, so that the package can be loaded whenever this is cut short.
        Returns it as it now is.
        """
        for name, content in files.items():
            write_atomically(self.path / name, content)
        kept = {name: digest for name, digest in self.kernel.files.items() if name not in gone}
        listed = {**kept, **{name: sha256(content) for name, content in files.items()}}
        package = self.replace(files=dict(sorted(listed.items())), **fields)
        for name in set(gone) - set(listed):
            (self.path / name).unlink(missing_ok=True)
        return package

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
        if not path.is_dir() and name not in listed and name != MANIFEST and not _UNLISTED.fullmatch(name):
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
    """The kernel of the package in `path`, which may be of the three schemas before this: to take its calibration over.

    Its files are compared with their checksums, its thresholds with their curves. Raises KernelError.
    """
    manifest = path / MANIFEST
    try:
        document = json.loads(read_regular(manifest))
    except (OSError, ValueError, RecursionError):
        document = None
    if not isinstance(document, dict) or document.get("schema_version") not in _EARLIER:
        return Package.load(path).kernel
    try:
        kernel = Kernel.model_validate(_raised(document))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise KernelError(f"{manifest}: its calibration cannot be taken over ({error}): calibrate anew") from error
    for name in kernel.files:
        Package(path, kernel).read(name)
    return kernel


def _raised(document: dict[str, Any]) -> dict[str, Any]:
    """A document of schemas 2 to 5 as one of this schema would say it; its RTL is of no further use.

    Raises ValueError where the checksum that those from 3 on have is not that of the other fields.
    """
    raised = {name: value for name, value in document.items() if name != "checksum"}
    packed = json.dumps(raised, sort_keys=True, separators=(",", ":")).encode()
    if document["schema_version"] > 2 and document["checksum"] != sha256(packed):
        raise ValueError("field checksum: differs from that of the other fields")
    if document["schema_version"] == 5:
        return {**raised, "schema_version": SCHEMA_VERSION}
    raised["stages"] = [_raised_stage(stage, len(document["classes"])) for stage in document["stages"]]
    if document["schema_version"] == 4:
        return {**raised, "schema_version": SCHEMA_VERSION}
    name, digest = document["dataset"], document["dataset_sha256"]
    if document["calibration"] is not None:
        raised["calibration"] = {**document["calibration"], "rests_on": calibration_split(name, digest).model_dump()}
    return {**raised, "schema_version": SCHEMA_VERSION, "weights_sha256": sha256(b""), "backend_input": None}


def _raised_stage(stage: dict[str, Any], classes: int) -> dict[str, Any]:
    """A stage whose logits were integers of a power of two, and whose multiplications nobody had counted."""
    rest = {name: value for name, value in stage.items() if name != "logit_fraction_bits"}
    return {"outputs": classes, "multiplications": 0, **rest, "logit_scale": 2.0 ** -int(stage["logit_fraction_bits"])}


def _opened(manifest: Path, text: bytes) -> Kernel:
    """The kernel that `text` of file `manifest` says, its checksum compared; KernelError."""
    try:
        sealed = _Sealed.model_validate_json(text)
    except ValidationError as error:
        first = error.errors()[0]
        if first["loc"] == ("schema_version",) and isinstance(first["input"], int):
            remedy = (
                "compile it again, taking its calibration over by "
                f"`edgesight compile ZOO --out NEW --calibration {manifest.parent}`"
                if first["input"] in _EARLIER
                else "compile and calibrate it again, or use the EdgeSight that made it"
            )
            raise KernelError(
                f"{manifest}: is of schema version {first['input']}, this EdgeSight reads {SCHEMA_VERSION}: {remedy}"
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
