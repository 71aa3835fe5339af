"""What is known of the boards: every file is whole, and a fault is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgesight.hls import boards
from edgesight.hls.boards import BoardError, board_names, load_board


def test_every_board_loads_and_knows_its_part() -> None:
    names = board_names()
    assert {"pynq-z2", "kv260", "zcu104"} <= set(names)
    for name in names:
        board = load_board(name)
        assert board.name == name
        assert board.part
        assert all(count > 0 for count in board.capacity.values())
        assert (board.processing_system is None) == (board.preset is None) == (board.flow == "open")
        if board.flow == "vivado":
            assert set(board.capacity) == {"LUT", "FF", "BRAM36", "DSP"}
            assert board.pynq_board


def test_an_unknown_board_is_refused_with_the_known_ones() -> None:
    with pytest.raises(BoardError, match=r"no board is called 'pynq-z1': choose one of .*kv260.*pynq-z2"):
        load_board("pynq-z1")


@pytest.mark.parametrize(
    ("text", "said"),
    [("clock_mhz = 0.0\n", "clock_mhz"), ("colour = 'red'\n", "colour"), ("clock_mhz = \n", "board.toml")],
)
def test_a_fault_in_a_boards_file_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    (tmp_path / "mine").mkdir()
    whole = 'title = "Mine"\nflow = "open"\npart = "LFE5U"\ncapacity = { LUT = 1 }\n'
    (tmp_path / "mine" / "board.toml").write_text(whole + text)
    monkeypatch.setattr(boards, "FOLDER", tmp_path)
    with pytest.raises(BoardError, match=said):
        load_board("mine")
