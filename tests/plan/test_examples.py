"""Examples of what planners read: each fits its JSON Schema, and each planner plans from it as it is printed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

import edgesight.cli.app  # registers every planner's commands
import edgesight.plan.examples
from edgesight.cli.plan import group
from edgesight.plan.adapt.data import Situation
from edgesight.plan.examples import KINDS, TRACE, example, schema
from edgesight.plan.profile import read

FOLDER = Path(edgesight.plan.examples.__file__).parent
# For each command: the options that print its files, in the order of its arguments, and what else it is asked.
PRINTED: dict[str, tuple[dict[str, str], list[str]]] = {
    "split": ({"--example": ""}, ["--deadline-ms", "40", "--mbps", "15", "--round-trip-ms", "5"]),
    "profile-join": (
        {"--example": "", "--example-datacenter": ""},
        ["--accuracy", "early=0.81", "--accuracy", "final=0.9", "--out", "out.json"],
    ),
    "adapt": ({"--example": ""}, []),
    "adapt-replay": ({"--example": "", "--example-trace": "--trace"}, ["--seconds", "2"]),
    "workflow": ({"--example": ""}, []),
    "place": ({"--example": "", "--example-cluster": ""}, []),
}


def printed(*arguments: str) -> str:
    result = CliRunner().invoke(group, list(arguments))
    assert result.exit_code == 0, result.output
    return result.stdout


def test_every_planners_file_has_an_example_and_no_example_is_lost() -> None:
    assert {path.name for path in FOLDER.iterdir() if path.suffix in (".json", ".txt")} == {
        f"{TRACE}.txt",
        *(f"{name}.json" for name in KINDS),
    }
    # `profile` reads a network, not a file of ours; and `pieces` a network, too, which is that of its file.
    assert set(PRINTED) == set(typer.main.get_command(group).commands) - {"profile", "pieces"}  # type: ignore[attr-defined]
    for name, command in typer.main.get_command(group).commands.items():  # type: ignore[attr-defined]
        options = {option for parameter in command.params for option in parameter.opts}
        assert name == "profile" or {"--example", "--schema", *PRINTED.get(name, ({},))[0]} <= options, name


@pytest.mark.parametrize("name", KINDS)
def test_an_example_fits_its_schema_and_its_planner(name: str) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    content, found = json.loads(example(name)), json.loads(schema(name))
    jsonschema.Draft202012Validator.check_schema(found)
    check = jsonschema.Draft202012Validator(found)
    check.validate(content)
    assert read(FOLDER / f"{name}.json", KINDS[name]) == KINDS[name].model_validate(content)
    # The schema refuses what the planner refuses, too.
    assert not check.is_valid({**content, "no such field": 1})
    for field in found["required"]:
        assert not check.is_valid({other: value for other, value in content.items() if other != field})
    assert "measured" not in json.dumps(content)  # nothing was: the numbers are made up


@pytest.mark.parametrize("command", PRINTED)
def test_a_command_plans_from_what_it_prints(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if command == "workflow":
        pytest.importorskip("scipy", reason="scipy is not installed: workflows are planned with the extra `plan`")
    monkeypatch.chdir(tmp_path)
    arguments, rest = [], PRINTED[command][1]
    for option, before in PRINTED[command][0].items():
        (tmp_path / f"{option[2:]}.json").write_text(printed(command, option))
        arguments += [*([before] if before else []), f"{option[2:]}.json"]
    printed(command, *arguments, *rest)


def test_a_shipped_profile_is_named_in_the_schema_as_in_the_file(tmp_path: Path) -> None:
    jsonschema = pytest.importorskip("jsonschema")
    check = jsonschema.Draft202012Validator(json.loads(printed("adapt", "--schema")))
    content = json.loads(printed("adapt", "--example"))
    del content["gpus"][1]["held"]
    named = {**content, "profile": "jellyfish"}
    check.validate(named)
    (tmp_path / "situation.json").write_text(json.dumps(named))
    assert read(tmp_path / "situation.json", Situation).profile.name == "jellyfish"
    assert not check.is_valid({**content, "profile": "none of ours"})


def test_the_schema_of_each_file_is_printed() -> None:
    for command, option, name in (
        ("split", "--schema", "split"),
        ("profile-join", "--schema", "measured-device"),
        ("adapt", "--schema", "adapt"),
        ("adapt-replay", "--schema", "adapt"),
        ("workflow", "--schema", "workflow"),
        ("place", "--schema", "place-model"),
        ("place", "--schema-cluster", "place-cluster"),
    ):
        assert json.loads(printed(command, option)) == json.loads(schema(name))
