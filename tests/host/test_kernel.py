"""The kernel package on disk: boards' builds go in whole; what a guarantee rests on cannot be changed unnoticed."""

from __future__ import annotations

import contextlib
import json
import math
import os
import re
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgesight.host.board_build import BoardBuild, Used
from edgesight.host.files import OutputError, sha256
from edgesight.host.kernel import KernelError
from edgesight.host.package import (
    LIBRARY,
    MANIFEST,
    Package,
    load_kernel,
    structure_hash,
    weights_checksum,
    write_package,
)

DIGITS = Path(__file__).resolve().parents[2] / "bitstreams" / "digits"
FASHION = DIGITS.parent / "fashion-mnist"


@pytest.fixture
def package(tmp_path: Path) -> Package:
    shutil.copytree(DIGITS, tmp_path / "digits", ignore=shutil.ignore_patterns("lib", "boards"))
    loaded = Package.load(tmp_path / "digits", verify=False)
    return loaded.replace(
        boards={}, files={n: d for n, d in loaded.kernel.files.items() if not n.startswith("boards/")}
    )


def build(board: str, *reports: str) -> BoardBuild:
    return BoardBuild(
        board=board,
        part="a part",
        flow="open",
        bitstream=f"boards/{board}/digits.bit",
        handoff=None,
        device_tree=None,
        pynq_board=None,
        serial=None,
        clock_mhz=100.0,
        fmax_mhz=110.0,
        worst_slack_ns=0.9,
        utilisation={"LUT": Used(used=1, available=2)},
        tools={},
        reports=[f"boards/{board}/{report}" for report in reports],
    )


def test_a_board_build_is_found_again_with_its_checksums(package: Package) -> None:
    made = build("one", "timing.txt")
    package.add_board(made, {"boards/one/digits.bit": b"bits", "boards/one/timing.txt": b"fine"})
    loaded = Package.load(package.path)
    assert loaded.board("one") == made
    assert loaded.read("boards/one/digits.bit") == b"bits"


def test_a_new_build_replaces_the_files_of_the_old_one_and_leaves_other_boards(package: Package) -> None:
    package = package.add_board(build("one", "old.txt"), {"boards/one/digits.bit": b"1", "boards/one/old.txt": b"old"})
    package = package.add_board(build("two"), {"boards/two/digits.bit": b"2"})
    package = package.add_board(build("one"), {"boards/one/digits.bit": b"3"})
    loaded = Package.load(package.path)
    assert not (package.path / "boards/one/old.txt").exists()
    assert "boards/one/old.txt" not in loaded.kernel.files
    assert (loaded.read("boards/one/digits.bit"), loaded.read("boards/two/digits.bit")) == (b"3", b"2")


