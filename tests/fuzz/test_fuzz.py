"""Whatever was once found to break a parser, or to reach into a corner of it, is met as its parser documents."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from pydantic import BaseModel, ValidationError

from tests.fuzz import run
from tests.fuzz.target import CORPUS, SHARES, corpus, load, module_of
from tests.fuzz.targets import lines

_LONGEST = 5.0  # seconds for one input, on a busy machine


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    logging.disable()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("name", SHARES)
def test_seeds_and_corpus_are_met_as_documented(name: str) -> None:
    target = load(module_of(name))
    for path, content in [
        *((f"seed {number}", seed) for number, seed in enumerate(target.seeds())),
        *((str(path), path.read_bytes()) for path in corpus(name)),
        ("nothing", b""),
    ]:
        begin = time.monotonic()
        try:
            target.consume(content)
        except Exception as error:
            raise AssertionError(f"{name}: {path}: {content[:200]!r}") from error
        assert time.monotonic() - begin < _LONGEST, path


def test_the_lines_to_begin_with_are_good_ones() -> None:
    for line in lines.LINES:
        assert any(_reads(model, line) for model in lines.MODELS), line


def _reads(model: type[BaseModel], line: dict[str, object]) -> bool:
    try:
        model.model_validate(line)
    except ValidationError:
        return False
    return True


def test_every_target_has_a_share_and_every_corpus_a_target() -> None:
    modules = {path.stem for path in (Path(__file__).parent / "targets").glob("*.py")}
    assert modules == set(SHARES)
    assert {path.name for path in CORPUS.iterdir()} <= modules


def _fuzzed(name: str, module: str, runs: int, out: Path) -> run.Fuzzed:
    why_not = run.missing()
    if why_not is not None:
        pytest.skip(why_not)
    return run.fuzz(name, module, runs, 60.0, out)


def test_the_fuzzer_counts_its_executions(tmp_path: Path) -> None:
    held = b"x" * (run.RSS_MB << 20)  # as the tests before may have left it
    result = _fuzzed("deframer", module_of("deframer"), 5_000, tmp_path)
    del held
    assert result.crash is None
    assert 5_000 <= result.executions < 5_200
    assert 0 < result.peak_rss_mb < run.RSS_MB


def test_the_fuzzer_finds_a_fault_and_says_so(tmp_path: Path) -> None:
    result = _fuzzed("faulty", "tests.fuzz.faulty", 500_000, tmp_path)
    assert result.crash == "IndexError: this is the fault"
    assert result.crash_input is not None
    assert Path(result.crash_input).read_bytes().startswith(b"bug")
    assert 0 < result.executions < 500_000
