"""Tests wait for what is to happen: none of them sleeps for a time within which it may have happened."""

from __future__ import annotations

import ast
import asyncio
from pathlib import Path

import pytest

from edgesight.sim.link.options import LinkOptions
from edgesight.sim.link.virtual import run_virtual
from tests.waiting import until, wait_until

ROOT = Path(__file__).resolve().parents[1]
REASON = "# sleeps: "  # behind it: which input of the test the time is, such as what a slow model takes


def fixed_sleeps(source: str) -> list[int]:
    """Lines that sleep for a time other than none, without saying which input of the test that is."""
    lines = source.splitlines()
    found = []
    for node in ast.walk(ast.parse(source)):
        if not isinstance(node, ast.Call):
            continue
        name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
        one_turn = [isinstance(one, ast.Constant) and one.value == 0 for one in node.args] == [True]
        said = any(REASON in line for line in lines[node.lineno - 1 : node.end_lineno])
        if name == "sleep" and not one_turn and not said:
            found.append(node.lineno)
    return found


def test_no_test_sleeps_for_a_fixed_time() -> None:
    paths = [*(ROOT / "tests").rglob("*.py"), *(ROOT / "sim").rglob("test_*.py")]
    found = {str(path.relative_to(ROOT)): fixed_sleeps(path.read_text()) for path in paths}
    assert len(found) > 100
    assert {path: lines for path, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("source", "lines"),
    [
        ("time.sleep(0.1)", [1]),
        ("async def f():\n    await asyncio.sleep(PAUSE)", [2]),
        ("from time import sleep\nsleep(1)", [2]),
        ("time.sleep(0.1)  # until it is there", [1]),
        ("time.sleep(0.1)  # sleeps: what this model takes", []),
        ("async def f():\n    await asyncio.sleep(0)", []),
    ],
)
def test_a_fixed_sleep_is_seen(source: str, lines: list[int]) -> None:
    assert fixed_sleeps(source) == lines


def test_what_happens_is_waited_for_and_what_does_not_fails_in_time() -> None:
    async def test() -> float:
        loop, came = asyncio.get_running_loop(), asyncio.Event()
        loop.call_later(5.0, came.set)
        await until(came.is_set, 6.0)
        at = loop.time()
        with pytest.raises(AssertionError, match="did not happen within 3 s"):
            await until(lambda: False, 3.0)
        assert 3.0 <= loop.time() - at < 3.1
        return at

    assert 5.0 <= run_virtual(test(), LinkOptions()) < 5.1
    looks = iter([False, False, True])
    wait_until(lambda: next(looks))
    with pytest.raises(AssertionError, match="did not happen within 0 s"):
        wait_until(lambda: False, 0.0)
