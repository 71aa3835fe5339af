"""Libraries built on this machine lie in the user's cache, are found by content, and are loaded only whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from edgesight.host import libraries
from edgesight.host.cache import CacheError, cache_folder
from edgesight.host.libraries import LIBRARY, entry, find, keep
from edgesight.host.package import Package
from tests.host.by_hand import calibration, package


@pytest.fixture
def made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Package:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return package(tmp_path / "kernel", calibration())


def test_what_was_kept_is_found_and_the_package_stays_as_it_was(made: Package) -> None:
    before = sorted(path.name for path in made.path.rglob("*"))
    assert find(made, "csim") is None
    path = keep(made, "csim", "recipe", {LIBRARY: b"code", "stage0/weights/w.txt": b"1,2"})
    assert path == find(made, "csim") == find(made, "csim", "recipe")
    assert (path.parent / "stage0" / "weights" / "w.txt").read_bytes() == b"1,2"
    assert find(made, "csim", "another") is None
    assert find(made, "verilated") is None
    assert sorted(path.name for path in made.path.rglob("*")) == before


def test_a_library_inside_a_package_is_never_loaded(made: Package) -> None:
    (made.path / "lib").mkdir()
    for name in ("csim", "verilated"):
        (made.path / "lib" / f"{name}-{made.kernel.build_hash}.so").write_bytes(b"foreign code")
        assert find(made, name) is None


@pytest.mark.parametrize("name", [LIBRARY, "weights.txt", "built.json"])
def test_an_entry_that_is_damaged_or_half_there_is_not_found_and_is_replaced(made: Package, name: str) -> None:
    def build() -> Path:
        return keep(made, "csim", "recipe", {LIBRARY: b"code", "weights.txt": b"1"})

    victim = build().with_name(name)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert find(made, "csim") is None
    build()
    victim.unlink()
    assert find(made, "csim") is None
    assert find(made, "csim") is None
    assert build() == find(made, "csim")


def test_another_machine_and_other_sources_have_their_own(made: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    own = entry(made, "csim")
    changed = made.replace(build_hash="12345678")
    assert entry(changed, "csim") != own
    monkeypatch.setattr(libraries, "_machine", lambda: "another processor")
    assert entry(made, "csim") != own


def test_the_folder_is_its_users_alone(made: Package, tmp_path: Path) -> None:
    folder = cache_folder()
    assert folder == tmp_path / "cache" / "edgesight"
    assert folder.stat().st_mode & 0o777 == 0o700
    folder.chmod(0o755)
    with pytest.raises(CacheError, match=r"others may enter it \(mode 755\).*chmod 700"):
        find(made, "csim")
    folder.rmdir()
    (tmp_path / "elsewhere").mkdir()
    folder.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(CacheError, match="is no folder"):
        find(made, "csim")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a folder away")
def test_a_folder_of_another_user_is_refused(made: Package) -> None:
    os.chown(cache_folder(), 12345, -1)
    with pytest.raises(CacheError, match="belongs to another user"):
        find(made, "csim")


def test_only_the_entries_used_last_are_kept(made: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(libraries, "MOST_ENTRIES", 3)
    packages = [made.replace(build_hash=f"{number:08x}") for number in range(5)]
    for age, one in enumerate(packages):
        folder = keep(one, "csim", "recipe", {LIBRARY: b"code"}).parent
        os.utime(folder, (age, age))  # all long ago, in this order
    assert [find(one, "csim") is not None for one in packages] == [False, False, True, True, True]


def test_a_cache_that_cannot_be_made_says_so(made: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_bytes(b"")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(CacheError, match="the cache folder cannot be used"):
        find(made, "csim")
