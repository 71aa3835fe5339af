"""Bitstreams where PYNQ finds them by name: `pynq.Overlay("digits.bit")`, in a notebook, say.

The entry point `pynq.overlays` names this package; PYNQ then looks in its folder for `<name>/<name>.bit`. `PynqFabric`
does not need it: it loads the bitstream out of the kernel package.
Words owned here: installed overlay.
"""

from __future__ import annotations

from pathlib import Path

from edgesight.host.fabric.pynq_board import bitstream_of, board_name, build_for
from edgesight.host.files import write_atomically
from edgesight.host.kernel import KernelError
from edgesight.host.package import Package

FOLDER = Path(__file__).resolve().parent


def install(package: Package, pynq_board: str | None = None) -> Path:
    """Put the package's bitstream for `pynq_board` (default: the board that this runs on) where PYNQ looks.

    Returns where the .bit lies, with the .hwh beside it. Raises FabricError if the package has none for the board,
    KernelError if the folder cannot be written.
    """
    build = build_for(package, pynq_board or board_name())
    bitstream = bitstream_of(package, build)
    name = package.kernel.name
    target = FOLDER / name / f"{name}.bit"
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        target.unlink(missing_ok=True)
        # The bitstream comes last: where there is one, what belongs to it is there.
        for file in (bitstream.with_suffix(".hwh"), bitstream):
            write_atomically(target.with_suffix(file.suffix), file.read_bytes())
    except OSError as error:
        raise KernelError(f"{target}: cannot be written ({error.strerror}); run as root") from error
    return target
