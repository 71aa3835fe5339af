"""The live page in headless Chromium, at a phone's width and at a desk's: the edge's, and the data centre's.

An edge answers test pictures in turn, over a link that loses packets. Each width goes through the same: answers come,
and are timed from when they were given until they stand on the page; a picture is dropped; the data centre is killed
and started again. Whatever the browser's console says of a fault counts. Only that a dead data centre's own page cannot
reach it is the browser's to say, and told apart.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import shutil
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from PIL import Image
from rich.console import Console

from edgesight.bench.demo_live import DEADLINE_S, Live, live, show
from edgesight.bench.kept import Found
from edgesight.bench.report import Check
from edgesight.hls.csim import build_library
from edgesight.host.errors import EdgeSightError
from edgesight.host.package import Package
from edgesight.host.pictures import Pixels
from edgesight.quant.splits import Split

WIDTHS: Final = (360, 1600)
SHOWN_WITHIN_S: Final = 1.0
_HEIGHT = 900
_ANSWERS = 40  # that are timed
_PER_S = 4.0
_WITHIN_S = 60.0  # for anything that is waited for
_UNREACHABLE = "net::ERR_CONNECTION_REFUSED"  # what the browser says of a server that is gone

# Notes, for each picture that comes to stand on the page, seconds since it was answered.
_WATCH = """() => {
  window.shownAfter = [];
  new MutationObserver((changes) => {
    for (const { addedNodes } of changes) {
      for (const one of addedNodes) window.shownAfter.push(Date.now() / 1e3 - Number(one.dataset.at));
    }
  }).observe(document.querySelector("#recent ol"), { childList: true });
}"""
_FILE = """([content, type]) => {
  const given = new DataTransfer();
  given.items.add(new File([Uint8Array.from(content)], "picture.png", { type }));
  return given;
}"""


class PageError(EdgeSightError):
    """A page that does not come to show what was waited for: says what."""


@dataclass
class Seen:
    """What one width showed.

    Attributes:
        width: of the window, pixels.
        shown_after: seconds, of each timed answer.
        away_after: seconds from the data centre's death until the edge's page tells of it.
        back_after: from its return until the edge's page tells of that.
        own_back_after: until its own page shows it again.
        dropped: what the page says of the dropped picture.
        expected: what the edge says of it.
        wider: pixels by which a page is wider than the window, the worst.
        faults: what the console said.
        unreachable: lines of it that tell of the dead data centre, on its own page.
    """

    width: int
    shown_after: list[float] = field(default_factory=list)
    away_after: float = 0.0
    back_after: float = 0.0
    own_back_after: float = 0.0
    dropped: str = ""
    expected: str = ""
    wider: int = 0
    faults: list[str] = field(default_factory=list)
    unreachable: int = 0


def lacks() -> str | None:
    """Why no browser can be had; None: one can."""
    try:
        import playwright  # noqa: F401
    except ImportError:
        return "playwright is not installed: pip install 'edgesight[dev]'"
    if chromium() is None:
        return "Chromium is not installed: apt-get install chromium"
    return None


def chromium() -> str | None:
    """The browser's program."""
    found = (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))
    return next((path for path in found if path is not None), None)


def measure(package: Package, test: Split, folder: Path, console: Console, widths: Sequence[int] = WIDTHS) -> Found:
    """Both pages over the edge of `package`, which is shown `test`; pictures of them go into `folder`."""
    build_library(package)
    seen = [asyncio.run(_at_width(width, package, test, folder)) for width in widths]
    for one in seen:
        console.print(
            f"{one.width} pixels: answers shown after {statistics.median(one.shown_after):.2f} s, at most "
            f"{max(one.shown_after):.2f} s; data centre away after {one.away_after:.1f} s, back after "
            f"{one.back_after:.1f} s",
            highlight=False,
        )
    return Found({"widths": [vars(one) for one in seen]}, tuple(_checks(seen)))


def _checks(seen: list[Seen]) -> list[Check]:
    checks = []
    for one in seen:
        at = f"at {one.width} pixels"
        checks += [
            Check(f"an answer is shown, worst, {at}", max(one.shown_after), SHOWN_WITHIN_S, True, "s", "measured"),
            Check(f"faults in the console, {at}", len(one.faults), 0, True, "lines", "measured"),
            Check(f"wider than the window, {at}", one.wider, 0, True, "pixels", "measured"),
            Check(
                f"answers to a dropped picture that are the edge's, {at}",
                float(one.dropped == one.expected),
                1,
                False,
                "of 1",
                "measured",
            ),
            Check(f"data centre's death is shown, {at}", one.away_after, _WITHIN_S, True, "s", "measured"),
            Check(f"data centre's return is shown, {at}", one.back_after, _WITHIN_S, True, "s", "measured"),
        ]
    return checks


