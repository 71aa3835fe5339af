"""Keys are made whole, private and only when asked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from host.link.keys import KeysError, client_keys, make_keys, server_keys


def test_keys_are_private_and_load_on_both_sides(tmp_path: Path) -> None:
    folder = tmp_path / "some" / "keys"
    make_keys(folder)
    assert folder.stat().st_mode & 0o777 == 0o700
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        "server.key": 0o600,
        "server.crt": 0o600,
        "secret": 0o600,
    }
    assert server_keys(folder, 3.0).secret == client_keys(folder, 3.0).secret
    assert [path.name for path in folder.parent.iterdir()] == ["keys"]


def test_two_makings_share_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_keys(tmp_path / name)
    for file in ("server.key", "server.crt", "secret"):
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "b" / file).read_bytes()


def test_keys_that_are_there_are_never_overwritten(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    before = (tmp_path / "keys" / "secret").read_bytes()
    with pytest.raises(KeysError, match="already exists"):
        make_keys(tmp_path / "keys")
    assert (tmp_path / "keys" / "secret").read_bytes() == before


def test_a_failed_making_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(OSError, match="No space"):
        make_keys(tmp_path / "keys")
    assert not list(tmp_path.iterdir())


def test_an_edge_needs_no_private_key(tmp_path: Path) -> None:
    make_keys(tmp_path / "keys")
    (tmp_path / "keys" / "server.key").unlink()
    client_keys(tmp_path / "keys", 3.0)
    with pytest.raises(KeysError, match=r"server\.key cannot be read"):
        server_keys(tmp_path / "keys", 3.0)


def test_faulty_keys_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    with pytest.raises(KeysError, match=r"server\.crt cannot be read .* `edgesight keys make`"):
        client_keys(folder, 3.0)
    make_keys(folder)
    (folder / "secret").chmod(0o644)
    with pytest.raises(KeysError, match="mode 0644"):
        client_keys(folder, 3.0)
    (folder / "secret").chmod(0o600)
    (folder / "secret").write_text("too short")
    with pytest.raises(KeysError, match="holds no secret"):
        client_keys(folder, 3.0)
    for name in ("server.crt", "server.key"):
        (folder / name).write_text("no pem")
    with pytest.raises(KeysError, match=r"server\.crt is no certificate"):
        client_keys(folder, 3.0)
    with pytest.raises(KeysError, match="cannot be used"):
        server_keys(folder, 3.0)
