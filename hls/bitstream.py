"""A kernel package's bitstream for a board, by the board's flow."""

from __future__ import annotations

from pathlib import Path

from edgesight.hls import open_flow, vivado
from edgesight.hls.boards import Board, BoardError
from edgesight.host.package import Package


def build(package: Package, board: Board, folder: Path, *, backend: str = "rtl", seeds: int = 3) -> Package:
    """Build in `folder`, by `backend` rtl or vitis; returns the package with the bitstream and its reports in it.

    `seeds` are those that an open flow places and routes with, from 1 on. Raises BoardError.
    """
    if board.flow == "open":
        if backend != "rtl":
            raise BoardError(
                f"--backend {backend}: board {board.name} has an open flow, which builds the RTL only"
                "; use --backend rtl"
            )
        return open_flow.build(package, board, folder, range(1, seeds + 1))
    if backend == "rtl":
        return vivado.build(package, board, folder, "rtl")
    if backend == "vitis":
        return vivado.build(package, board, folder, "vitis")
    raise BoardError(f"--backend {backend}: choose rtl or vitis")
