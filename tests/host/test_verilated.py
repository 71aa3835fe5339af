"""The Verilated fabric on a kernel whose networks are stand-ins that Python can predict."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgesight.host.fabric.base import ALWAYS, NEVER, FabricError
from edgesight.host.fabric.driver import pack_frames
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.libraries import LIBRARY, keep
from edgesight.host.package import Package, write_package
from edgesight.sim.rtl.cascade.model import answer, decide, logits
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.verilate import VerilateError, build_library
from tests.host.stand_ins import CHANNELS, DELAYS, HEIGHT, SHAPE, WIDTH, stub_package

SEED = 20

needs_tools = pytest.mark.skipif(bool(missing_tools()), reason=f"not found: {', '.join(missing_tools())}")


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Package:
    if missing_tools():
        pytest.skip(f"not found: {', '.join(missing_tools())}")
    package = stub_package(tmp_path_factory.mktemp("packages") / "stand-in")
    build_library(package)
    return package


@pytest.fixture
def fabric(package: Package) -> Iterator[VerilatedFabric]:
    fabric = VerilatedFabric(package)
    yield fabric
    fabric.close()


def random_images(count: int) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    print(f"seed {SEED}")
    return np.random.default_rng(SEED).integers(0, 256, (count, HEIGHT, WIDTH, CHANNELS), np.uint8)


def test_every_record_is_what_the_networks_say(fabric: VerilatedFabric) -> None:
    rng = np.random.default_rng(SEED)
    rows = [[ALWAYS, ALWAYS], [NEVER, ALWAYS], [NEVER, NEVER]]
    rows += [[int(rng.integers(1, 300)), int(rng.integers(1, 1 << 30))] for _ in range(13)]
    for set_index, row in enumerate(rows):
        fabric.set_thresholds(set_index, row)
        assert fabric.registers.thresholds(set_index) == row
    images, sets = random_images(500), rng.integers(0, 16, 500, np.uint8)
    seen: list[int] = []
    records = fabric.run(images, sets, progress=seen.append)
    for tag, (image, set_index) in enumerate(zip(images, sets, strict=True)):
        first, second = rows[set_index]
        label, stage, margin = answer(image.tobytes(), (first, second), SHAPE)
        record = records[tag]
        assert (record["tag"], record["label"], record["stage"], record["margin"]) == (tag, label, stage, margin)
        assert record["error"] == 0
        assert record["cycles"] > SHAPE.words + SHAPE.pixels
    assert set(records["stage"].tolist()) == {0x00, 0x01, 0x11}
    assert seen[-1] == 500
    assert fabric.registers.read("frames") == 500
    assert fabric.simulated_cycles > 500 * SHAPE.pixels
    assert fabric.seconds > 0


def test_logits_are_those_of_both_stages_and_thresholds_stay(fabric: VerilatedFabric) -> None:
    before = [[set_index, 1000 + set_index] for set_index in range(16)]
    for set_index, row in enumerate(before):
        fabric.set_thresholds(set_index, row)
    images = random_images(50)
    found = fabric.logits(images)
    for stage in (0, 1):
        assert found[stage].dtype == np.int32
        assert found[stage].tolist() == [logits(image.tobytes(), stage, SHAPE) for image in images]
    assert [fabric.registers.thresholds(set_index) for set_index in range(16)] == before


def test_intervals_are_the_stages_own(fabric: VerilatedFabric) -> None:
    first, second = fabric.measure_intervals(random_images(40))
    assert first.interval_cycles == SHAPE.pixels
    # The stand-in takes its next frame's last pixel when its answer is taken: after `Delay` cycles and one a logit.
    assert second.interval_cycles == DELAYS[1] + SHAPE.classes
    assert SHAPE.words + SHAPE.pixels < first.latency_cycles < second.latency_cycles
    assert (first.images, second.images) == (40, 40)


def test_runs_follow_each_other_and_may_be_empty(fabric: VerilatedFabric) -> None:
    fabric.set_thresholds(0, [ALWAYS, ALWAYS])
    images = random_images(3)
    for count in (1, 0, 3):
        records = fabric.run(images[:count], np.zeros(count, np.uint8))
        assert records["label"].tolist() == [decide(logits(i.tobytes(), 0, SHAPE))[0] for i in images[:count]]


def test_fabrics_of_one_process_do_not_mix(package: Package) -> None:
    one, other = VerilatedFabric(package), VerilatedFabric(package)
    one.set_thresholds(0, [ALWAYS, ALWAYS])
    other.set_thresholds(0, [NEVER, NEVER])
    images, sets = random_images(4), np.zeros(4, np.uint8)
    assert set(one.run(images, sets)["stage"].tolist()) == {0x00}
    assert set(other.run(images, sets)["stage"].tolist()) == {0x11}
    one.close()
    assert len(other.run(images, sets)) == 4
    other.close()


def test_closing_twice_is_harmless_and_final(package: Package) -> None:
    fabric = VerilatedFabric(package)
    fabric.close()
    fabric.close()
    with pytest.raises(FabricError, match="closed"):
        fabric.registers.read("id")


def test_bad_arguments_are_refused(fabric: VerilatedFabric) -> None:
    images, sets = random_images(2), np.zeros(2, np.uint8)
    with pytest.raises(FabricError, match="resize or convert"):
        fabric.run(images[:, :-1], sets)
    with pytest.raises(FabricError, match="each below 16"):
        fabric.run(images, np.array([0, 16], np.uint8))
    with pytest.raises(FabricError, match="one threshold set a image"):
        fabric.run(images, sets[:1])
    with pytest.raises(FabricError, match="sets 0 to 15"):
        fabric.set_thresholds(16, [0, 0])
    with pytest.raises(FabricError, match="from 0 to"):
        fabric.set_thresholds(0, [0, 1 << 32])
    with pytest.raises(FabricError, match="at least 8"):
        fabric.measure_intervals(images)


def test_a_kernel_that_hangs_is_told_and_reset(package: Package, monkeypatch: pytest.MonkeyPatch) -> None:
    fabric = VerilatedFabric(package)
    fabric.set_thresholds(0, [ALWAYS, ALWAYS])

    def nothing_comes(handle: object, run: Any, limit: int) -> int:
        run._obj.cycles += limit
        return 0

    with monkeypatch.context() as patch:
        patch.setattr(fabric._library, "kernel_run", nothing_comes)
        with pytest.raises(FabricError, match=r"0 of 2 records came.*frames 0x0, answered_stage0 0x0.*was reset"):
            fabric.run(random_images(2), np.zeros(2, np.uint8))
    assert fabric.registers.thresholds(0) == [NEVER, NEVER]
    assert len(fabric.run(random_images(2), np.zeros(2, np.uint8))) == 2
    fabric.close()


def test_a_missing_library_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(FabricError, match="edgesight verilate"):
        VerilatedFabric(stub_package(tmp_path / "bare"))


@needs_tools
def test_another_builds_library_is_refused(package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    library = build_library(package).read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    other = stub_package(tmp_path / "other", build_hash="12345678")
    keep(other, "verilated", "taken from another", {LIBRARY: library})
    with pytest.raises(FabricError, match="0badcafe, the package has 12345678"):
        VerilatedFabric(other)


@needs_tools
def test_hardware_with_other_weights_is_refused(
    package: Package, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    library = build_library(package).read_bytes()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    other = stub_package(tmp_path / "other").replace(weights_sha256="12345678" * 8)
    keep(other, "verilated", "taken from another", {LIBRARY: library})
    with pytest.raises(FabricError, match="weights' hash reads 00000000, the package has 12345678"):
        VerilatedFabric(other)


def test_a_library_that_is_none_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    package = stub_package(tmp_path / "damaged")
    keep(package, "verilated", "by hand", {LIBRARY: b"no library"})
    with pytest.raises(FabricError, match="remove it and build it here by"):
        VerilatedFabric(package)


@needs_tools
def test_a_library_is_built_once(package: Package) -> None:
    stamp = build_library(package).stat().st_mtime_ns
    assert build_library(package).stat().st_mtime_ns == stamp


@needs_tools
def test_a_failed_build_shows_the_compilers_last_lines_and_leaves_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    stub = stub_package(tmp_path / "stub")
    files = {name: stub.read(name) for name in stub.kernel.files} | {"rtl/margin.sv": b"module margin (; endmodule\n"}
    package = write_package(tmp_path / "broken", stub.kernel, files)
    with pytest.raises(VerilateError, match=r"margin\.sv:1"):
        build_library(package)
    assert not (tmp_path / "cache" / "edgesight" / "libraries").exists()


def test_missing_tools_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr("edgesight.sim.verilate.missing_tools", lambda: ["g++", "perl"])
    with pytest.raises(VerilateError, match=r"g\+\+ \(apt install g\+\+\), perl \(apt install perl\)"):
        build_library(stub_package(tmp_path / "bare"))


def test_frames_are_packed_as_the_bus_carries_them() -> None:
    images = np.arange(2 * 3 * 3 * 1, dtype=np.uint8).reshape(2, 3, 3, 1)
    data, keep, last = pack_frames(images, np.array([4, 15], np.uint8))
    assert [hex(word) for word in data.tolist()] == [
        "0xe51d040000000000",
        "0x706050403020100",
        "0x8",
        "0xe51d0f0000000001",
        "0x100f0e0d0c0b0a09",
        "0x11",
    ]
    assert keep.tolist() == [0xFF, 0xFF, 0x01] * 2
    assert last.tolist() == [0, 0, 1] * 2
