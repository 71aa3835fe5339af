"""The process that libFuzzer runs in: one target, instrumented.

python -m tests.fuzz.fuzz_one MODULE LIBFUZZER-ARGUMENTS...
"""

from __future__ import annotations

import importlib
import logging
import sys
import warnings
from typing import Any

from tests.fuzz.target import load


def main() -> None:
    """Fuzz the target that the first argument names until libFuzzer has enough."""
    atheris: Any = importlib.import_module("atheris")  # it carries no types, and not every machine has it
    program, module, *arguments = sys.argv
    warnings.simplefilter("ignore")
    logging.disable()
    # Before anything else imports them: what is instrumented leads the fuzzer on.
    with atheris.instrument_imports(
        include=["edgesight.host", "edgesight.plan", "edgesight.sim.link", "tests.fuzz.targets", "tests.fuzz.faulty"]
    ):
        target = load(module)
    atheris.Setup([program, f"-max_len={target.MAX_LENGTH}", *arguments], target.consume)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
