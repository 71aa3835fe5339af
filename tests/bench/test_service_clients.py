"""What people's clients do is judged by what they say: `image_client.py`'s calls and lines, KServe's, installations."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from edgesight.bench.service import clients, environments
from edgesight.bench.service.classify import Way
from edgesight.bench.service.clients import Server
from edgesight.bench.service.environments import NotInstalled, environment, unpacked
from edgesight.bench.service.outcome import Outcome

FILES = [Path(f"{number}.png") for number in range(4)]
DOORS = {"http": "127.0.0.1:1", "grpc": "127.0.0.1:2"}
SERVER = Server("ours", DOORS, "digits", "image", [3, 1, 4, 1])
# image_client.py, of which only what it prints matters here: two requests of three pictures, the best two of each.
SAYS = """
import sys
assert sys.argv[1:] == "-m digits -u 127.0.0.1:2 -i grpc --streaming -b 3 -c 2 .".split(), sys.argv
for number, labels in enumerate([(3, 1, 4), ({last}, 3, 1)]):
    print(f"Request {{number + 1}}, batch size 3")
    for label in labels:
        print(f"    0.900000 ({{label}}) = {{label}}")
        print(f"    0.100000 (9) = 9")
print("{end}")
"""


ENDS = [(1, "PASS", True), (2, "PASS", False), (1, "inference failed", False)]


@pytest.mark.parametrize(("last", "end", "good"), ENDS)
def test_image_client_is_held_to_its_word_and_to_the_right_classes(
    last: int, end: str, good: bool, tmp_path: Path
) -> None:
    script = tmp_path / "image_client.py"
    script.write_text(SAYS.format(last=last, end=end))
    found, said = clients._by_script(script, SERVER, Way("grpc", "streaming"), FILES, tmp_path)
    assert found is good, said


def test_a_client_whose_calls_fail_is_unmet_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"call": "gRPC: live", "done": true, "said": ""}\n{"call": "gRPC: infer", "done": false, "said": "no"}\n'
    monkeypatch.setattr(clients, "environment", lambda folder, *packages: Path(sys.executable))
    monkeypatch.setattr(clients, "_pixels", lambda files: [])
    monkeypatch.setattr(clients, "_run", lambda *given: subprocess.CompletedProcess([], 0, said, ""))
    outcome = Outcome()
    clients._kserve([SERVER], FILES, tmp_path, outcome)
    assert [check.met for check in outcome.checks] == [False, True]
    assert [call["call"] for call in outcome.said[f"ours, {clients.KSERVE}"]] == ["gRPC: infer"]


def test_figures_are_those_of_perf_analyzer_s_summary() -> None:
    said = (
        "    Throughput: 39.766 infer/sec\n    Avg latency: 21072 usec (standard deviation 7306 usec)\n"
        "Inferences/Second vs. Client Average Batch Latency\n"
        "Concurrency: 1, throughput: 39.5 infer/sec, latency 21000 usec\n"
    )
    assert list(clients._figures(said, "throughput")) == [39.5]
    assert list(clients._figures(said, "latency")) == [21000.0]


def test_what_was_installed_is_not_installed_again_and_what_cannot_be_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[list[object]] = []

    def run(command: list[object]) -> None:
        ran.append(command)
        tmp_path.joinpath("a").mkdir(exist_ok=True)

    monkeypatch.setattr(environments, "_run", run)
    for packages in (("one==1",), ("one==1",), ("one==2",)):
        assert environment(tmp_path / "a", *packages) == tmp_path / "a" / "bin" / "python"
    assert len(ran) == 4  # an environment and what is in it, twice
    monkeypatch.undo()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(NotInstalled, match=r"no-such-package cannot be installed .* see whether pip reaches its index"):
        unpacked(tmp_path / "b", "no-such-package")
