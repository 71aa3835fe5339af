"""New weights under traffic: no frame lost, none of mixed version, and what fails leaves the old ones answering."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pytest

from edgesight.hls.csim import build_library as build_csim
from edgesight.host.cascade import Cascade
from edgesight.host.edge import Edge
from edgesight.host.fabric.base import FabricError, Images, Loadable, Records
from edgesight.host.fabric.csim import CsimFabric
from edgesight.host.fabric.driver import Registers
from edgesight.host.fabric.loading import writes_of
from edgesight.host.fabric.verilated import VerilatedFabric
from edgesight.host.images import Picture
from edgesight.host.package import Package
from edgesight.host.registers import (
    WEIGHTS_CONTROL_SWAP,
    WEIGHTS_STATUS_DAMAGED,
    WEIGHTS_STATUS_LOADING,
    WEIGHTS_STATUS_READY,
    WEIGHTS_STATUS_REFUSED,
)
from edgesight.host.selftest import selftest
from edgesight.host.swap import SwapError
from edgesight.sim.rtl.runner import missing_tools
from edgesight.sim.verilate import build_library as build_verilated
from tests.trained_twice import cascade, exits, pictures, said
from tests.waiting import until

pytestmark = pytest.mark.skipif(bool(missing_tools()), reason=f"missing tools: {missing_tools()}")

FIELDS = ["label", "margin", "stage", "error"]
ROWS = 3
# By version: of its own calibration, so that a frame under the other's would tell.
TABLES = [{0: [190, 60], 1: [0, 0], 2: [400, 110]}, {0: [40, 20], 1: [0, 0], 2: [150, 26]}]
IMAGES = 60


@pytest.fixture(scope="module")
def versions(tmp_path_factory: pytest.TempPathFactory) -> list[Package]:
    """Two trainings; the first one's hardware is built."""
    folder = tmp_path_factory.mktemp("versions")
    made = [cascade(folder / name, seed) for name, seed in (("first", 1), ("second", 2))]
    build_verilated(made[0])
    for package in made:
        build_csim(package)
    return made


@pytest.fixture
def fabric(versions: list[Package]) -> Iterator[VerilatedFabric]:
    """The first version's hardware, with its table."""
    with contextlib.closing(VerilatedFabric(versions[0])) as opened:
        for row, thresholds in TABLES[0].items():
            opened.set_thresholds(row, thresholds)
        yield opened


@pytest.fixture(scope="module")
def expected(versions: list[Package]) -> list[Records]:
    """What csim says of every image, by version."""
    found = []
    for package, table in zip(versions, TABLES, strict=True):
        csim = CsimFabric(package)
        for row, thresholds in table.items():
            csim.set_thresholds(row, thresholds)
        found.append(csim.run(pictures(IMAGES), sets(IMAGES)))
    return found


def sets(count: int) -> np.ndarray:
    return (np.arange(count) % ROWS).astype(np.uint8)


def same(records: Records, wanted: Records) -> np.ndarray:
    """Where records in their images' order are as wanted."""
    return np.asarray(np.all([records[name] == wanted[name] for name in FIELDS], axis=0))


def answers_as(fabric: VerilatedFabric, wanted: Records) -> bool:
    return bool(same(fabric.run(pictures(IMAGES), sets(IMAGES)), wanted).all())


def test_the_versions_tell_themselves_apart(expected: list[Records]) -> None:
    assert same(*expected).sum() < IMAGES / 4
    assert all(len(np.unique(records["stage"])) == 3 for records in expected)  # both stages, and offloads


def test_a_version_rolls_out_under_traffic_with_no_frame_lost_or_mixed(
    fabric: VerilatedFabric, versions: list[Package], expected: list[Records]
) -> None:
    for turn in (1, 0, 1):
        times = 40
        images = np.tile(pictures(IMAGES), (times, 1, 1, 1))
        done = fabric.roll_out(images, np.tile(sets(IMAGES), times), versions[turn], TABLES[turn], after=30)
        records = done.records
        assert sorted(records["tag"]) == list(range(times * IMAGES))  # each once
        old, new = (same(records, expected[which][records["tag"] % IMAGES]) for which in (1 - turn, turn))
        assert (old | new).all()
        only_old, only_new = np.flatnonzero(old & ~new), np.flatnonzero(new & ~old)
        assert len(only_old) > 30 / 2
        assert len(only_new) > times * IMAGES / 4
        assert only_old.max() < only_new.min()
        assert fabric.registers.read("weights_hash") == int(versions[turn].kernel.weights_sha256[:8], 16)
        assert answers_as(fabric, expected[turn])


