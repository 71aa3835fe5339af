"""The pages of the site that are made from the checkout, so that nothing is said twice: a hook of mkdocs.

The README is the first page, and SECURITY, CONTRIBUTING and CHANGELOG are pages as they stand. The reference is made
from docstrings, a page a room; from the command line's own help; and from the register map. The glossary ends in an
index of the words that docstrings define. A notebook is shown as its text and code.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("host", "hls", "quant", "plan", "sim", "bench")
PAGES = {
    "README.md": "index.md",
    "SECURITY.md": "security.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "hw/REGISTERS.md": "reference/registers.md",
}
WORDS = "Words owned here:"
INDEX = "<!-- The site puts the index of the code's words here. -->"
PROGRAM = re.compile(r"<!-- The site shows (examples/[\w.]+) here\. -->")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made."""
    made = {page: (ROOT / source).read_text(encoding="utf-8") for source, page in PAGES.items()}
    made |= {f"reference/{room}.md": room_page(room) for room in ROOMS}
    made["reference/commands.md"] = commands()
    for notebook in sorted((ROOT / "docs" / "examples").glob("*.ipynb")):
        made[f"examples/{notebook.stem}.md"] = notebook_page(notebook)
    for page, text in made.items():
        files.append(File.generated(config, page, content=_linked(text)))
    return files


def on_page_markdown(markdown: str, **_: object) -> str:
    """A page of docs/ with the programs and the index that it asks for, and links to the checkout's files as pages."""
    text = PROGRAM.sub(lambda match: _code((ROOT / "docs" / match[1]).read_text(encoding="utf-8")), _linked(markdown))
    return text.replace(INDEX, index()) if INDEX in text else text


def room_page(room: str) -> str:
    """Every module of a room by its docstrings, benches and programs of their own excepted."""
    lines = [f"# `edgesight.{room}`", ""]
    lines += [f"::: {module}\n" for module, _ in modules(room)]
    return "\n".join(lines)


def modules(room: str) -> Iterator[tuple[str, Path]]:
    """Name and path of every module of a room that can be imported by its name."""
    for path in sorted((ROOT / room).rglob("*.py")):
        packages = [folder for folder in path.parents if folder.is_relative_to(ROOT / room)]
        if all((folder / "__init__.py").exists() for folder in packages) and not path.name.startswith("test_"):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
            yield f"edgesight.{name}", path


def commands() -> str:
    """Every command with its options, as `--help` says it."""
    import typer
    from typer.cli import get_docs_for_click

    from edgesight.cli.app import app

    command = typer.main.get_command(app)
    text: str = get_docs_for_click(obj=command, ctx=typer.Context(command), name="edgesight")
    return text


def notebook_page(path: Path) -> str:
    """A notebook's text and code as Markdown; outputs are not kept in it."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    texts = ["".join(cell["source"]) for cell in cells]
    return "\n\n".join(
        text if cell["cell_type"] == "markdown" else _code(text) for cell, text in zip(cells, texts, strict=True)
    )


def index() -> str:
    """A table of the words that docstrings define: the word, what it means where that is said, and the module."""
    rows = []
    for room in ROOMS:
        for module, path in modules(room):
            for word, meaning in words(ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""):
                rows.append((word.lower(), f"| {word} | {meaning} | [`{module}`][{module}] |"))
    return "\n".join(["| word | meaning | module |", "|---|---|---|", *(row for _, row in sorted(rows))])


def words(docstring: str) -> list[tuple[str, str]]:
    """The words that a module's docstring says it owns, each with its meaning, which may be empty."""
    _, found, rest = docstring.partition(WORDS)
    paragraph = " ".join(rest.split("\n\n")[0].split()).rstrip(".") if found else ""
    pieces = re.findall(r"((?:[^,(]|\([^)]*\))+)", paragraph)
    parted = [re.fullmatch(r"(?:and )?([^(]+?)\s*(?:\((.*)\))?", piece.strip()) for piece in pieces if piece.strip()]
    return [(match[1].strip("* "), match[2] or "") for match in parted if match]


def _code(program: str) -> str:
    return f"```python\n{program.rstrip()}\n```"


def _linked(text: str) -> str:
    """Links to files of the checkout turned to the pages that they are on the site."""
    for source, page in PAGES.items():
        text = re.sub(rf"\]\((?:\.\./)?{re.escape(source)}(#[\w-]+)?\)", rf"]({page}\1)", text)
    return re.sub(r"\]\(docs/", "](", text)
