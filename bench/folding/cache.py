"""What was found of a module before, taken again as long as all that it was made of is the same."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from edgesight.host.files import write_atomically


def found(
    folder: Path, tool: str, material: Mapping[str, str], measure: Callable[[str], dict[str, Any]]
) -> dict[str, Any]:
    """What `measure` gives for `material`, which is all that it depends on beside the version of package `tool`.

    It is kept in `folder`; `measure` gets a name of its own for a folder to work in.
    """
    digest = hashlib.sha256(f"{tool} {version(tool)}".encode())
    for name, text in sorted(material.items()):
        digest.update(b"\0" + name.encode() + b"\0" + text.encode())
    key = digest.hexdigest()[:32]
    kept = folder / "kept" / f"{tool}-{key}.json"
    try:
        return dict(json.loads(kept.read_text()))
    except (OSError, ValueError, TypeError):
        result = measure(key)
    kept.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(kept, (json.dumps(result) + "\n").encode())
    return result
