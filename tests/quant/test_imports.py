"""What our training imports says nothing that a user cannot act on."""

from __future__ import annotations

import subprocess
import sys


def test_brevitas_does_not_warn_of_a_package_that_nothing_here_uses() -> None:
    program = "import edgesight.quant.export, edgesight.quant.train"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=300, check=True)
    assert done.stderr == ""
