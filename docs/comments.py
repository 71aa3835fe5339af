"""What a comment beside a field or constant says becomes its docstring in the reference: an extension of griffe."""

from __future__ import annotations

import io
import tokenize
from functools import lru_cache
from pathlib import Path
from typing import Any

import griffe


@lru_cache(maxsize=1)  # a module's attributes come one after the other
def comments(path: Path) -> dict[int, str]:
    """Comments of a file by line number; one that is alone on its line goes to the line below."""
    found: dict[int, str] = {}
    above = ""
    for token in tokenize.generate_tokens(io.StringIO(path.read_text(encoding="utf-8")).readline):
        row, column = token.start
        if token.type == tokenize.COMMENT:
            text = token.string.lstrip("# ")
            if token.line[:column].strip():
                found[row] = f"{above} {text}".strip()
            else:
                above = f"{above} {text}".strip()
        elif token.type not in (tokenize.NL, tokenize.INDENT, tokenize.DEDENT):
            if above and token.type != tokenize.NEWLINE:
                found.setdefault(row, above)
            above = "" if token.type == tokenize.NEWLINE else above
    return found


class FieldComments(griffe.Extension):
    """Give each attribute without a docstring the comment that stands beside or above it."""

    def on_attribute_instance(self, *, attr: griffe.Attribute, **_: Any) -> None:
        """Called for each attribute as griffe comes by it."""
        path = attr.filepath
        if attr.docstring is None and attr.lineno is not None and isinstance(path, Path):
            last = attr.endlineno or attr.lineno
            said = comments(path)
            text = said.get(last) or said.get(attr.lineno)
            if text and not text.startswith(("type: ", "noqa", "fmt: ")):
                attr.docstring = griffe.Docstring(text, lineno=attr.lineno, parent=attr)
