"""What a bench found before, taken again as long as all that it hangs on is the same, so that a stopped run goes on.

Words owned here: kept result.
"""

from __future__ import annotations

import ast
import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgesight.bench.report import Check
from edgesight.host.files import write_atomically

ROOT = Path(__file__).resolve().parent.parent
_PACKAGE = "edgesight."


@dataclass(frozen=True)
class Found:
    """What a section found: `body`, as it is reported, and its checks."""

    body: dict[str, Any]
    checks: tuple[Check, ...]

    def packed(self) -> dict[str, Any]:
        """As plain JSON."""
        return {"body": self.body, "checks": [asdict(check) for check in self.checks]}

    @classmethod
    def unpacked(cls, kept: dict[str, Any]) -> Found:
        """What `packed` gave."""
        return cls(kept["body"], tuple(Check(**check) for check in kept["checks"]))


class Kept:
    """Results, a file each, with the fingerprint of what they depend on."""

    def __init__(self, folder: Path, fingerprint: str) -> None:
        """In `folder`, which is made."""
        self.folder, self._fingerprint = folder, fingerprint
        folder.mkdir(parents=True, exist_ok=True)

    def read(self, name: str) -> dict[str, Any] | None:
        """The result of that name; None where there is none, or it hangs on something that is another now."""
        try:
            kept = json.loads((self.folder / f"{name}.json").read_text())
            return dict(kept["result"]) if kept["fingerprint"] == self._fingerprint else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, name: str, result: dict[str, Any]) -> None:
        """Keep a result; raises OSError."""
        body = {"fingerprint": self._fingerprint, "result": result}
        write_atomically(self.folder / f"{name}.json", (json.dumps(body, indent=1) + "\n").encode())


def with_imports(modules: Iterable[Path]) -> set[Path]:
    """These modules' files and those of all of ours that they import, in turn, wherever in them."""
    found: set[Path] = set()
    unread = list(modules)
    while unread:
        path = unread.pop()
        if path in found:
            continue
        found.add(path)
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.ImportFrom) and node.module is not None:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            elif isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            for name in names:
                if name.startswith(_PACKAGE):
                    place = ROOT / name.removeprefix(_PACKAGE).replace(".", "/")
                    unread += [file for file in (place.with_suffix(".py"), place / "__init__.py") if file.is_file()]
    return found


def fingerprint(files: Iterable[Path], *facts: str) -> str:
    """SHA-256 over the places and contents of our `files`, and over `facts`."""
    digest = hashlib.sha256()
    for path in sorted(files):
        digest.update(path.relative_to(ROOT).as_posix().encode() + path.read_bytes())
    for fact in facts:
        digest.update(b"\0" + fact.encode())
    return digest.hexdigest()
