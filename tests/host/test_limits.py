"""Processes that are held to a share of a core and to so much memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from edgesight.host.limits import Group, Limits, LimitsError, missing

BUSY = "import time\nbegun = time.monotonic()\nwhile time.monotonic() < begun + 1.0: pass\nprint(time.process_time())"
GREEDY = "import os\nkept = bytearray(96 << 20)\nprint(len(kept))"
JOINS = """
import os, sys
from edgesight.host.limits import Limits, hold_this_process
hold_this_process(Limits(cores=0.5), sys.argv[1])
print(open("/proc/self/cgroup").read())
"""
CORES, MEMORY = Limits(cores=0.2), Limits(memory_bytes=64 << 20)


def run(code: str, group: Group) -> subprocess.CompletedProcess[str]:
    def join() -> None:
        group.hold(os.getpid())

    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, preexec_fn=join)


@pytest.mark.skipif(missing(CORES) is not None, reason=str(missing(CORES)))
def test_a_process_is_held_to_its_share_of_a_core_and_nothing_is_left_behind() -> None:
    with Group(CORES) as group:
        folder = group.procs[0].parent
        assert float(run(BUSY, group).stdout) < 0.5
        still = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])  # sleeps: until it is ended
        group.hold(still.pid)
    assert not folder.exists()
    assert still.poll() is None  # it goes on outside
    still.kill()
    still.wait()


@pytest.mark.skipif(missing(MEMORY) is not None, reason=str(missing(MEMORY)))
def test_a_process_that_asks_for_more_memory_than_it_may_is_ended() -> None:
    with Group(MEMORY) as group:
        assert run(GREEDY, group).returncode == -9
    with Group(Limits(memory_bytes=256 << 20)) as group:
        assert run(GREEDY, group).returncode == 0


@pytest.mark.skipif(missing(CORES) is not None, reason=str(missing(CORES)))
def test_processes_of_one_name_are_held_together_and_a_group_that_is_empty_goes_when_the_next_begins() -> None:
    first = subprocess.run([sys.executable, "-c", JOINS, "test-a"], capture_output=True, text=True, check=True)
    assert "/edgesight-test-a" in first.stdout
    with Group(Limits(cores=0.5), "test-a") as left:
        folder = left.procs[0].parent
        fresh = subprocess.run([sys.executable, "-c", JOINS, "test-b"], capture_output=True, text=True, check=True)
        assert "/edgesight-test-b" in fresh.stdout
        assert folder.exists()  # its first process may yet come
        os.utime(folder, (0.0, 0.0))
        second = subprocess.run([sys.executable, "-c", JOINS, "test-b"], capture_output=True, text=True, check=True)
        assert "/edgesight-test-b" in second.stdout
        assert not folder.exists()
    with Group(Limits(cores=0.5), "test-b"):
        pass


def test_less_than_the_kernel_can_give_is_refused() -> None:
    with pytest.raises(LimitsError, match=r"0\.01 of a core is less than the kernel can give: ask for 0\.1"):
        Group(Limits(cores=0.01))
    with pytest.raises(LimitsError, match="1000 bytes of memory are too few: ask for 16777216 at least"):
        Group(Limits(memory_bytes=1000))
