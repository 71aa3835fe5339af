"""Every command that a text or a message tells its reader to type is there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import typer.main

from edgesight.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
ROOMS = ("bench", "edgesight/cli", "hls", "host", "plan", "quant", "sim")
# In back quotes, or at the beginning of a line of an example, perhaps with the path of the program.
NAMED = re.compile(r"(?:`|^\s*|/)edgesight ([a-z][a-z-]*(?: [a-zA-Z][\w/.-]*)?)", re.MULTILINE)
ALL = typer.main.get_command(app)


def unknown(text: str) -> Iterator[str]:
    """The commands that `text` names and that are not there."""
    for words in NAMED.findall(text):
        group, before = ALL, ""
        for word in words.split():
            if not hasattr(group, "commands"):  # a command's own argument
                break
            if word not in group.commands:
                if before != "datacenter":  # which takes a package, too
                    yield words
                break
            group, before = group.commands[word], word


def test_every_named_command_is_there() -> None:
    texts = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
    texts += [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]
    assert len(texts) > 100
    assert [(str(path), words) for path in texts for words in unknown(path.read_text())] == []


def test_a_command_that_is_not_there_is_seen() -> None:
    assert list(unknown("run `edgesight selftest kernel`")) == ["selftest kernel"]
    assert list(unknown("  .venv/bin/edgesight board power kernel\nedgesight plan nothing")) == ["plan nothing"]
    assert list(unknown("`edgesight datacenter kernel --keys keys`, `edgesight show kernel`")) == []
