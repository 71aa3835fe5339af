"""The live page's script in a browser: before names that are hard, a server that begins anew, and many models."""

from __future__ import annotations

import contextlib
import dataclasses
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

from edgesight.bench.watch.page import chromium, lacks
from edgesight.host.doors.served import Duration, IndexEntry, ModelMetadata, ModelStatistics
from tests.host.doors.small import MODELS, PLAIN, Small, running

_LACKS = lacks()
pytestmark = pytest.mark.skipif(_LACKS is not None, reason=_LACKS or "")
MARKUP = '<img src=x onerror="window.taken=1">'
HARD = ("constructor", "__proto__", MARKUP, "\u202egnp.exe", "a/b", "%2F..%2f", "?q#h")


@dataclass
class Named(Small):
    """Has models of any names."""

    names: Sequence[str] = HARD
    rows: int = 0

    def statistics(self, name: str, version: str) -> Sequence[ModelStatistics]:
        self.rows += 1
        none = Duration()
        return [ModelStatistics(one, "1", 0, self.rows, 2, none, none, none, none, none, none) for one in self.names]

    def index(self, ready: bool) -> Sequence[IndexEntry]:
        return [IndexEntry(one, "1", "READY") for one in self.names]

    def metadata(self, name: str, version: str) -> ModelMetadata:
        return dataclasses.replace(MODELS["classes"], name=name)

    def showing(self, of: Sequence[str], shade: int, class_name: str) -> Named:
        """With a picture of each name."""
        for one in of:
            said = {"class_name": class_name, "stage": one}
            self.seen.add(one, np.full((4, 4, 3), shade, np.uint8), said.copy)
        return self


@pytest.fixture(autouse=True)
def unhurried(monkeypatch: pytest.MonkeyPatch) -> None:
    """No picture is passed over, however fast they come."""
    monkeypatch.setattr("edgesight.host.recent.PER_S", 1e9)


@contextlib.contextmanager
def browser() -> Iterator[Any]:
    from playwright.sync_api import sync_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield opened
        finally:
            opened.close()


def shown(page: Any) -> Sequence[str]:
    return [text.split("\n")[0] for text in page.locator("#recent li").all_inner_texts()]


def test_the_page_before_hard_names_and_a_server_that_begins_anew() -> None:
    with browser() as opened:
        page, faults = opened.new_page(), []
        page.on("pageerror", lambda error: faults.append(str(error)))
        with running(Named().showing(HARD, 10, MARKUP)) as addresses:
            assert addresses.http is not None
            port = addresses.http[1]
            page.goto(f"http://127.0.0.1:{port}/live")
            of_four = "[...document.querySelectorAll('#recent img')].filter((one) => one.naturalWidth === 4)"
            page.wait_for_function(f"() => {of_four}.length === {len(HARD)}")
            assert page.locator("#legend bdi").all_inner_texts() == list(HARD)
            assert shown(page) == [MARKUP] * len(HARD)
            assert page.evaluate("window.taken") is None
        page.wait_for_function("() => document.querySelector('#status').textContent.includes('cannot be reached')")
        again = dataclasses.replace(PLAIN, http=("127.0.0.1", port))
        with running(Named().showing(["constructor"], 200, "boat"), again):  # of the number that another had before
            page.wait_for_function("() => document.querySelector('#recent li b').textContent === 'boat'")
            assert shown(page) == ["boat"]
        assert faults == []


def test_many_models_do_not_stop_the_page() -> None:
    with browser() as opened, running(Named(names=[f"model {number}" for number in range(2_000)])) as addresses:
        assert addresses.http is not None
        page = opened.new_page()
        page.goto(f"http://127.0.0.1:{addresses.http[1]}/live")
        page.wait_for_function("() => document.querySelectorAll('#models tbody tr').length === 100", timeout=20_000)
        assert page.inner_text("#more") == "And 1,900 more: ask for the index."
        page.wait_for_function("() => document.querySelectorAll('#legend li').length === 13", timeout=20_000)
        assert page.locator("#legend li").last.inner_text().startswith("others: ")
