"""The published format: read as it stands, its faults reported by file and line."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from edgesight.plan.profile import MAX_FILE_BYTES, PlanError
from edgesight.plan.workflow.jellybean import read_directory
from edgesight.plan.workflow.plan import plan

pytest.importorskip("yaml", reason="PyYAML is not installed: the published format needs it")

FILES = {
    "logical_graph.csv": "camera,find\nfind,name\n",
    "input_injection_rates.csv": "camera,10\n",
    "execution_profile.csv": "find,near,small,100\nfind,far,small,10\nfind,far,large,20\nname,near,default,nan\n"
    "name,far,default,5\n",
    "message_sizes.csv": "camera,find,default,default,100\nfind,name,large,default,2\nfind,name,default,default,1\n",
    "workers_specs.csv": "near,0.1\nfar,2\n",
    "workers_partition.json": '[\n ["near"],\n ["far"]\n]\n',
    "workers_numbers.csv": "near,2\nfar,3\n",
    "accuracy_requirement.json": '{\n "sink": "name",\n "threshold": 80\n}\n',
    "accuracy_profile.csv": "find,accuracy_percent\nsmall,80\nlarge,90\n",
    "workers_workers_link.csv": "near,far,1.0\nfar,near,10.0\n",
    "sources_workers_link.csv": "camera,far,2.0\n",
    "throughput_normalization_ratios.csv": "find,name,2.0\n",
    "config.yaml": "INPUT:\n  LATENCY_OVERESTIMATE_RATIO: 1.5\n  COMM_COST_SCALING_FACTOR: 0.1\n",
}


def directory(folder: Path, **changes: str | None) -> Path:
    """A small published directory; changes by name with _ for the dot, None leaves the file out."""
    for name, text in {**FILES, **{key.replace("__", "."): text for key, text in changes.items()}}.items():
        if text is not None:
            (folder / name).write_text(text)
    return folder


def test_names_that_steer_a_terminal_are_refused(tmp_path: Path) -> None:
    changes = {key.replace(".", "__"): text.replace("small", "s\x1b[31m") for key, text in FILES.items()}
    with pytest.raises(PlanError, match=r"the text 's\\x1b\[31m' holds the control character U\+001B; drop it"):
        read_directory(directory(tmp_path, **changes))


def test_every_file_ends_up_in_the_workflow(tmp_path: Path) -> None:
    read = read_directory(directory(tmp_path))
    workflow = read.workflow
    assert read.warnings == ()
    assert workflow.accuracy == 0.8
    assert [(operator.name, operator.variants) for operator in workflow.operators] == [
        ("find", ("small", "large")),
        ("name", ("default",)),
    ]
    assert [(worker.name, worker.tier) for worker in workflow.workers] == [
        *((f"near_{place}", 0) for place in range(2)),
        *((f"far_{place}", 1) for place in range(3)),
    ]
    assert workflow.workers[0].latency_ms == {"find": {"small": 150.0}}  # 100 ms overestimated; nan: cannot run it
    first, last = workflow.edges
    assert first.size(None, "small") == 100 * 1024
    assert (last.size("large", "default"), last.size("small", "default"), last.ratio) == (2048, 1024, 2.0)
    # From the near workers 0.1 and from the source 0.2 dollars a GiB; backwards not at all.
    prices = {(link.source, link.target): link.dollars_per_gib for link in workflow.worker_links}
    assert {link.source for link in workflow.worker_links} == {"camera"}
    assert prices["camera", "far_2"] == pytest.approx(0.2)
    assert [(link.source, link.target) for link in workflow.tier_links] == [(0, 1)]
    assert workflow.tier_links[0].dollars_per_gib == pytest.approx(0.1)


def test_a_comma_too_many_is_coped_with_and_told(tmp_path: Path) -> None:
    text = FILES["execution_profile.csv"].replace("find,far,large,20", "find,far,large,20,")
    read = read_directory(directory(tmp_path, execution_profile__csv=text))
    assert read.warnings == (f"{tmp_path}/execution_profile.csv:3: a comma too many at the end, read over",)
    assert read.workflow.workers[-1].latency_ms["find"]["large"] == 30


def test_what_is_not_given_is_assumed_and_told(tmp_path: Path) -> None:
    read = read_directory(directory(tmp_path, config__yaml=None, workers_numbers__csv=None))
    assert len(read.workflow.workers) == 2
    assert any("config.yaml: is not there" in warning for warning in read.warnings)
    other = FILES["config.yaml"] + "BEAM_SEARCH:\n  BEST_K: 5\n"
    read = read_directory(directory(tmp_path, config__yaml=other))
    assert any("BEAM_SEARCH.BEST_K is 5" in warning for warning in read.warnings)


def test_blank_lines_are_read_over_and_counted(tmp_path: Path) -> None:
    read = read_directory(directory(tmp_path))
    blank = {name.replace(".", "__"): f"\n ,\n{text}" for name, text in FILES.items() if name.endswith(".csv")}
    again = read_directory(directory(tmp_path, **blank))
    assert again.warnings == ()
    assert again.workflow == read.workflow
    directory(tmp_path, accuracy_profile__csv="\n\nfind,accuracy_percent\n\nsmall,80\nhuge,90\n")
    with pytest.raises(PlanError, match=r"accuracy_profile\.csv:6: 'huge' is no variant of 'find'"):
        read_directory(tmp_path)


def test_a_variant_may_be_named_as_its_operator(tmp_path: Path) -> None:
    changed = {
        name.replace(".", "__"): FILES[name].replace("small", "find")
        for name in ("execution_profile.csv", "accuracy_profile.csv")
    }
    read = read_directory(directory(tmp_path, **changed))
    assert [row.variants for row in read.workflow.accuracies] == [{"find": "find"}, {"find": "large"}]


@pytest.mark.parametrize(
    ("name", "text", "line", "reason"),
    [
        ("logical_graph.csv", "camera,find\nfind\n", 2, "1 cells where 2 belong"),
        ("logical_graph.csv", "camera,find\nfind,name\nfind,name\n", 3, "already on line 2"),
        ("logical_graph.csv", "camera,find\nfind,name\nfind,camera\n", 3, "nothing may lead to it"),
        ("logical_graph.csv", "camera,find\nfind,name\nghost,name\n", 3, "'ghost' has neither a rate nor a latency"),
        ("logical_graph.csv", "camera,find\nname,find\nfind,name\n", 3, "closes a cycle, "),
        ("logical_graph.csv", "find,find\ncamera,find\nfind,name\n", 1, "closes a cycle, find to find"),
        ("logical_graph.csv", "camera,name\nfind,name\n", 2, "nothing leads to 'find', and it has no rate"),
        ("logical_graph.csv", "camera,name\nname,find\n", 2, "'name' is the sink of accuracy_requirement.json"),
        ("logical_graph.csv", "\n", 1, "holds nothing"),
        ("logical_graph.csv", f"camera,find\nfind,{'n' * 201}\n", 2, "cell 2 has 201 characters"),
        ("logical_graph.csv", 'camera,"find\n', 1, "is no CSV"),
        ("input_injection_rates.csv", "camera,many\n", 1, "the rate is 'many', not a number"),
        ("input_injection_rates.csv", "camera,-1\n", 1, "the rate is -1; write one above 0"),
        ("input_injection_rates.csv", "camera,inf\n", 1, "the rate is inf"),
        ("input_injection_rates.csv", "camera,10\nspare,5\n", 2, "source 'spare' leads nowhere"),
        ("input_injection_rates.csv", "", 1, "holds nothing"),
        ("execution_profile.csv", "find,near,small,100\nfind,near,small,1\n", 2, "already on line 1"),
        ("execution_profile.csv", "find,near,small,100\nghost,near,small,1\n", 2, "'ghost' is no operator"),
        ("execution_profile.csv", "find,near,small,100\nfind,ghost,small,1\n", 2, "'ghost' is no worker"),
        ("execution_profile.csv", "find,near,small,0\n", 1, "the latency is 0; write one above 0"),
        ("execution_profile.csv", "find,near,small,1,2\n", 1, "5 cells where 4 belong"),
        ("execution_profile.csv", "find,near,,1\n", 1, "cell 3 is empty"),
        ("message_sizes.csv", "camera,find,default,default,-1\n", 1, "the size is -1; write one of at least 0"),
        ("message_sizes.csv", "camera,name,default,default,1\n", 1, "'camera' to 'name' is no edge"),
        ("message_sizes.csv", "camera,find,default,huge,1\n", 1, "'huge' is no variant of 'find'"),
        (
            "message_sizes.csv",
            "camera,find,default,default,1\nfind,name,large,default,2\n",
            2,
            "'find' to 'name' has sizes up to here, and none for variants 'small' to 'default'",
        ),
        (
            "message_sizes.csv",
            "camera,find,default,small,1\nfind,name,default,default,2\n",
            1,
            "'camera' to 'find' has sizes up to here, and none for variant 'large'",
        ),
        ("workers_specs.csv", "near,0.1\nfar,2\nghost,1\n", 3, "'ghost' is in no tier"),
        ("workers_specs.csv", "near,0.1\n", None, "'far_0' has no price"),
        ("workers_partition.json", '[\n ["near"],\n ["far", "near"]\n]\n', 2, "'near' is in it twice"),
        ("workers_partition.json", '[\n ["near"],\n', 3, "is no JSON"),
        ("workers_partition.json", "{}", 1, "write a list of lists"),
        (
            "accuracy_requirement.json",
            '{"sink": "name",\n "threshold": 0.56}',
            2,
            "threshold is 0.56, which is read as percent: write 56 for a share of 0.56",
        ),
        ("accuracy_requirement.json", '{"sink": "name", "sink": "find", "threshold": 56}', None, "twice"),
        ("workers_partition.json", "[[], []]", 1, "lists no worker"),
        ("workers_numbers.csv", "near,1.5\n", 1, "the number is 1.5, not a whole one"),
        ("workers_numbers.csv", "near,2\nfar,1e19\n", 2, "the number is 1e+19; write at most 10000"),
        ("workers_numbers.csv", "other,3\nnear,0\nfar,0\n", 2, "no worker is left"),
        ("accuracy_requirement.json", '{\n "sink": "ghost",\n "threshold": 80\n}\n', 2, "'ghost' is no operator"),
        ("accuracy_requirement.json", '{\n "sink": "name",\n "threshold": 180\n}\n', 3, "write a percent"),
        ("accuracy_requirement.json", '{\n "sink": "name"\n}\n', 1, "threshold is missing"),
        ("accuracy_profile.csv", "find,accuracy\nsmall,80\n", 1, "last column is another: call it accuracy_percent"),
        ("accuracy_profile.csv", "ghost,accuracy_percent\nsmall,80\n", 1, "'ghost' is no operator"),
        ("accuracy_profile.csv", "find,find,accuracy_percent\nsmall,large,80\n", 1, "'find' is in the header twice"),
        ("accuracy_profile.csv", "\nghost,accuracy_percent\nsmall,80\n", 2, "'ghost' is no operator"),
        ("accuracy_profile.csv", "find,accuracy_percent\nsmall,80\nsmall,90\n", 3, "small is already on line 2"),
        ("accuracy_profile.csv", "accuracy_percent\n80\n90\n", 3, "for all variants is already on line 2"),
        ("accuracy_profile.csv", "find,accuracy_percent\nsmall,large,90\n", 2, "3 cells where 2 belong"),
        ("accuracy_profile.csv", "find,accuracy_percent\nsmall,80\nhuge,90\n", 3, "'huge' is no variant of 'find'"),
        ("accuracy_profile.csv", "find,accuracy_percent\nsmall,180\n", 2, "the accuracy is 180; write at most 100"),
        ("accuracy_profile.csv", "find,accuracy_percent\n", 1, "holds no accuracies"),
        ("workers_workers_link.csv", "near,ghost,1\n", 1, "'ghost' is no worker"),
        ("sources_workers_link.csv", "ghost,far,1\n", 1, "'ghost' is no source"),
        ("sources_workers_link.csv", "camera,far,-1\n", 1, "the price is -1"),
        ("throughput_normalization_ratios.csv", "find,name,0\n", 1, "the ratio is 0; write one above 0"),
        ("config.yaml", "INPUT:\n  LATENCY_OVERESTIMATE_RATIO: fast\n", 2, "LATENCY_OVERESTIMATE_RATIO is 'fast'"),
        ("config.yaml", "INPUT:\n  - [\n", 3, "is no YAML"),
        ("config.yaml", "INPUT: 3\n", 1, "INPUT holds no settings"),
    ],
)
def test_faults_are_told_by_file_and_line(name: str, text: str, line: int | None, reason: str, tmp_path: Path) -> None:
    directory(tmp_path)
    (tmp_path / name).write_text(text)
    with pytest.raises(PlanError) as refused:
        read_directory(tmp_path)
    place = "" if line is None else f"{tmp_path / name}:{line}: "
    assert str(refused.value).startswith(place)
    assert reason in str(refused.value)


def test_a_source_may_not_be_named_as_a_worker(tmp_path: Path) -> None:
    changed: dict[str, str | None] = {
        name.replace(".", "__"): text.replace("near", "camera") for name, text in FILES.items()
    }
    directory(tmp_path, **{**changed, "workers_numbers__csv": None})
    with pytest.raises(PlanError, match=r"input_injection_rates\.csv:1: 'camera' is a worker"):
        read_directory(tmp_path)


def test_a_kind_of_which_there_are_none_is_left_out(tmp_path: Path) -> None:
    read = read_directory(directory(tmp_path, workers_numbers__csv="near,0\nfar,3\n"))
    assert [(worker.name, worker.tier) for worker in read.workflow.workers] == [
        (f"far_{place}", 1) for place in range(3)
    ]


def test_a_file_that_is_larger_than_any_is_named(tmp_path: Path) -> None:
    directory(tmp_path)
    with (tmp_path / "logical_graph.csv").open("wb") as file:
        file.truncate(1 << 40)  # it takes no space
    with pytest.raises(PlanError, match=rf"graph\.csv: cannot be read .it is larger than {MAX_FILE_BYTES} bytes"):
        read_directory(tmp_path)


def test_a_missing_file_is_named_and_a_pickle_never_read(tmp_path: Path) -> None:
    directory(tmp_path, logical_graph__csv=None)
    with pytest.raises(PlanError, match=r"logical_graph\.csv: cannot be read"):
        read_directory(tmp_path)
    directory(tmp_path, accuracy_profile__csv=None)
    (tmp_path / "accuracy_profile.csv").unlink()
    (tmp_path / "nodes_accuracy_profiles.pkl").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(PlanError, match="a pickle can run code"):
        read_directory(tmp_path)
    (tmp_path / "throughput_normalization_ratios_per_variant.csv").write_text("")
    with pytest.raises(PlanError, match="ratios by variant are not supported"):
        read_directory(tmp_path)


def test_the_published_inputs_give_the_authors_cost_and_the_optimum() -> None:
    pytest.importorskip("scipy", reason="scipy is not installed: the exact method needs the extra `plan`")
    folder = os.environ.get("EDGESIGHT_JELLYBEAN")
    if folder is None:
        pytest.skip("EDGESIGHT_JELLYBEAN names no directory: the authors' inputs for visual question answering")
    read = read_directory(Path(folder))
    assert [warning.rpartition("/")[2] for warning in read.warnings] == [
        "execution_profile.csv:5: a comma too many at the end, read over"
    ]
    authors, exact = plan(read.workflow, 0.56, "authors"), plan(read.workflow, 0.56, "exact")
    assert authors.compute_dollars_per_hour == pytest.approx(6.242, abs=5e-4)
    assert authors.communication_dollars_per_hour == pytest.approx(1.2668, abs=5e-5)
    assert exact.dollars_per_hour == pytest.approx(7.485, abs=5e-4)
    assert exact.proven
    assert authors.accuracy == exact.accuracy == pytest.approx(0.5659)
    assert json.loads(exact.model_dump_json())["variants"]["ExtractImageFeature"] == "resnet18"
