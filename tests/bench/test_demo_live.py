"""The demo that goes on ends when it is told to, whenever that is, and leaves nothing running."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgesight.bench.demo_live import live
from edgesight.hls.zoo import shipped_folder
from edgesight.host.files import OutputError
from edgesight.host.package import Package
from tests.waiting import wait_until

_SERVER = """
import asyncio, signal, sys
from pathlib import Path
from edgesight.bench.link.programs import Program

async def main():
    program = Program("server", ["--bind", "127.0.0.1", "0"], "Serving", Path(sys.argv[1]), module="http.server")
    await program.start()
    print(program.pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""
_DEMO = """
import sys
from pathlib import Path
from edgesight.bench.demo_live import serve_demo
from edgesight.hls.zoo import shipped_folder
from edgesight.host.package import Package
from edgesight.quant import datasets

package = Package.load(shipped_folder() / "digits")
test = datasets.load("digits", None, package.kernel.input.height).test
serve_demo(package, test, Path(sys.argv[1]), 0.0, ("127.0.0.1", 0), lambda live: print("it runs", flush=True))
"""


def test_a_program_does_not_outlive_who_started_it(tmp_path: Path) -> None:
    with subprocess.Popen([sys.executable, "-c", _SERVER, tmp_path / "log"], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert Path(f"/proc/{pid}").exists()
        parent.kill()

    def gone() -> bool:
        status = Path(f"/proc/{pid}/status")
        return not status.exists() or "State:\tZ" in status.read_text()

    wait_until(gone)


def test_it_ends_well_though_it_is_told_while_its_data_centre_starts(tmp_path: Path) -> None:
    log = tmp_path / "out" / "datacenter.log"
    demo = subprocess.Popen(
        [sys.executable, "-c", _DEMO, tmp_path / "out"],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,  # as a terminal has it, whose Ctrl-C all of it gets
    )
    try:
        wait_until(lambda: log.exists() or demo.poll() is not None, 120.0)
        os.killpg(demo.pid, signal.SIGINT)
        said, _ = demo.communicate(timeout=60)
    finally:
        demo.kill()
    assert (demo.returncode, said) == (0, "")


def test_a_place_that_can_be_no_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "out").touch()

    async def opened() -> None:
        async with live(Package.load(shipped_folder() / "digits"), tmp_path / "out", 0.0):
            pytest.fail("it runs")

    with pytest.raises(OutputError, match=r"can be no folder .*: name another place with --out"):
        asyncio.run(opened())