async def _at_width(width: int, package: Package, test: Split, folder: Path) -> Seen:
    seen = Seen(width)
    async with live(package, folder, loss=0.05, fabric="csim") as running, _browser() as browser:
        showing = asyncio.create_task(show(running.application, test, _PER_S))
        try:
            edge, datacenter = [await _opened(browser, seen, at) for at in (running.edge, running.datacenter)]
            await edge.evaluate(_WATCH)
            await _until("so many answers", lambda: _count(edge, _ANSWERS))
            seen.shown_after = (await edge.evaluate("window.shownAfter"))[:]
            await _dropped(edge, running, test, seen)
            await _wider(seen, edge, datacenter)
            await edge.screenshot(path=folder / f"edge-{width}.png", full_page=True)
            await datacenter.screenshot(path=folder / f"datacenter-{width}.png", full_page=True)
            await _killed(edge, datacenter, running, seen)
            await _wider(seen, edge, datacenter)
        finally:
            showing.cancel()
            await asyncio.gather(showing, return_exceptions=True)
    return seen


@contextlib.asynccontextmanager
async def _browser() -> AsyncIterator[Any]:
    from playwright.async_api import async_playwright

    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []  # as root Chromium has no sandbox, and asks to be told
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield browser
        finally:
            await browser.close()


async def _opened(browser: Any, seen: Seen, address: str) -> Any:
    page = await browser.new_page(viewport={"width": seen.width, "height": _HEIGHT})

    def said(text: str, kind: str) -> None:
        if kind not in ("error", "warning"):
            return
        if _UNREACHABLE in text:
            seen.unreachable += 1
        else:
            seen.faults.append(text)

    page.on("console", lambda message: said(message.text, message.type))
    page.on("pageerror", lambda error: said(str(error), "error"))
    await page.goto(address)
    await page.wait_for_selector("#status[data-state=ready]", timeout=_WITHIN_S * 1e3)
    return page


async def _count(page: Any, least: int) -> bool:
    return bool(await page.evaluate("window.shownAfter.length") >= least)


async def _dropped(page: Any, running: Live, test: Split, seen: Seen) -> None:
    """Drop a picture of the test split, and ask the edge itself for the same."""
    edge, pixels = running.application, test.images[0]
    content = _png(pixels)
    given = await page.evaluate_handle(_FILE, [list(content), "image/png"])
    await page.dispatch_event("#drop", "drop", {"dataTransfer": given})
    await page.wait_for_selector("#answer b", timeout=_WITHIN_S * 1e3)
    seen.dropped = await page.inner_text("#answer b")
    target = edge.target(float(await page.input_value("#ask select[name=accuracy]")))
    seen.expected = (await edge.ask(await edge.read(content, "picture.png"), target, DEADLINE_S)).class_name


async def _killed(edge: Any, datacenter: Any, running: Live, seen: Seen) -> None:
    """Kill the data centre, and start it again, which the pages are to tell of; the edge answers throughout."""
    begun = time.monotonic()
    await running.program.end(signal.SIGKILL)
    await _until("the edge's page to miss the data centre", lambda: _shows(edge, "offline"))
    seen.away_after = time.monotonic() - begun
    before = await edge.evaluate("window.shownAfter.length")
    await _until("answers without the data centre", lambda: _count(edge, before + 4))
    await running.program.start()
    begun = time.monotonic()
    await datacenter.wait_for_selector("#status[data-state=ready]", timeout=_WITHIN_S * 1e3)
    seen.own_back_after = time.monotonic() - begun
    await _until("the edge's page to show the data centre again", lambda: _shows(edge, "online"))
    seen.back_after = time.monotonic() - begun


async def _shows(page: Any, state: str) -> bool:
    """Whether the figure of the data centre says `state`."""
    texts = await page.locator(".figure", has_text="data centre").all_inner_texts()
    return any(text.startswith(state) for text in texts)


async def _wider(seen: Seen, *pages: Any) -> None:
    for page in pages:
        wider = await page.evaluate("document.documentElement.scrollWidth - window.innerWidth")
        seen.wider = max(seen.wider, int(wider))


async def _until(what: str, reached: Callable[[], Awaitable[bool]]) -> None:
    """Wait until `reached` says so; raises PageError."""
    ends = time.monotonic() + _WITHIN_S
    while not await reached():
        if time.monotonic() > ends:
            raise PageError(f"{what}: not within {_WITHIN_S:g} s: look at the log beside the screenshots")
        await asyncio.sleep(0.05)


def _png(pixels: Pixels) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels).save(file, "PNG")
    return file.getvalue()
