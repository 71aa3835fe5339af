"""What an output may replace: its own kind, an empty or absent place, and nothing else."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import pytest

from edgesight.host.files import (
    PICTURE,
    Claim,
    OutputError,
    check_report_folder,
    check_reports,
    json_claim,
    place_folder,
    write_output,
)

MARKED = Claim("marked folder", lambda path: None if (path / "mark").exists() else "it has no mark")
REPORT = json_claim("report", "checks")


def test_a_folder_that_is_something_else_is_refused_and_stays(tmp_path: Path) -> None:
    (tmp_path / "precious" / "sub").mkdir(parents=True)
    (tmp_path / "precious" / "thesis.txt").write_text("important")
    with pytest.raises(OutputError, match=r"precious: exists and is no marked folder \(it has no mark\); nothing was"):
        place_folder(tmp_path / "precious", {"mark": b""}, MARKED)
    assert (tmp_path / "precious" / "thesis.txt").read_text() == "important"
    assert (tmp_path / "precious" / "sub").is_dir()
    assert [path.name for path in tmp_path.iterdir()] == ["precious"]


@pytest.mark.parametrize("there", ["absent", "empty", "ours", "link to ours"])
def test_a_folder_that_is_ours_or_empty_is_filled(tmp_path: Path, there: str) -> None:
    place = tmp_path / "place"
    if there != "absent":
        place.mkdir()
    if "ours" in there:
        (place / "mark").write_bytes(b"old")
        (place / "gone").write_bytes(b"old")
    if "link" in there:
        place.rename(tmp_path / "real")
        place.symlink_to(tmp_path / "real")
    place_folder(place, {"mark": b"new", "a/b": b"deep"}, MARKED)
    assert {path.name for path in place.iterdir()} == {"mark", "a"}
    assert (place / "a" / "b").read_bytes() == b"deep"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("there", ["absent", "empty", "folders", "hidden", "another report"])
def test_a_folder_for_reports_is_absent_empty_or_holds_some(tmp_path: Path, there: str) -> None:
    folder = tmp_path / "bench"
    if there != "absent":
        folder.mkdir()
    if there == "folders":
        (folder / "work").mkdir()
    elif there == "hidden":
        (folder / ".gitignore").write_text("*")
    elif there == "another report":
        (folder / "link.json").write_text('{"checks": []}')
        (folder / "link.png").write_bytes(b"")
    check_report_folder(folder, REPORT)
    if there in ("folders", "hidden"):
        (folder / "thesis.txt").write_text("important")
        with pytest.raises(OutputError, match=r"bench: exists and is no folder of reports \(it holds thesis\.txt"):
            check_report_folder(folder, REPORT)


def test_a_full_disk_leaves_the_old_folder_and_no_half_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place_folder(tmp_path / "place", {"mark": b"old"}, MARKED)

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OutputError, match=r"place: cannot be written .No space left on device.: free some space"):
        place_folder(tmp_path / "place", {"mark": b"new"}, MARKED)
    assert (tmp_path / "place" / "mark").read_bytes() == b"old"
    assert [path.name for path in tmp_path.iterdir()] == ["place"]


def test_a_swap_that_fails_puts_the_old_folder_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place_folder(tmp_path / "place", {"mark": b"old"}, MARKED)
    rename = os.rename

    def second_fails(source: Path, target: Path) -> None:
        if source.name == "new":
            raise OSError(errno.EIO, "Input/output error")
        rename(source, target)

    monkeypatch.setattr(os, "rename", second_fails)
    with pytest.raises(OutputError, match="Input/output error"):
        place_folder(tmp_path / "place", {"mark": b"new"}, MARKED)
    assert (tmp_path / "place" / "mark").read_bytes() == b"old"


@pytest.mark.parametrize(
    ("content", "why"),
    [(b"my notes", "it holds no JSON"), (b"[1]", "has no 'checks'"), (b'{"other": 1}', "has no 'checks'")],
)
def test_a_file_that_is_something_else_is_refused_and_stays(tmp_path: Path, content: bytes, why: str) -> None:
    path = tmp_path / "report.json"
    path.write_bytes(content)
    with pytest.raises(OutputError, match=why):
        write_output(path, b"{}", REPORT)
    assert path.read_bytes() == content


def test_an_earlier_report_an_empty_file_and_an_absent_one_are_written(tmp_path: Path) -> None:
    for name, before in (("earlier", b'{"checks": []}'), ("empty", b""), ("deep/absent", None)):
        path = tmp_path / name
        if before is not None:
            path.write_bytes(before)
        write_output(path, b'{"checks": [1]}', REPORT)
        assert json.loads(path.read_bytes()) == {"checks": [1]}


def test_a_folder_for_a_file_and_a_file_for_a_folder_are_named(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OutputError, match="is a folder, and a report is a file"):
        REPORT.check_file(tmp_path / "folder")
    with pytest.raises(OutputError, match="is no folder, and a marked folder is one"):
        MARKED.check_folder(tmp_path / "file")
    with pytest.raises(OutputError, match=r"file is no folder: name another place"):
        MARKED.check_folder(tmp_path / "file" / "in" / "it")
    with pytest.raises(OutputError, match="is a device or a pipe"):
        REPORT.check_file(Path("/dev/null"))


def test_what_lies_beside_a_report_is_ours_only_with_the_report(tmp_path: Path) -> None:
    check_reports(tmp_path, REPORT, "report.json", "report.png")
    (tmp_path / "report.png").write_bytes(b"a picture")
    with pytest.raises(OutputError, match=r"report\.png: exists, but no report\.json beside it"):
        check_reports(tmp_path, REPORT, "report.json", "report.png")
    (tmp_path / "report.json").write_text('{"checks": []}')
    check_reports(tmp_path, REPORT, "report.json", "report.png")
    with pytest.raises(OutputError, match="is no folder, and reports go into one"):
        check_reports(tmp_path / "report.png", REPORT, "report.json")


def test_only_a_picture_of_ours_is_drawn_over(tmp_path: Path) -> None:
    path = tmp_path / "plan.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n a holiday")
    with pytest.raises(OutputError, match="was not drawn by EdgeSight"):
        write_output(path, b"", PICTURE)
