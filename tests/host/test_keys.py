"""Keys are made whole, private and only when asked for."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
import ssl
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from edgesight.host.datacenter.authority import Authority, make_authority
from edgesight.host.link.keys import KeysError, check_edge_name, client_keys, now, public_bytes
from edgesight.host.link.tls import check_data_centre
from edgesight.sim.link.trust import Trust, add_edge, make_trust
from tests.host.trust import damage, spoil

FILES = {"ca.key": 0o600, "ca.crt": 0o600, "server.pem": 0o600, "edges.db": 0o600}


def modes(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def test_keys_are_private_and_load_on_both_sides(tmp_path: Path) -> None:
    trust = make_trust(tmp_path / "some")
    assert trust.datacenter.stat().st_mode & 0o777 == 0o700
    assert modes(trust.datacenter) == FILES
    assert trust.edge.stat().st_mode & 0o777 == 0o700
    assert modes(trust.edge) == {"edge.pem": 0o600}
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        authority.configuration(3.0)
        keys = client_keys(trust.edge, 3.0)
        assert keys.authority == authority.certificate
        assert authority.admit([keys.certificate]).name == "door"
        assert [edge.name for edge in authority.edges()] == ["door"]
    assert b"PRIVATE" not in (trust.datacenter / "ca.crt").read_bytes()
    assert (trust.datacenter / "ca.key").read_bytes() not in (trust.edge / "edge.pem").read_bytes()


def test_two_makings_share_nothing(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_authority(tmp_path / name)
    for file in ("ca.key", "ca.crt", "server.pem"):
        assert (tmp_path / "a" / file).read_bytes() != (tmp_path / "b" / file).read_bytes()


def test_keys_that_are_there_are_never_overwritten(tmp_path: Path) -> None:
    make_authority(tmp_path / "keys")
    before = (tmp_path / "keys" / "ca.key").read_bytes()
    with pytest.raises(KeysError, match="already exists"):
        make_authority(tmp_path / "keys")
    assert (tmp_path / "keys" / "ca.key").read_bytes() == before


def test_a_failed_making_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(KeysError, match=r"cannot be made \(No space left on device\): make room"):
        make_authority(tmp_path / "keys")
    assert not list(tmp_path.iterdir())


def test_faulty_keys_of_an_edge_are_named(tmp_path: Path) -> None:
    trust = make_trust(tmp_path)
    path = trust.edge / "edge.pem"
    with pytest.raises(KeysError, match=r"edge\.pem cannot be read .*`edgesight datacenter enroll NAME`"):
        client_keys(tmp_path / "none", 3.0)
    path.chmod(0o644)
    with pytest.raises(KeysError, match="mode 0644"):
        client_keys(trust.edge, 3.0)
    path.chmod(0o600)
    whole = path.read_bytes()
    add_edge(trust.datacenter, "other", tmp_path / "other")
    other = (tmp_path / "other" / "edge.pem").read_bytes()
    certificates = whole.index(b"-----BEGIN CERTIFICATE-----")
    for content in (b"", b"no pem", whole[:certificates], whole[certificates:], whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(KeysError, match=r"edge\.pem cannot be used"):
            client_keys(trust.edge, 3.0)
    path.write_bytes(other[: other.index(b"-----BEGIN CERTIFICATE-----")] + whole[certificates:])
    with pytest.raises(KeysError, match="not of a pair"):
        client_keys(trust.edge, 3.0)


def test_faulty_keys_of_a_data_centre_are_named(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    with pytest.raises(KeysError, match=r"ca\.key cannot be read .* `edgesight keys make FOLDER`"):
        Authority(folder)
    make_authority(folder)
    for file in FILES:
        (folder / file).chmod(0o640)
        with pytest.raises(KeysError, match=rf"{file} has mode 0640"), contextlib.closing(Authority(folder)) as opened:
            opened.configuration(3.0)
        (folder / file).chmod(0o600)
    with contextlib.closing(sqlite3.connect(folder / "edges.db")) as index:
        index.execute("DROP TABLE certificates")
    with pytest.raises(KeysError, match=r"edges\.db cannot be used \(no such table"):
        Authority(folder)
    (folder / "edges.db").write_text("no index, but long enough to be read as one " * 50)
    with pytest.raises(KeysError, match=r"edges\.db cannot be used"):
        Authority(folder)
    (folder / "server.pem").write_text("no pem")
    (folder / "ca.crt").write_text("no pem")
    with pytest.raises(KeysError, match=r"ca\.crt cannot be used"):
        Authority(folder)


def test_an_authority_that_is_not_as_it_was_signed_is_named(tmp_path: Path) -> None:
    make_authority(tmp_path / "keys")
    path = tmp_path / "keys" / "ca.crt"
    content = x509.load_pem_x509_certificate(path.read_bytes()).public_bytes(serialization.Encoding.DER)
    name = b"EdgeSight authority"
    for at in (content.index(name), content.rindex(name), len(content) - 1):
        changed = bytearray(content)
        changed[at] ^= 0x01
        path.write_text(ssl.DER_cert_to_PEM_cert(bytes(changed)))
        with pytest.raises(KeysError, match=r"ca\.crt cannot be used"):
            Authority(tmp_path / "keys")


def test_a_data_centres_certificate_that_no_edge_takes_is_made_anew(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    make_authority(ours)
    make_authority(theirs)
    own, foreign = (ours / "server.pem").read_bytes(), (theirs / "server.pem").read_bytes()
    begin = b"-----BEGIN CERTIFICATE-----"
    for content, why in (
        (foreign, "not of this data centre's authority"),
        (own[: own.index(begin)] + foreign[foreign.index(begin) :], "not of a pair"),
        (foreign[: foreign.index(begin)] + own[own.index(begin) :], "not of a pair"),
    ):
        (ours / "server.pem").write_bytes(content)
        with contextlib.closing(Authority(ours)) as authority:
            made = authority.configuration(3.0)
            check_data_centre(made.certificate, authority.certificate, now())
        assert public_bytes(made.certificate.public_key()) == public_bytes(made.private_key.public_key())
        assert "server.pem is of no use (" in caplog.text
        assert why in caplog.text
        caplog.clear()


@pytest.mark.parametrize("name", ["", "Door", "a b", "-a", "a-", "x" * 64, "edgesight-datacenter", "a.b", "ü"])
def test_names_that_certificates_cannot_carry_are_refused(name: str) -> None:
    with pytest.raises(KeysError, match="cannot be called"):
        check_edge_name(name)


def test_keys_that_others_may_change_are_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trust = make_trust(tmp_path)
    trust.edge.chmod(0o777)
    with pytest.raises(KeysError, match=r"edge-keys has mode 0777, so others may put their own keys there"):
        client_keys(trust.edge, 3.0)
    trust.datacenter.chmod(0o770)
    with pytest.raises(KeysError, match="keys has mode 0770"):
        Authority(trust.datacenter)
    trust.edge.chmod(0o755)
    client_keys(trust.edge, 3.0)
    mine = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: mine + 1)
    if mine == 0:
        client_keys(trust.edge, 3.0)  # root's files are good for anybody who may read them
        os.chown(trust.edge / "edge.pem", 65_534, -1)
    with pytest.raises(KeysError, match=r"edge\.pem is owned by user \d+, who may change it"):
        client_keys(trust.edge, 3.0)
    if mine == 0:
        os.chown(trust.edge / "edge.pem", 0, -1)
        os.chown(trust.edge, 65_534, -1)
        with pytest.raises(KeysError, match="edge-keys is owned by user 65534"):
            client_keys(trust.edge, 3.0)


def open_keys(trust: Trust, file: str) -> None:
    """Use `file` as its owner does."""
    if file == "edge.pem":
        client_keys(trust.edge, 3.0).renewal_due(now())
        return
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        authority.configuration(3.0)


def kept_in(trust: Trust, file: str) -> Path:
    return (trust.edge if file == "edge.pem" else trust.datacenter) / file


@pytest.mark.parametrize(
    ("file", "what"),
    [
        *(("edge.pem", what) for what in ("version", "curve", "signature", "extension")),
        *(("ca.crt", what) for what in ("version", "curve", "signature")),
        *(("server.pem", what) for what in ("version", "curve", "signature", "extension")),
        ("ca.key", "curve"),
    ],
)
def test_keys_of_an_unknown_kind_are_named(tmp_path: Path, file: str, what: str) -> None:
    trust = make_trust(tmp_path)
    path = kept_in(trust, file)
    path.write_bytes(spoil(path.read_bytes(), what))
    with pytest.raises(KeysError, match=rf"{file}.* cannot be used"):
        open_keys(trust, file)


@pytest.mark.parametrize("file", ["edge.pem", "ca.key", "ca.crt", "server.pem"])
def test_damaged_keys_are_named_whatever_is_damaged(tmp_path: Path, file: str) -> None:
    trust = make_trust(tmp_path)
    path, chance = kept_in(trust, file), random.Random(5)
    whole = path.read_bytes()
    refused = 0
    for _ in range(150):
        path.write_bytes(damage(whole, chance))
        try:
            open_keys(trust, file)
        except KeysError:
            refused += 1
    assert refused


def test_a_data_centre_goes_on_with_the_certificate_it_has_when_its_file_is_damaged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trust = make_trust(tmp_path)
    path = trust.datacenter / "server.pem"
    with contextlib.closing(Authority(trust.datacenter)) as authority:
        made = authority.configuration(3.0)
        before = made.certificate
        path.write_bytes(spoil(path.read_bytes(), "version"))
        authority.renew_own(made)
        assert made.certificate is before
    assert "server.pem cannot be used (InvalidVersion" in caplog.text
