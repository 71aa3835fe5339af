"""The page that shows a server live: its files, and what they ask for, in plain values.

The page is three files without a build step. Whoever reaches the door may load them, as they say nothing of anyone;
what they show is asked for as everything else at the door is. Others' pictures are for those alone who manage.

Words owned here: state (of a server, as its page shows it).
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from PIL import Image

from edgesight.host.doors.metrics import measures_of
from edgesight.host.doors.served import IndexEntry, Refused, Served
from edgesight.host.measures import Measure, Spread
from edgesight.host.picture_files import Unreadable
from edgesight.host.pictures import read
from edgesight.host.recent import KEPT, SIDE, Pixels, Seen

PATH: Final = "/live"
_MADE = 4 * KEPT  # small pictures that are kept, of some 50 KiB at most
_FOLDER = Path(__file__).parent / "page"
FILES: Final = {
    "": ("live.html", "text/html"),
    "/live.css": ("live.css", "text/css"),
    "/live.js": ("live.js", "text/javascript"),
    "/live.svg": ("live.svg", "image/svg+xml"),
}
"""Of the page, by what follows its path: name and media type."""
HEADERS: Final = {
    # Nothing of anyone else's is loaded, run or asked, and no other page frames this one.
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cache-control": "no-cache",
}


def file(suffix: str) -> bytes:
    """One of the page's files."""
    return (_FOLDER / FILES[suffix][0]).read_bytes()


def state_of(served: Served, everything: bool) -> Mapping[str, object]:
    """How `served` stands now; without `everything`, others' pictures and what was said of them are left out."""
    return {
        "name": served.name,
        "version": served.version,
        "ready": served.ready(),
        "at": time.time(),
        "models": [_model(served, one) for one in served.index(False)],
        "measures": [_plain(one) for one in measures_of(served)],
        "recent": [
            {**one.said, "of": one.of, "number": one.number, "at": one.at, "shown": one.picture is not None}
            for one in served.recent()
        ]
        if everything
        else None,
    }


def _model(served: Served, entry: IndexEntry) -> Mapping[str, object]:
    """What the page shows of a model; of one that is ready, what it has to know to ask it, too."""
    said: dict[str, object] = {
        "name": entry.name,
        "version": entry.version,
        "state": entry.state,
        "reason": entry.reason,
    }
    if entry.state == "READY":
        with contextlib.suppress(Refused):  # it was unloaded meanwhile
            known = served.metadata(entry.name, entry.version)
            said |= {
                "platform": known.platform,
                "parameters": dict(known.parameters),
                "outputs": [output.name for output in known.outputs],
            }
    return said


def _plain(measure: Measure) -> Mapping[str, object]:
    values: Sequence[object] = [
        [
            list(labels),
            {"bounds": list(value.bounds), "counts": list(value.counts), "sum": value.sum}
            if isinstance(value, Spread)
            else value,
        ]
        for labels, value in measure.values.items()
    ]
    return {"name": measure.name, "kind": measure.kind, "labels": list(measure.labels), "values": values}


class Thumbnails:
    """Makes pictures small for who looks on, each once, and one at a time: a file may take much memory and time."""

    def __init__(self, served: Served) -> None:
        """Of the pictures that were seen of late."""
        self._served = served
        self._one = asyncio.Lock()
        self._made: OrderedDict[tuple[str, int, float], bytes | None] = OrderedDict()

    async def png(self, of: str, number: str) -> bytes | None:
        """The picture of that number; None where it is kept no more, or cannot be shown."""
        seen = self._seen(of, number)
        if seen is None or seen.picture is None:
            return None
        if not isinstance(seen.picture, bytes):
            return _png(seen.picture)  # it is small: a thread would cost more
        key = seen.of, seen.number, seen.at
        async with self._one:
            now = self._seen(of, number)
            if key not in self._made and now is not None and now.at == seen.at:  # else it has gone meanwhile
                self._made[key] = await asyncio.to_thread(_png_of_file, seen.picture)
                if len(self._made) > _MADE:
                    self._made.popitem(last=False)
            return self._made.get(key)

    def _seen(self, of: str, number: str) -> Seen | None:
        return next((one for one in self._served.recent() if (one.of, str(one.number)) == (of, number)), None)


def _png_of_file(content: bytes) -> bytes | None:
    try:
        return _png(read(content, SIDE, SIDE, 3).pixels)
    except Unreadable:
        return None


def _png(picture: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(picture[..., 0] if picture.shape[2] == 1 else picture).save(file, "PNG", compress_level=1)
    return file.getvalue()
