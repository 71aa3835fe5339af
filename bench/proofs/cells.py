"""The cells that are proved, the shapes in which they are, and which of their outputs say something when."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from edgesight.sim.rtl.runner import ROOT, RTL

_PACKAGES = ("registers_pkg", "cascade_pkg")
_BENCHES = ROOT / "sim" / "rtl"


@dataclass(frozen=True)
class Shape:
    """Parameters with which a cell is proved, and how deep what is not proved by induction.

    `depth`: cycles from reset, beyond the bounds in which the proof wants to see an answer; 0 where all is proved by
    induction, and two frames would be too long to be shown.
    """

    parameters: Mapping[str, int]
    depth: int

    def __str__(self) -> str:
        """The parameters, as a table shows them."""
        return " ".join(f"{name}={value}" for name, value in self.parameters.items())


@dataclass(frozen=True)
class Cell:
    """One module of `hw/rtl` with its proof.

    `modules`: those that it is made of, itself the last. `bounded`: the properties that are shown for `Shape.depth`
    cycles only; all others are inductive. `meaning`: by output, the output that tells when it says something.
    `defaults`: what the cell's bench wants to know beside the parameters of a shape.
    """

    name: str
    modules: tuple[str, ...]
    shapes: tuple[Shape, ...]
    bounded: frozenset[str]
    meaning: Mapping[str, str]
    defaults: Mapping[str, int] = field(default_factory=dict)

    @property
    def proof(self) -> Path:
        """The file of the proof, whose module is named like it."""
        return _BENCHES / self.name / f"{self.name}_proof.sv"

    def sources(self, rtl: Path = RTL) -> list[Path]:
        """The cell's files in compile order."""
        return [rtl / f"{module}.sv" for module in (*_PACKAGES, *self.modules)]


# What the proofs are made of, beside their own files.
PROOF_PARTS = (_BENCHES / "stream_proof.sv", _BENCHES / "window_proof.sv")


def _padded(top: int, left: int, bottom: int, right: int) -> dict[str, int]:
    return {"PadTop": top, "PadLeft": left, "PadBottom": bottom, "PadRight": right}


CELLS = {
    cell.name: cell
    for cell in (
        Cell(
            "stream_fifo",
            ("stream_fifo",),
            (
                Shape({"Width": 4, "Depth": 3}, 20),
                Shape({"Width": 70, "Depth": 1}, 20),
                Shape({"Width": 8, "Depth": 8}, 20),
            ),
            frozenset(),
            {"m_data_o": "m_valid_o"},
        ),
        Cell(
            "slot_pool",
            ("slot_pool",),
            (Shape({"Slots": 5}, 20), Shape({"Slots": 2}, 20), Shape({"Slots": 8}, 20)),
            frozenset(),
            {"slot_o": "free_o"},
        ),
        Cell(
            "frame_input",
            ("frame_input",),
            (
                Shape({"PayloadBytes": 12, "Slots": 2}, 16),
                Shape({"PayloadBytes": 8, "Slots": 5}, 16),
                Shape({"PayloadBytes": 784, "Slots": 8}, 0),
            ),
            frozenset(),
            {
                "write_addr_o": "write_en_o",
                "write_data_o": "write_en_o",
                "frame_slot_o": "frame_valid_o",
                "frame_o": "frame_valid_o",
                "error_o": "error_valid_o",
            },
        ),
        Cell(
            "record_output",
            ("stream_fifo", "record_output"),
            (Shape({"Depth": 2}, 26), Shape({"Depth": 1}, 24), Shape({"Depth": 3}, 26)),
            frozenset({"record_leaves_in_time", "flush_ends_in_time"}),
            {"m_axis_tdata_o": "m_axis_tvalid_o", "m_axis_tlast_o": "m_axis_tvalid_o"},
        ),
        Cell(
            "max_pool",
            ("sliding_window", "max_pool"),
            (
                Shape({"Width": 2, "ImgH": 2, "ImgW": 4}, 20),
                Shape({"Width": 2, "Signed": 1, "ImgH": 2, "ImgW": 2, "Channels": 2}, 14),
                Shape({"Width": 2, "ImgH": 3, "ImgW": 2, "Kernel": 2, "Stride": 1}, 18),
            ),
            frozenset(
                {"largest_of_its_window", "none_before_its_pixels", "pixel_taken_in_time", "window_comes_in_time"}
            ),
            {"m_data_o": "m_valid_o"},
            {"Channels": 1, "Signed": 0, "Kernel": 2, "Stride": 2},
        ),
        Cell(
            "sliding_window",
            ("sliding_window",),
            (
                Shape({"ImgH": 3, "ImgW": 3, "Kernel": 2}, 24),
                Shape({"ImgH": 2, "ImgW": 2, "Kernel": 3, **_padded(1, 1, 1, 1)}, 38),
                Shape({"ImgH": 4, "ImgW": 3, "Kernel": 2, "Stride": 2}, 30),
                Shape({"ImgH": 2, "ImgW": 3, "Kernel": 1, "Stride": 2}, 18),
                Shape({"ImgH": 3, "ImgW": 2, "Kernel": 2, "Channels": 2, **_padded(1, 0, 0, 1)}, 30),
            ),
            frozenset({"pixel_taken_in_time", "window_comes_in_time"}),
            {"m_data_o": "m_valid_o"},
            {"Channels": 1, "Width": 1, "Stride": 1, **_padded(0, 0, 0, 0)},
        ),
        Cell(
            "window_memory",
            ("window_memory",),
            (
                Shape({"ImgH": 2, "ImgW": 2, "KernelH": 2, "KernelW": 2, "Channels": 2, "Pixels": 5}, 40),
                Shape({"ImgH": 1, "ImgW": 3, "KernelW": 3, "Turns": 2, "Pixels": 4, "PadLeft": 1, "PadRight": 1}, 48),
                Shape({"ImgH": 3, "ImgW": 2, "KernelH": 2, "StrideW": 2, "Channels": 2, "Simd": 2, "Pixels": 4}, 30),
                Shape({"ImgH": 3, "ImgW": 1, "KernelH": 2, "DilationH": 2, "PadBottom": 1, "Pixels": 3}, 30),
            ),
            frozenset({"pixel_taken_in_time", "beat_comes_in_time"}),
            {"m_data_o": "m_valid_o"},
            {"Channels": 1, "Width": 1, "Simd": 1},
        ),
    )
}
