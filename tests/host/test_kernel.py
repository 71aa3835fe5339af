"""The kernel package on disk: a board's build goes in whole, replaces its forerunner, and is asked for by name."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from typing import Any

import pytest

from host.kernel import BoardBuild, KernelError, Package, Used

DIGITS = Path(__file__).resolve().parents[2] / "bitstreams" / "digits"


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
        package.add_board(build("one"), {"rtl/mvu.sv": b""})
    assert (package.path / "kernel.json").read_bytes() == before


def test_a_missing_build_names_the_boards_there_are(package: Package) -> None:
    package = package.add_board(build("one"), {"boards/one/digits.bit": b""})
    with pytest.raises(KernelError, match=r"board pynq-z2 \(built: one\).*make bitstream BOARD=pynq-z2"):
        package.board("pynq-z2")
