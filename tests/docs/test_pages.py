"""What the pages name is there: files, links, commands with their options, targets of make; figures name a command."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer

from edgesight.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").glob("*.md")),
    *sorted((ROOT / ".github").rglob("*.md")),
]
COMMANDS = typer.main.get_command(app)
NAMES = re.compile(r"Python 3\.\d+|GPL 3|Apache-2\.0|PYNQ-Z2|KV260|ZCU104|ULX3S|ECP5-85F|hls4ml")  # figures in a name


def ids(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


def code(text: str) -> Iterator[str]:
    """Every line of code on a page: of its shell blocks, continued lines joined, and of its spans."""
    for block in re.findall(r"```(?:sh|console)\n(.*?)```", text, re.DOTALL):
        yield from re.sub(r"\\\n\s*", "", block).splitlines()
    yield from (" ".join(span.split()) for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S)))


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_link_leads_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", page.read_text())
    lost = [target for target in targets if "://" not in target and not (page.parent / target).exists()]
    assert lost == []


@pytest.mark.parametrize("name", ["CONTRIBUTING.md", "docs/architecture.md"])
def test_every_path_that_is_named_is_there(name: str) -> None:
    paths = [span for span in re.findall(r"`([\w./-]+)`", (ROOT / name).read_text()) if "/" in span]
    assert len(paths) > 20
    folders = [ROOT, *(path for path in ROOT.iterdir() if path.is_dir())]  # a room's own folders are named in its row
    assert [path for path in paths if not any((folder / path).exists() for folder in folders)] == []


def test_every_name_in_a_file_is_there() -> None:
    text = " ".join((ROOT / "CONTRIBUTING.md").read_text().split())
    named = re.findall(r"`(\w+)` in `([\w./-]+)`", text)
    assert len(named) >= 6
    assert [name for name, path in named if not re.search(rf"\b{name}\b", (ROOT / path).read_text())] == []


def wrong(line: str) -> str | None:
    """What is wrong with a command that begins with `edgesight`: a name or option that there is not; else None."""
    words = shlex.split(re.split(r" (?:[|&>;#]|2>|&&)", f"{line} ")[0].rstrip("\\ "))[1:]
    command: Any = COMMANDS
    if words[:1] == ["datacenter"] and len(words) > 1 and not words[1].startswith("-"):
        serve = words[1] not in command.commands["datacenter"].commands
        words = [words[0], *(["serve"] if serve else []), *words[1:]]
    while words and hasattr(command, "commands") and not words[0].startswith("-") and words[0] != "...":
        if words[0] not in command.commands:
            return f"no command {words[0]!r}"
        command = command.commands[words.pop(0)]
    known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
    for word in words:
        option = word.partition("=")[0]
        if option.startswith("--") and option not in known:
            return f"no option {option}"
    return None


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_command_is_one(page: Path) -> None:
    problems = {}
    for line in code(page.read_text()):
        for command in re.findall(r"(?:^|&& |\")(edgesight [^\"]*)", line):
            if problem := wrong(command):
                problems[command] = problem
    assert problems == {}


def test_a_command_that_is_none_is_seen() -> None:
    assert wrong("edgesight plan guess x.json") == "no command 'guess'"
    assert wrong("edgesight query a.png --accurate 1") == "no option --accurate"
    assert wrong("edgesight datacenter kernel --keys keys --wide") == "no option --wide"
    assert wrong("edgesight edge --enroll - --keys keys && make tea") is None


@pytest.mark.parametrize("page", PAGES, ids=ids)
def test_every_target_of_make_is_one(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = {match[1] for line in code(page.read_text()) if (match := re.match(r"make ([a-z-]*[a-z])(?![\w.-])", line))}
    assert named <= targets


def unsaid(text: str) -> list[str]:
    """Sentences, and rows of tables, that hold a figure and name no command which shows it."""
    prose = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    paragraphs = [" ".join(part.split()) for part in re.split(r"\n\s*\n|\n(?=[|#-])", prose)]
    sentences = [sentence for part in paragraphs for sentence in re.split(r"(?<=[.!?])[*_)]*\s+(?=[^a-z])", part)]
    found = []
    for sentence in sentences:
        plain = NAMES.sub("", re.sub(r"`[^`]*`|\]\([^)]*\)", "", sentence))
        if re.search(r"\d", plain) and not re.search(r"`(?:make|edgesight) [^`]+`", sentence):
            found.append(sentence)
    return found


def test_every_sentence_of_the_readme_with_a_figure_names_its_command() -> None:
    assert unsaid((ROOT / "README.md").read_text()) == []


def test_a_figure_without_a_command_is_seen() -> None:
    assert unsaid("It needs Python 3.11.\n\nIt answers in 5 ms. `make demo` shows it.") == ["It answers in 5 ms."]
    assert unsaid("`make demo` shows that it answers in 5 ms.\n\n| `make` | 7 |") == ["| `make` | 7 |"]


def test_the_readme_begins_with_the_two_commands() -> None:
    first = re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)[0]
    assert [line.split(" #")[0].strip() for line in first.splitlines()] == ["make demo", "make test"]
