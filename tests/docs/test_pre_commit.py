"""What contributors' tools read: the hooks at a commit find faults and mend them, and issue templates are whole."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

yaml = pytest.importorskip("yaml", reason="PyYAML is not installed: it comes with the extra `plan`")
pytest.importorskip("pre_commit", reason="pre-commit is not installed: it comes with the extra `dev`")

ROOT = Path(__file__).resolve().parents[2]
CONFIG = ".pre-commit-config.yaml"


def test_the_hooks_mend_a_commit_and_then_let_it_through(tmp_path: Path) -> None:
    checkout = tmp_path / "checkout"
    (checkout / ".venv").mkdir(parents=True)
    (checkout / ".venv" / "bin").symlink_to(Path(sys.executable).parent)
    for name in (CONFIG, "pyproject.toml"):
        shutil.copy(ROOT / name, checkout)
    (checkout / ".gitignore").write_text(".venv/\n")
    (checkout / "page.md").write_text("A line. \nNo end")
    (checkout / "tests").mkdir()
    program = checkout / "tests" / "program.py"
    program.write_text("import os\nx = {  'a':1}\n")

    def run(*command: str) -> int:
        variables = {**os.environ, "PRE_COMMIT_HOME": str(tmp_path / "cache"), "SKIP": "mypy"}  # which checks all code
        return subprocess.run(command, cwd=checkout, env=variables, capture_output=True, timeout=300).returncode

    assert run("git", "init", "--quiet") == 0
    assert run("git", "add", ".") == 0
    hooks = (sys.executable, "-m", "pre_commit", "run", "--all-files")
    assert run(*hooks) == 1
    assert (checkout / "page.md").read_text() == "A line.\nNo end\n"
    assert program.read_text() == 'x = {"a": 1}\n'
    assert run("git", "add", ".") == 0
    assert run(*hooks) == 0


def test_every_hooks_program_is_installed() -> None:
    hooks = [
        hook for repository in yaml.safe_load((ROOT / CONFIG).read_text())["repos"] for hook in repository["hooks"]
    ]
    assert {hook["id"] for hook in hooks} >= {"ruff", "ruff-format", "mypy", "end-of-file"}
    for hook in hooks:
        program = Path(hook["entry"].split()[0])
        assert program.parent == Path(".venv/bin")
        assert (Path(sys.executable).parent / program.name).exists(), program


@pytest.mark.parametrize("path", sorted((ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.md")), ids=lambda path: path.stem)
def test_an_issue_template_says_its_name_and_purpose(path: Path) -> None:
    _, head, body = path.read_text().split("---\n", 2)
    facts = yaml.safe_load(head)
    assert set(facts) == {"name", "about", "labels"}
    assert body.strip()
