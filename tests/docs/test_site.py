"""The site is built strictly, without a network, and what is made from the code is in it."""

from __future__ import annotations

import html
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("mkdocstrings", reason="mkdocs is not installed: the site is built with the extra `docs`")

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 400  # some 20 alone
NOWHERE = "http://127.0.0.1:9"  # the discard port: whoever asks for a page through this proxy fails


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    proxies = dict.fromkeys(("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY"), NOWHERE)
    built = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, **proxies, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert built.returncode == 0, built.stderr
    return folder


def words(page: Path) -> str:
    """A page's text."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", "", page.read_text())).split())


def test_it_fetches_nothing_when_it_is_read(site: Path) -> None:
    pages = list(site.rglob("*.html"))
    assert len(pages) > 20
    foreign = re.compile(r"<(?:link|script|img|iframe)\b[^>]*\b(?:href|src)=[\"']?(?:https?:)?//")
    assert [page.name for page in pages if foreign.search(page.read_text())] == []


def test_the_reference_is_made_from_docstrings_and_comments(site: Path) -> None:
    api = words(site / "reference" / "edgesight.html")
    assert "ask( picture: Picture" in api
    assert "`accuracy` is the least share" in api or "accuracy is the least share of right answers" in api
    answer = words(site / "reference" / "host.html")
    assert "What the cascade says of one image." in answer
    assert "calibrated probability of being right" in answer  # a comment beside a field
    assert "edgesight calibrate [OPTIONS]" in words(site / "reference" / "commands.html")
    assert "build_hash" in words(site / "reference" / "registers.html")


def test_the_glossary_ends_in_an_index_of_the_codes_words(site: Path) -> None:
    page = (site / "glossary.html").read_text()
    rows = re.findall(r"<td>(.*?)</td>\s*<td>(.*?)</td>\s*<td>.*?edgesight\.([\w.]+)<", page, re.DOTALL)
    assert ("margin", "", "host.fabric.base") in rows
    assert ("kind", "csim or verilated", "host.libraries") in rows
    assert len(rows) > 100


def test_programs_and_the_notebook_are_shown(site: Path) -> None:
    assert "edge.ask(picture, accuracy=0.95, deadline_ms=50)" in words(site / "tutorial.html")
    assert "plt.show()" in words(site / "examples" / "ask_and_plot.html")
    assert (site / "examples" / "ask_and_plot.ipynb").is_file()