def test_a_build_that_is_cut_short_anywhere_leaves_a_package_that_loads(
    package: Package, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Cut(BaseException):
        pass

    old = {"boards/one/digits.bit": b"1", "boards/one/timing.txt": b"old", "boards/one/old.txt": b"old"}
    new = {"boards/one/digits.bit": b"2", "boards/one/timing.txt": b"new"}
    rename = os.replace
    seen: list[bytes | None] = []
    for whole in range(10):  # renames that succeed
        left = whole

        def cut_short(*arguments: Any) -> None:
            nonlocal left
            if not left:
                raise Cut
            left -= 1
            rename(*arguments)

        package = package.add_board(build("one", "timing.txt", "old.txt"), old)
        with monkeypatch.context() as patch, contextlib.suppress(Cut):
            patch.setattr(os, "replace", cut_short)
            package.add_board(build("one", "timing.txt"), new)
        package = Package.load(package.path)
        found = package.read("boards/one/digits.bit") if "one" in package.kernel.boards else None
        if found is not None:
            files = new if found == b"2" else old
            assert {name: package.read(name) for name in files} == files
            assert {name for name in package.kernel.files if name.startswith("boards/")} == set(files)
        assert not list(package.path.glob(".*"))
        seen.append(found)
    # Staging two files, the manifest without the board, two files, the manifest with it.
    assert seen == [b"1"] * 3 + [None] * 3 + [b"2"] * 4


def test_a_file_outside_the_boards_folder_is_refused_and_nothing_is_written(package: Package) -> None:
    before = (package.path / "kernel.json").read_bytes()
    with pytest.raises(KernelError, match="belongs in boards/one/"):
        package.add_board(build("one"), {"rtl/stage0.sv": b""})
    assert (package.path / "kernel.json").read_bytes() == before


@pytest.mark.parametrize("name", [MANIFEST, "datacenter.onnx"])
@pytest.mark.parametrize("sort", ["pipe", "device", "folder"])
def test_what_is_no_file_is_refused_at_once(package: Package, name: str, sort: str) -> None:
    (package.path / name).unlink()
    if sort == "pipe":
        os.mkfifo(package.path / name)
    elif sort == "device":
        (package.path / name).symlink_to("/dev/zero")
    else:
        (package.path / name).mkdir()
    said = "Is a directory" if sort == "folder" else "it is a pipe or a device, not a file"

    def loads() -> None:
        for load in (Package.load, load_kernel):
            with pytest.raises(KernelError, match=rf"{name}: .*cannot be read \({said}\)"):
                load(package.path)
        if name == MANIFEST:
            with pytest.raises(OutputError, match=f"no {MANIFEST} in it says so"):
                write_package(package.path, package.kernel, {})

    thread = threading.Thread(target=loads, daemon=True)
    with _faults() as faults:
        thread.start()
        thread.join(20.0)
    assert not thread.is_alive(), "it waits for a pipe"
    assert not faults


@contextlib.contextmanager
def _faults() -> Iterator[list[str]]:
    """What threads fail with meanwhile."""
    found: list[str] = []
    before, threading.excepthook = threading.excepthook, lambda given: found.append(repr(given.exc_value))
    try:
        yield found
    finally:
        threading.excepthook = before


def test_a_missing_build_names_the_boards_there_are(package: Package) -> None:
    package = package.add_board(build("one"), {"boards/one/digits.bit": b""})
    with pytest.raises(KernelError, match=r"board pynq-z2 \(built: one\).*make bitstream BOARD=pynq-z2"):
        package.board("pynq-z2")


def manifest(path: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((path / MANIFEST).read_bytes())
    return document


def sealed(document: dict[str, Any]) -> str:
    """The document with the checksum that its fields have, as a careful forger would write it."""
    raw = {name: value for name, value in document.items() if name != "checksum"}
    canonical = json.dumps(raw, sort_keys=True, separators=(",", ":"))
    return json.dumps({**raw, "checksum": sha256(canonical.encode())})


def thresholds(row: list[int]) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for target in document["calibration"]["targets"]:
            target["thresholds"] = row

    return change


def field(*path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        for name in path[:-1]:
            document = document[name]
        document[path[-1]] = value

    return change


def trunk(stage: int, layer: str = "Conv2D_Conv_0", of: int = 0) -> Callable[[dict[str, Any]], None]:
    def change(document: dict[str, Any]) -> None:
        shape = {"height": 4, "width": 4, "channels": 2, "bits": 4, "signed": False, "multiplications": 0}
        document["stages"][of]["trunk"] = {"stage": stage, "layer": layer, **shape}

    return change


PATCHES: dict[str, tuple[Callable[[dict[str, Any]], None], str | None]] = {
    "thresholds that answer all at once": (thresholds([0, 0]), "do not fit the calibration's curves"),
    "negative thresholds": (thresholds([-5, -5]), "do not fit the calibration's curves"),
    "one threshold": (thresholds([5]), "1 thresholds and 2 curves for 2 stages"),
    "a threshold above every margin": (thresholds([2**31, 5]), "do not fit the calibration's curves"),
    "no classes": (field("classes", value=[]), "0 names; a cascade tells at least 2 apart"),
    "too few classes": (field("classes", value=["a", "b"]), "2 names for the 10 outputs of stage0"),
    "a class twice": (field("classes", value=["a"] * 10), "two have the same name"),
    "another build hash": (field("build_hash", value="deadbeef"), "deadbeef is not that of the files in rtl/"),
    "other weights": (field("weights_sha256", value="e" * 64), "field weights_sha256: eeee"),
    "another library": (field("library", "mvu.sv", value="0" * 64), "field build_hash"),
    "a library elsewhere": (field("library", "../mvu.sv", value="0" * 64), "field library.../mvu.sv"),
    "logits of two stages": (field("logits_in_record", value=True), "2 stages; only a network alone says its logits"),
    "a cascade of two channels": (field("input", "channels", value=2), "a cascade takes pictures of 1 or 3 channels"),
    "a cascade of signed values": (field("input", "signed", value=True), "a cascade takes pictures of 1 or 3"),
    "a frame too large": (field("input", "channels", value=65_536), "a frame of 51380224 bytes; it may have 4194304"),
    "no stages": (field("stages", value=[]), "field stages: List should have at least 1 item"),
    "five stages": (lambda document: document.update(stages=5 * document["stages"][:1]), "at most 4 items"),
    "a trunk of itself": (trunk(0), "stages.0.trunk: stage 0 does not come before it"),
    "a trunk of a later stage": (trunk(1), "stages.0.trunk: stage 1 does not come before it"),
    "a trunk of no layer": (trunk(0, "Conv_99", of=1), "stages.1.trunk: stage 0 has no layer 'Conv_99'"),
    "a back end's mean too many": (field("backend_input", "mean", value=[0.0, 1.0]), "2 means and 1 deviations for 1"),
    "bytes with a mean": (field("backend_input", "mean", value=[7.0]), "wants float32"),
    "a deviation of nothing": (field("backend_input", "deviation", value=[0.0]), "field backend_input.deviation.0"),
    "an output of two classes": (field("backend_input", "outputs", value=[0, 0]), "two classes are the same output"),
    "an output too many": (field("backend_input", "outputs", value=list(range(11))), "11 of the model's for 10"),
    "a detector that is not there": (
        field("novelty", value={"file": "novelty.npz", "level": 0.01, "images": 9}),
        "novelty.npz is not among the package's files",
    ),
    "a rung of no bytes": (
        field("calibration", "ladder", value=[{"quality": 50, "divisor": 1, "bytes": 0.0, "accuracy": 0.9}]),
        "field calibration.ladder.0.bytes",
    ),
    "a promise on nothing": (field("calibration", "rests_on", value=None), "field calibration.rests_on"),
    "another back end": (field("calibration", "backend_sha256", value="0" * 64), "is not that of datacenter.onnx"),
    "no buckets": (field("calibration", "buckets", value=[]), "field calibration.buckets"),
    "a loss that was not measured": (field("calibration", "loss", value=0.3), "must be one of the buckets'"),
    "another loss": (field("calibration", "loss", value=0.2), None),
    "another name": (field("classes", value=[f"class {k}" for k in range(10)]), None),
    "another size": (field("input", "height", value=56), None),
    "another clock": (field("clock_mhz", value=200.0), None),
    "a clock that is no number": (field("clock_mhz", value=float("nan")), "field clock_mhz"),
}


@pytest.mark.parametrize("name", PATCHES)
def test_a_manifest_that_was_changed_is_refused(tmp_path: Path, name: str) -> None:
    change, _ = PATCHES[name]
    shutil.copytree(FASHION, tmp_path / "kernel")
    document = manifest(tmp_path / "kernel")
    change(document)
    (tmp_path / "kernel" / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(KernelError):
        Package.load(tmp_path / "kernel")


@pytest.mark.parametrize("name", [name for name, (_, message) in PATCHES.items() if message is not None])
def test_what_cannot_be_true_is_refused_by_name_with_a_right_checksum_too(tmp_path: Path, name: str) -> None:
    change, message = PATCHES[name]
    shutil.copytree(FASHION, tmp_path / "kernel")
    document = manifest(tmp_path / "kernel")
    change(document)
    (tmp_path / "kernel" / MANIFEST).write_text(sealed(document))
    with pytest.raises(KernelError, match=re.escape(str(message))):
        Package.load(tmp_path / "kernel")


def test_the_checksum_is_what_its_docstring_says(tmp_path: Path) -> None:
    shutil.copytree(FASHION, tmp_path / "kernel")
    document = manifest(tmp_path / "kernel")
    assert json.loads(sealed(document)) == document
    (tmp_path / "kernel" / MANIFEST).write_text(json.dumps(document))  # written in another way, saying the same
    Package.load(tmp_path / "kernel")
    document["clock_mhz"] = 123.0
    (tmp_path / "kernel" / MANIFEST).write_text(json.dumps(document))
    with pytest.raises(KernelError, match=r"kernel\.json: field checksum: differs"):
        Package.load(tmp_path / "kernel")


def test_the_handed_patches_are_refused(tmp_path: Path) -> None:
    patches = Path(__file__).resolve().parents[3] / "shared" / "cases" / "user" / "kernel-json-patches.json"
    if not patches.is_file():
        pytest.skip("the handed patches are not here; PATCHES above has the same")
    for name, patch in json.loads(patches.read_bytes()).items():
        shutil.copytree(FASHION, tmp_path / name)
        document = manifest(tmp_path / name)
        if patch["path"] == "calibration.targets[*].thresholds":
            thresholds(patch["value"])(document)
        else:
            field(patch["path"], value=patch["value"])(document)
        for text in (json.dumps(document), sealed(document)):
            (tmp_path / name / MANIFEST).write_text(text)
            with pytest.raises(KernelError):
                Package.load(tmp_path / name)


def older(path: Path, version: int) -> None:
    """Rewrite the package's manifest as the schema of this version had it, 2 to 5."""
    document = manifest(path)
    document["schema_version"] = version
    del document["checksum"], document["novelty"], document["calibration"]["ladder"]
    del document["backend_input"]["outputs"]
    if version == 5:
        (path / MANIFEST).write_text(sealed(document))
        return
    del document["logits_in_record"]
    for name in ("bits", "signed"):
        del document["input"][name]
    if version < 4:
        for name in ("weights_sha256", "backend_input", "library"):
            del document[name]
        del document["calibration"]["rests_on"]
    for stage in document["stages"]:
        stage["logit_fraction_bits"] = -round(math.log2(stage.pop("logit_scale")))
        for name in ("logit_offset", "logit_error", "softmax", "not_stated", "multiplications"):
            del stage[name]
        if version < 4:
            del stage["trunk"]
        if version == 2:
            del stage["outputs"]
    (path / MANIFEST).write_text(json.dumps(document) if version == 2 else sealed(document))


@pytest.mark.parametrize("version", [2, 3, 4, 5])
def test_an_older_package_says_what_to_do_and_gives_its_calibration(tmp_path: Path, version: int) -> None:
    old = tmp_path / "old"
    shutil.copytree(FASHION, old)
    older(old, version)
    said = rf"schema version {version}, this EdgeSight reads 6: compile it again.*--calibration"
    with pytest.raises(KernelError, match=said):
        Package.load(old)
    given, taken = Package.load(FASHION).kernel, load_kernel(old)
    assert taken.calibration == given.calibration is not None
    assert taken.files == given.files
    document = manifest(old)
    thresholds([0, 0])(document)
    (old / MANIFEST).write_text(sealed(document))
    with pytest.raises(KernelError, match="do not fit the calibration's curves"):
        load_kernel(old)


@pytest.mark.parametrize("version", [1, 7])
def test_a_package_of_which_no_calibration_can_be_had_is_not_said_to_give_one(tmp_path: Path, version: int) -> None:
    other = tmp_path / "other"
    shutil.copytree(FASHION, other)
    document = manifest(other)
    document["schema_version"] = version
    (other / MANIFEST).write_text(sealed(document))
    with pytest.raises(KernelError, match=f"schema version {version}, this EdgeSight reads 6: ") as refused:
        load_kernel(other)
    assert "--calibration" not in str(refused.value)
    assert "or use the EdgeSight that made it" in str(refused.value)


def test_an_older_package_that_was_changed_gives_no_calibration(tmp_path: Path) -> None:
    old = tmp_path / "old"
    shutil.copytree(FASHION, old)
    older(old, 3)
    document = manifest(old)
    (old / MANIFEST).write_text(json.dumps({**document, "clock_mhz": 200.0}))
    with pytest.raises(KernelError, match=r"field checksum: differs.*calibrate anew"):
        load_kernel(old)
    (old / MANIFEST).write_text(json.dumps(document))
    (old / "networks" / "stage0.onnx").write_bytes(b"another network")
    with pytest.raises(KernelError, match=r"stage0\.onnx: checksum differs"):
        load_kernel(old)


def test_hardware_of_another_versions_library_says_what_to_do(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = package.pack(tmp_path / "packed")
    shutil.copytree(LIBRARY, tmp_path / "rtl")
    (tmp_path / "rtl" / "mvu.sv").write_text("module mvu; endmodule\n")
    monkeypatch.setattr("edgesight.host.package.LIBRARY", tmp_path / "rtl")
    Package.load(package.path)  # a board needs no sources
    for use in (package.sources, package.source_paths, lambda: package.pack(tmp_path / "again")):
        with pytest.raises(KernelError, match=r"another mvu\.sv than .*--keep-calibration.*edgesight pack"):
            use()
    (tmp_path / "rtl" / "mvu.sv").unlink()
    with pytest.raises(KernelError, match=r"another mvu\.sv"):
        package.sources()
    assert set(packed.sources()) == {path.name for path in (packed.path / "rtl").iterdir()}
    assert {path.parent for path in packed.source_paths()} == {packed.path / "rtl"}
    (packed.path / "rtl" / "mvu.sv").write_text("module mvu; endmodule\n")
    with pytest.raises(KernelError, match=r"mvu\.sv: checksum differs"):
        packed.sources()


def test_a_packed_copy_that_is_not_the_librarys_file_is_refused(package: Package, tmp_path: Path) -> None:
    packed = package.pack(tmp_path / "packed")
    (packed.path / "rtl" / "mvu.sv").write_text("module mvu; endmodule\n")
    document = manifest(packed.path)
    document["files"]["rtl/mvu.sv"] = sha256((packed.path / "rtl" / "mvu.sv").read_bytes())
    (packed.path / MANIFEST).write_text(sealed(document))
    with pytest.raises(KernelError, match=r"library: rtl/mvu\.sv is not the file that it names"):
        Package.load(packed.path)


def test_the_build_hash_is_of_the_structure_and_the_checksum_of_the_weights() -> None:
    kernel = b"cascade #(.BuildHash(32'h01234567), .WeightsHash(32'h89abcdef)) u_cascade ();"
    files = {"kernel.sv": kernel, "stage0.sv": b"module stage0;", "stage0_weights.mem": b"12\n34\n"}
    library = {"mvu.sv": "0" * 64}
    structure, weights = structure_hash(files, library), weights_checksum(files)
    said = {**files, "kernel.sv": kernel.replace(b"01234567", b"00000000").replace(b"89abcdef", b"ffffffff")}
    assert (structure_hash(said, library), weights_checksum(said)) == (structure, weights)
    other_weights = {**files, "stage0_weights.mem": b"12\n35\n"}
    assert structure_hash(other_weights, library) == structure
    assert weights_checksum(other_weights) != weights
    for name, library_ in (("stage0.sv", library), ("kernel.sv", library), ("", {"mvu.sv": "1" * 64})):
        changed = {**files, **({name: files[name] + b" "} if name else {})}
        assert structure_hash(changed, library_) != structure
        assert weights_checksum(changed) == weights


def test_only_a_kernel_package_is_replaced_by_one(package: Package, tmp_path: Path) -> None:
    files = {name: package.read(name) for name in package.kernel.files}
    (tmp_path / "precious" / "sub").mkdir(parents=True)
    (tmp_path / "precious" / "thesis.txt").write_text("important")
    with pytest.raises(OutputError, match="precious: exists and is no kernel package"):
        write_package(tmp_path / "precious", package.kernel, files)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "important"
    (package.path / "lib").mkdir()
    (package.path / "lib" / "csim-0badcafe.so").write_bytes(b"of an earlier version")
    assert write_package(package.path, package.kernel, files).kernel == package.kernel
    (package.path / "notes.txt").write_text("mine")
    with pytest.raises(OutputError, match=r"it holds notes\.txt, which kernel\.json does not list"):
        write_package(package.path, package.kernel, files)
    assert (package.path / "notes.txt").read_text() == "mine"


def test_a_package_of_an_older_schema_may_be_replaced(package: Package) -> None:
    older(package.path, 2)
    files = {name: (package.path / name).read_bytes() for name in package.kernel.files}
    write_package(package.path, package.kernel, files)
    assert Package.load(package.path).kernel == package.kernel
