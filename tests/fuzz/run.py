"""Fuzzes all parsers for a number of executions in all, and says how many there were.

    python -m tests.fuzz.run [--runs 10000000] [--seconds 1200] [--target NAME ...] [--out build/fuzz] [--keep]

One target after the other, each in a process of its own by atheris (Apache-2.0), which is libFuzzer for Python. An
exception that the target's parser does not document is a crash, and so are more than `RSS_MB` of memory and more than
`TIMEOUT_S` for one input. Executions are counted by libFuzzer itself, seeds and corpus included. The result is
`fuzz.json` in the folder `--out`, with a log of each target and its crashes' inputs beside it. With `--keep`, inputs
that reach code which the corpus did not are added to it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import importlib.util
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from edgesight.host.files import write_atomically
from tests.fuzz.target import CORPUS, SHARES, load, module_of

RSS_MB = 1_024
TIMEOUT_S = 10
ROOT = Path(__file__).parents[2]
_STATISTIC = re.compile(r"^stat::(\w+):\s+(\d+)$", re.MULTILINE)
_EXCEPTION = re.compile(r"=== Uncaught Python exception: ===\n(.*)")
_DEATH = re.compile(r"ERROR: libFuzzer: (.*)")
_ARTEFACT = re.compile(r"Test unit written to (.*)")
_SLACK_S = 60.0  # beyond its time until a target's process is ended from outside


@dataclass(frozen=True)
class Fuzzed:
    """What became of one target."""

    target: str
    asked: int  # executions
    executions: int  # by libFuzzer's own count
    seconds: float
    peak_rss_mb: int
    crash: str | None  # what happened
    crash_input: str | None  # file


def missing() -> str | None:
    """Why nothing can be fuzzed here, None where it can."""
    if importlib.util.find_spec("atheris") is None:
        return (
            "atheris is not installed: pip install 'edgesight[fuzz]' (wheels: Linux on x86-64, Python 3.11 and newer)"
        )
    return None


def fuzz(name: str, module: str, runs: int, seconds: float, out: Path, seed: int = 1) -> Fuzzed:
    """Fuzz the target in `module` for `runs` executions, or `seconds` where that is sooner; logs go to `out`."""
    work = out / "work" / name
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    for number, content in enumerate(load(module).seeds()):
        (work / f"seed-{number}").write_bytes(content)
    crashes = out / "crashes"
    crashes.mkdir(exist_ok=True)
    kept = [str(CORPUS / name)] if (CORPUS / name).is_dir() else []
    command = [
        *(sys.executable, "-m", "tests.fuzz.fuzz_one", module),
        *(f"-runs={runs}", f"-max_total_time={max(round(seconds), 1)}", f"-seed={seed}", f"-timeout={TIMEOUT_S}"),
        *(f"-rss_limit_mb={RSS_MB}", "-print_final_stats=1", f"-artifact_prefix={crashes}/{name}-"),
        *(str(work), *kept),
    ]
    begin = time.monotonic()
    log = out / f"{name}.log"
    with log.open("wb") as file:
        # By a shell, since Linux counts a program's peak of memory from that of who starts it.
        process = subprocess.Popen(
            ["sh", "-c", '"$@"; exit $?', "sh", *command],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        code: int | None
        try:
            code = process.wait(seconds + _SLACK_S)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            code = None
    text = log.read_text(errors="replace")
    statistics = {key: int(value) for key, value in _STATISTIC.findall(text)}
    crash = artefact = None
    if code != 0:
        said = _EXCEPTION.search(text) or _DEATH.search(text)
        crash = said.group(1) if said else f"ended with {code}: see {log}"
        written = _ARTEFACT.search(text)
        artefact = written.group(1) if written else None
    return Fuzzed(
        target=name,
        asked=runs,
        executions=statistics.get("number_of_executed_units", 0),
        seconds=round(time.monotonic() - begin, 1),
        peak_rss_mb=statistics.get("peak_rss_mb", 0),
        crash=crash,
        crash_input=artefact,
    )


def fuzz_all(names: Sequence[str], runs: int, seconds: float, out: Path) -> list[Fuzzed]:
    """Fuzz targets by their share of `runs` and of `seconds`; writes `fuzz.json` after each."""
    out.mkdir(parents=True, exist_ok=True)
    whole = sum(SHARES[name] for name in names)
    until = time.monotonic() + seconds
    results: list[Fuzzed] = []
    for number, name in enumerate(names):
        # Time that one leaves over is there for those behind it.
        left = (until - time.monotonic()) / (len(names) - number) * 3
        asked = max(round(runs * SHARES[name] / whole), 1)
        result = fuzz(name, module_of(name), asked, max(min(left, until - time.monotonic()), 1.0), out)
        results.append(result)
        print(
            f"{name}: {result.executions} of {asked} executions in {result.seconds:.0f} s, "
            f"{result.peak_rss_mb} MB, {result.crash or 'no crash'}",
            flush=True,
        )
        body = {
            "executions": sum(result.executions for result in results),
            "crashes": sum(result.crash is not None for result in results),
            "seconds": round(sum(result.seconds for result in results), 1),
            "rss_limit_mb": RSS_MB,
            "timeout_s": TIMEOUT_S,
            "versions": {"python": platform.python_version(), "atheris": importlib.metadata.version("atheris")},
            "targets": [asdict(result) for result in results],
        }
        write_atomically(out / "fuzz.json", (json.dumps(body, indent=1) + "\n").encode())
    return results


def main() -> None:
    """Do what the command line asks for; exit code 1 where there was a crash."""
    parser = argparse.ArgumentParser(description="Fuzz the parsers.")
    parser.add_argument("--runs", type=int, default=10_000_000, help="executions in all")
    parser.add_argument("--seconds", type=float, default=1_200.0, help="at most, in all")
    parser.add_argument("--target", action="append", choices=sorted(SHARES), help="only this one; may be repeated")
    parser.add_argument("--out", type=Path, default=Path("build/fuzz"))
    parser.add_argument("--keep", action="store_true", help="add inputs that reach new code to the corpus")
    chosen = parser.parse_args()
    why_not = missing()
    if why_not is not None:
        sys.exit(f"error: {why_not}")
    out = chosen.out.absolute()
    names = chosen.target or list(SHARES)
    results = fuzz_all(names, chosen.runs, chosen.seconds, out)
    if chosen.keep:
        for name in names:
            subprocess.run([sys.executable, "-m", "tests.fuzz.keep", name, out / "work" / name], check=True, cwd=ROOT)
    crashes = [result for result in results if result.crash is not None]
    print(f"{sum(result.executions for result in results)} executions, {len(crashes)} targets crashed")
    sys.exit(1 if crashes else 0)


if __name__ == "__main__":
    main()
