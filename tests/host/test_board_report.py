"""A board report holds what was built and what ran it, and nothing private."""

from __future__ import annotations

import dataclasses
import json
import platform
import socket
from pathlib import Path

import numpy as np
import pytest

from edgesight.host.board_build import BoardBuild, Used
from edgesight.host.board_report import as_text, board_report, write_report
from edgesight.host.files import sha256
from edgesight.host.kernel import KernelError
from edgesight.host.package import MANIFEST, Package
from edgesight.host.selftest import SelfTestReport
from tests.host.by_hand import package as by_hand

BUILD = BoardBuild(
    board="pynq-z2",
    part="xc7z020clg400-1",
    flow="vivado",
    bitstream="boards/pynq-z2/hand.bit",
    handoff="boards/pynq-z2/hand.hwh",
    device_tree=None,
    pynq_board="Pynq-Z2",
    serial=None,
    clock_mhz=100.0,
    fmax_mhz=104.5,
    worst_slack_ns=0.43,
    utilisation={"LUT": Used(used=31234, available=53200)},
    tools={"Vivado": "2024.1"},
    reports=["boards/pynq-z2/timing.rpt"],
)
FILES = {
    "boards/pynq-z2/hand.bit": b"bits",
    "boards/pynq-z2/hand.hwh": b"<hwh/>",
    "boards/pynq-z2/timing.rpt": b"slack",
}
PASSED = SelfTestReport("by-hand", "0badcafe", 16, [[0, 0]], 16, 0, None, "pynq", "pynq-z2", 100.0, "3.1.2")
OUTCOME = {**dataclasses.asdict(PASSED), "passed": PASSED.passed}


@pytest.fixture
def built(tmp_path: Path) -> Package:
    return by_hand(tmp_path / "kernel", None).add_board(BUILD, FILES)


def test_a_report_holds_build_selftest_and_host(built: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    report = json.loads(json.dumps(board_report(built, "pynq-z2", OUTCOME)))
    assert report["package"] == {
        "name": built.kernel.name,
        "build_hash": built.kernel.build_hash,
        "manifest_sha256": sha256((built.path / MANIFEST).read_bytes()),
    }
    assert report["board"] == {"name": "pynq-z2", "pynq_board": "Pynq-Z2", "part": "xc7z020clg400-1"}
    assert report["build"]["tools"] == {"Vivado": "2024.1"}
    assert report["build"]["worst_slack_ns"] == 0.43
    assert report["build"]["files"] == {name: sha256(content) for name, content in FILES.items()}
    assert report["selftest"] == OUTCOME
    assert report["host"]["board"] == "Pynq-Z2"
    assert report["host"]["python"] == platform.python_version()
    assert report["host"]["numpy"] == np.__version__


def test_a_board_that_was_only_built_for_has_no_selftest(built: Package) -> None:
    assert board_report(built, "pynq-z2", None)["selftest"] is None


def test_nothing_private_gets_in(built: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "alices-desk")
    monkeypatch.setattr(platform, "node", lambda: "alices-desk")
    for variable in ("USER", "LOGNAME", "USERNAME"):
        monkeypatch.setenv(variable, "alice")
    report = board_report(built, "pynq-z2", {**OUTCOME, "hostname": "mine", "address": "192.168.2.99"})
    text = json.dumps(report) + as_text(report)
    assert report["selftest"] == OUTCOME
    assert not [word for word in ("alice", str(built.path)) if word in text]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"kernel": "digits"}, r"is of kernel 'digits', the package has 'by-hand'"),
        ({"build_hash": "0" * 8}, r"is of build_hash '00000000', the package has '0badcafe'"),
        ({"fabric": "csim"}, r"ran on fabric 'csim', which is no board"),
        ({"fabric": "verilated"}, r"ran on fabric 'verilated', which is no board"),
        ({"fabric": None}, r"ran on fabric None, which is no board"),
        ({"board": "kv260"}, r"ran on board 'kv260', the report is of 'pynq-z2'"),
    ],
)
def test_a_selftest_of_something_else_is_refused(built: Package, changed: dict[str, object], message: str) -> None:
    with pytest.raises(KernelError, match=message):
        board_report(built, "pynq-z2", {**OUTCOME, **changed})


def test_a_board_that_the_fabric_does_not_know_is_taken_as_said(built: Package) -> None:
    assert board_report(built, "pynq-z2", {**OUTCOME, "fabric": "serial", "board": None})["selftest"] is not None


@pytest.mark.parametrize("name", ["report.txt", "report", "report.JSON"])
def test_a_report_does_not_fall_on_its_own_text(built: Package, tmp_path: Path, name: str) -> None:
    with pytest.raises(KernelError, match=r"a report's name ends in \.json"):
        write_report(board_report(built, "pynq-z2", None), tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_package_without_that_build_is_named(built: Package) -> None:
    with pytest.raises(KernelError, match="no bitstream for board kv260"):
        board_report(built, "kv260", None)


def test_a_report_is_written_for_machines_and_for_people(built: Package, tmp_path: Path) -> None:
    report = board_report(built, "pynq-z2", None)
    write_report(report, tmp_path / "report.json")
    assert json.loads((tmp_path / "report.json").read_text()) == report
    text = (tmp_path / "report.txt").read_text()
    assert "build worst_slack_ns: 0.43\n" in text
    assert "selftest: not known\n" in text
