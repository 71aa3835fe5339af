"""Pictures as files: whole or not at all."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING

from edgesight.host.errors import EdgeSightError
from edgesight.host.files import write_atomically

if TYPE_CHECKING:
    from matplotlib.figure import Figure


class PictureError(EdgeSightError):
    """A picture that cannot be written: names the file and why."""


def save_picture(figure: Figure, path: Path) -> None:
    """Write `figure` as PNG, whole or not at all, and close it; raises PictureError when it cannot be written."""
    from matplotlib import pyplot

    content = io.BytesIO()
    figure.savefig(content, dpi=110, format="png", metadata={"Software": "EdgeSight"})  # by which ours are known
    pyplot.close(figure)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, content.getvalue())
    except OSError as error:
        raise PictureError(
            f"{path}: cannot be written ({error.strerror or error}): name another file, or make room"
        ) from error