def test_load_between_runs_and_back(fabric: VerilatedFabric, versions: list[Package], expected: list[Records]) -> None:
    assert isinstance(fabric, Loadable)
    assert answers_as(fabric, expected[0])
    for turn in (1, 0):
        fabric.load(versions[turn], TABLES[turn])
        assert fabric.package is versions[turn]
        assert fabric.registers.thresholds(2) == TABLES[turn][2]
        assert answers_as(fabric, expected[turn])


def test_a_package_opens_on_hardware_that_holds_another_version(
    fabric: VerilatedFabric, versions: list[Package], expected: list[Records]
) -> None:
    opened = Registers(versions[1], fabric._read_word, fabric._write_word)
    opened.check_identity("here", "it is another")
    for row, thresholds in TABLES[1].items():
        fabric.set_thresholds(row, thresholds)
    assert answers_as(fabric, expected[1])


def spoilt(writes: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """One bit of one word is off."""
    return [*writes[:-1], (writes[-1][0], writes[-1][1] ^ 1, 0)]


def cut_off(writes: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    """Its last word is missing."""
    return writes[:-1]


def of_another_checksum(writes: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    return [(name, value ^ (name == "weights_crc"), index) for name, value, index in writes]


def nothing(writes: list[tuple[str, int, int]]) -> list[tuple[str, int, int]]:
    return []


@pytest.mark.parametrize(
    ("hostile", "status"),
    [
        (spoilt, WEIGHTS_STATUS_LOADING | WEIGHTS_STATUS_DAMAGED),
        (cut_off, WEIGHTS_STATUS_LOADING),
        (of_another_checksum, WEIGHTS_STATUS_LOADING | WEIGHTS_STATUS_DAMAGED),
        (nothing, 0),
    ],
)
def test_what_is_not_whole_is_never_swapped_in(
    hostile: Callable[[list[tuple[str, int, int]]], list[tuple[str, int, int]]],
    status: int,
    fabric: VerilatedFabric,
    versions: list[Package],
    expected: list[Records],
) -> None:
    runtime = versions[1].kernel.runtime_weights
    assert runtime is not None
    for name, value, index in hostile(list(writes_of(versions[1], runtime, TABLES[1]))):
        fabric.registers.write(name, value, index)
    assert fabric.registers.read("weights_status") == status
    fabric.registers.write("weights_control", WEIGHTS_CONTROL_SWAP)
    assert fabric.registers.read("weights_status") == status | WEIGHTS_STATUS_REFUSED
    assert fabric.registers.read("weights_hash") == int(versions[0].kernel.weights_sha256[:8], 16)
    assert answers_as(fabric, expected[0])
    fabric.load(versions[1], TABLES[1])  # and the next one is as good as ever
    assert answers_as(fabric, expected[1])


def test_a_load_that_traffic_outlives_leaves_the_old_version(
    fabric: VerilatedFabric, versions: list[Package], expected: list[Records]
) -> None:
    with pytest.raises(FabricError, match="register writes fitted beside 30 images: give more images"):
        fabric.roll_out(pictures(30), sets(30), versions[1], TABLES[1], after=20)
    assert answers_as(fabric, expected[0])
    assert fabric.registers.thresholds(2) == TABLES[0][2]


def test_a_bit_that_is_lost_on_the_bus_is_told_and_changes_nothing(
    fabric: VerilatedFabric, versions: list[Package], expected: list[Records]
) -> None:
    words = 0

    def write(address: int, value: int) -> None:
        nonlocal words
        words += address == versions[0].kernel.registers["weights_data"]
        fabric._write_word(address, value ^ (words == 7))

    registers = Registers(versions[0], fabric._read_word, write)
    with pytest.raises(FabricError, match=r"with another checksum than was sent .*: the weights before go on"):
        registers.load_weights(versions[1], TABLES[1])
    assert not fabric.registers.read("weights_status") & (WEIGHTS_STATUS_LOADING | WEIGHTS_STATUS_READY)
    assert answers_as(fabric, expected[0])


def test_what_does_not_fit_is_refused(fabric: VerilatedFabric, versions: list[Package], tmp_path: Path) -> None:
    fixed = cascade(tmp_path / "fixed", 2, None)
    with pytest.raises(FabricError, match="its weights are part of the hardware: compile it with --runtime-weights"):
        fabric.load(fixed, {})
    with pytest.raises(FabricError, match="threshold set 16 does not exist"):
        fabric.load(versions[1], {16: [0, 0]})
    with pytest.raises(FabricError, match="give one of 16 rows"):
        CsimFabric(versions[0]).load(versions[1], {16: [0, 0]})
    other = versions[1].kernel.model_copy(update={"build_hash": "0" * 8})
    with pytest.raises(FabricError, match=r"is of another structure .*: compile the network by `edgesight compile"):
        fabric.load(Package(versions[1].path, other), {})


def test_a_network_with_exits_is_loaded_whole(tmp_path: Path) -> None:
    first, second = (exits(tmp_path / name, seed) for name, seed in (("first", 1), ("second", 2)))
    build_verilated(first)
    with contextlib.closing(VerilatedFabric(first)) as fabric:
        for package in (first, second, first):
            fabric.load(package, {})
            assert selftest(fabric, package).passed
        assert not selftest(fabric, second).passed


# ---- A running edge ----------------------------------------------------------------------------------------------


class Stubborn(CsimFabric):
    """Takes other weights when it is asked again."""

    asked = False

    def load(self, package: Package, thresholds: Mapping[int, Sequence[int]]) -> None:
        if not self.asked:
            self.asked = True
            raise FabricError("the line is broken")
        super().load(package, thresholds)


def test_an_edge_rolls_a_version_out_while_it_answers(tmp_path: Path) -> None:
    confidences = [0.62, 0.71]
    folder = tmp_path / "running"
    first = cascade(folder, 1, known=said(confidences[0]))
    build_csim(first)
    images = pictures(IMAGES)
    labels = [_labels(first, images)]
    answers: list[tuple[int, float, int]] = []  # image, confidence, label

    async def asked() -> None:
        fabric = Stubborn(first)
        assert first.kernel.calibration is not None
        running = Cascade(fabric, first.kernel.calibration, None)
        with contextlib.closing(running):
            async with Edge(running) as edge:
                enough = False

                async def go(number: int) -> None:
                    while not enough:
                        target = edge.target(edge.calibration.targets[1].accuracy)
                        answer = await edge.ask(Picture(images[number % IMAGES], ()), target, 5.0)
                        answers.append((number % IMAGES, answer.confidence, answer.label))
                        number += 8

                asking = [asyncio.create_task(go(first_one)) for first_one in range(8)]
                await until(lambda: len(answers) >= 2 * IMAGES)
                second = await asyncio.to_thread(cascade, folder, 2, known=said(confidences[1]))
                await asyncio.to_thread(build_csim, second)
                with pytest.raises(FabricError, match="the line is broken"):
                    await edge.reload()  # the first one goes on
                before = len(answers)
                await until(lambda: len(answers) >= before + IMAGES)
                labels.append(_labels(second, images))
                await edge.reload()
                assert edge.kernel.weights_sha256 == second.kernel.weights_sha256
                at_swap = len(answers)
                await until(lambda: len(answers) >= at_swap + 2 * IMAGES)
                enough = True
                await asyncio.gather(*asking)

    asyncio.run(asyncio.wait_for(asked(), 120))
    seen = [confidences.index(round(confidence, 6)) for _, confidence, _ in answers]
    assert seen == sorted(seen)
    assert set(seen) == {0, 1}
    assert all(labels[version][image] == label for version, (image, _, label) in zip(seen, answers, strict=True))


def _labels(package: Package, images: Images) -> list[int]:
    """What the first stage says, which answers under each target of `said`."""
    return [int(label) for label in CsimFabric(package).logits(images)[0].argmax(axis=1)]


def test_an_edge_of_fixed_weights_takes_no_others(tmp_path: Path) -> None:
    folder = tmp_path / "running"
    first = cascade(folder, 1, None, said(0.6))
    build_csim(first)

    async def asked() -> None:
        assert first.kernel.calibration is not None
        with contextlib.closing(Cascade(CsimFabric(first), first.kernel.calibration, None)) as running:
            async with Edge(running) as edge:
                await asyncio.to_thread(cascade, folder, 2, None, said(0.7))
                with pytest.raises(SwapError, match="holds another kernel"):
                    await edge.reload()

    asyncio.run(asyncio.wait_for(asked(), 60))
