"""JSON documents that are whole but wrong: chance damages text until it is no JSON, long before it means something.

Words owned here: edit (three bytes: which place of the document, two, and what is put there, one).
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

VALUES: list[Any] = [
    *(None, True, "", "\0", "..", "/etc/hostname", "x" * 300, "ü²", "\u202e", "nan"),
    *(-1, 0, 1, 2, 255, 65_536, 2**31, 2**63, 2**64, -(2**63), 10**400, 0.5, -0.5, 1.5, 1e-320, 1e308, -1e308),
    *([], {}, [0], [[]], {"": 0}, {"1": 0.0}, {"-1": 1.0}),
]
_REMOVE, _DOUBLE = len(VALUES), len(VALUES) + 1
_EDIT = 3  # bytes
_MOST = 8  # edits; more only take time


def edited(document: Any, edits: bytes) -> bytes:
    """The text of a JSON `document` after `edits`."""
    root = [copy.deepcopy(document)]
    for begin in range(0, min(len(edits) - _EDIT + 1, _MOST * _EDIT), _EDIT):
        places = list(_places(root))
        holder, key = places[int.from_bytes(edits[begin : begin + 2], "big") % len(places)]
        what = edits[begin + 2] % (len(VALUES) + 2)
        if what < len(VALUES):
            holder[key] = copy.deepcopy(VALUES[what])
        elif holder is root:
            continue
        elif what == _REMOVE:
            del holder[key]
        elif isinstance(holder, list):
            holder.append(copy.deepcopy(holder[key]))
        else:
            holder[f"{key}_"] = copy.deepcopy(holder[key])
    return json.dumps(root[0]).encode()


def _places(holder: Any) -> Iterator[tuple[Any, Any]]:
    """Every place in `holder`: what it is in, and its key or index."""
    for key, value in list(holder.items()) if isinstance(holder, dict) else list(enumerate(holder)):
        yield holder, key
        if isinstance(value, dict | list):
            yield from _places(value)
