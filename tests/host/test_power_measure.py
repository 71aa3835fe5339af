"""Measuring energy: refusals, drop-outs, coarse and stuck sensors; in virtual time."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import t

from edgesight.bench.power_replay import Bench, World, csv_log, hwmon_sensor, rapl_sensor
from edgesight.host.fabric.base import RECORD, FabricError, Images, Records
from edgesight.host.package import Package
from edgesight.host.power import measure as module
from edgesight.host.power.loop import FabricLoop
from edgesight.host.power.measure import EnergyReport, measure, windows_of
from edgesight.host.power.projection import PUBLISHED, PublishedPower, project
from edgesight.host.power.readings import DropOut, PowerError, Reading
from edgesight.host.power.sensors import HwmonSensor
from tests.host.by_hand import package
from tests.host.power_benches import BenchSensor

CALM = World(drift=0.0, wander=0.0, noise=0.02, lost=0.0)


def run(world: World, seed: int = 1, *, pairs: int = 8, seconds: float = 10.0) -> EnergyReport:
    bench = Bench(world, seed)
    return measure(BenchSensor(bench), bench, bench.idle, subject="test", pairs=pairs, seconds=seconds)


def test_the_quantiles_are_students() -> None:
    assert [t.ppf(0.975, freedom) for freedom in range(1, 31)] == pytest.approx(list(module._T95), abs=5e-4)


def test_every_figure_says_how_it_was_obtained() -> None:
    report = run(CALM)
    figures = report.figures()
    assert len(figures) == 11
    assert {figure.obtained for figure in figures.values()} == {"measured"}
    assert EnergyReport.model_validate_json(report.model_dump_json()) == report


def test_idle_run_and_rate_are_what_went_in() -> None:
    report = run(CALM)
    assert report.idle_watts.value == pytest.approx(3.2, rel=0.01)
    assert report.run_watts.value == pytest.approx(3.55, rel=0.01)
    assert report.images_per_second.value == pytest.approx(20_000)
    assert report.joules_per_image.value == pytest.approx(0.35 / 20_000, rel=0.02)
    assert (report.pairs, report.pairs_left_out, report.drop_outs) == (8, 0, 0)
    assert [window.kind for window in report.windows] == ["idle", "run", "idle", "control"] * 8 + ["idle"]
    assert len(report.windows) == windows_of(8)


def test_what_the_host_program_draws_is_not_booked_on_the_fabric() -> None:
    report = run(CALM)
    assert report.control_watts.value == pytest.approx(3.35, rel=0.01)
    assert report.host_watts.value == pytest.approx(0.15, rel=0.05)
    assert report.fabric_watts.value == pytest.approx(0.2, rel=0.05)
    assert report.host_joules_per_image.value == pytest.approx(0.15 / 20_000, rel=0.05)
    assert report.fabric_joules_per_image.value == pytest.approx(0.2 / 20_000, rel=0.05)
    parts = report.fabric_joules_per_image.value + report.host_joules_per_image.value
    assert parts == pytest.approx(report.joules_per_image.value)
    assert len(report.notes) == 1


def test_a_fabric_that_draws_nothing_beside_the_host_program_is_not_told_from_it() -> None:
    report = run(replace(CALM, host=0.35))
    assert any("does not tell running from the host program alone" in note for note in report.notes)
    assert not any("running from idle" in note for note in report.notes)


def test_a_control_at_another_pace_is_told() -> None:
    class Hurried(Bench):
        def control(self) -> int:
            return super().control() // 2

    bench = Hurried(CALM, 1)
    report = measure(BenchSensor(bench), bench, bench.idle, subject="x")
    assert any("the control went 0.50 times as fast as running" in note for note in report.notes)
    assert report.control_images_per_second.value == pytest.approx(10_000)


def test_a_report_says_what_is_held_against_what() -> None:
    said = run(CALM).notes[0]
    assert "above a control, in which the host program packs frames and waits for records at the same pace" in said
    assert "idle is with the bitstream loaded" in said


def test_a_linear_drift_cancels_exactly() -> None:
    drifting = World(drift=0.01, wander=0.0, noise=0.0, step=1e-9, lost=0.0)
    assert run(drifting).joules_per_image.value == pytest.approx(0.35 / 20_000, rel=2e-3)


def test_windows_too_short_for_the_sensor_are_refused_with_the_length_they_need() -> None:
    with pytest.raises(
        PowerError, match=r"windows of 3 s are too short: made up has a new value each 0\.15 s.* 4\.3 s"
    ):
        run(CALM, seconds=3.0)
    run(CALM, seconds=4.3)


@pytest.mark.parametrize(("pairs", "seconds", "settle"), [(2, 10.0, 1.0), (8, 1.0, 1.0), (8, 10.0, -1.0)])
def test_a_plan_that_measures_nothing_is_refused(pairs: int, seconds: float, settle: float) -> None:
    bench = Bench(CALM, 1)
    with pytest.raises(PowerError, match=r"at least 3|leave some time"):
        measure(BenchSensor(bench), bench, bench.idle, subject="x", pairs=pairs, seconds=seconds, settle=settle)


def test_a_stuck_sensor_is_refused() -> None:
    bench = Bench(CALM, 1)
    sensor = BenchSensor(bench)
    sensor.watts = lambda: 3.2
    with pytest.raises(PowerError, match=r"said 3\.2 W in all \d+ readings: it is stuck"):
        measure(sensor, bench, bench.idle, subject="x")


def test_a_window_in_which_the_sensor_stood_still_is_left_out() -> None:
    bench = Bench(CALM, 1)
    sensor, begin = BenchSensor(bench), bench.now
    # From the middle of the first control window into the idle one after it, and beyond: two pairs share that idle.
    sensor.watts = lambda: 3.3 if 36.0 < bench.now - begin < 51.0 else bench.watts()
    report = measure(sensor, bench, bench.idle, subject="x")
    assert (report.pairs, report.pairs_left_out) == (6, 2)
    assert report.joules_per_image.value == pytest.approx(0.35 / 20_000, rel=0.02)


def test_drop_outs_are_counted_and_a_pair_with_too_many_is_left_out() -> None:
    bench = Bench(CALM, 1)
    begin = bench.now

    class Failing(BenchSensor):
        def read(self) -> Reading | None:
            if 12.0 < bench.now - begin < 19.0:
                raise DropOut("bus")
            return super().read()

    report = measure(Failing(bench), bench, bench.idle, subject="x")
    assert report.pairs_left_out == 1
    assert report.drop_outs == pytest.approx(7.0 / 0.15, abs=6)


def test_too_many_drop_outs_are_refused() -> None:
    bench = Bench(CALM, 1)

    class Failing(BenchSensor):
        def read(self) -> Reading | None:
            if bench.now % 1.0 < 0.8:
                raise DropOut("bus")
            return super().read()

    with pytest.raises(PowerError, match=r"only 0 of 8 pairs of windows have enough readings \(\d+ came, \d+ failed\)"):
        measure(Failing(bench), bench, bench.idle, subject="x")


def test_batches_longer_than_the_sensors_period_are_refused() -> None:
    with pytest.raises(PowerError, match="run fewer images at a time"):
        run(replace(CALM, batch=2.0))


def test_where_rounding_hides_the_scatter_a_step_is_added_to_either_side() -> None:
    coarse = World(idle=3.204, added=0.35, drift=0.0, wander=0.0, noise=0.0002, lost=0.0)
    report = run(coarse)
    energy = report.joules_per_image
    assert energy.low is not None
    assert energy.high is not None
    assert energy.high - energy.low >= 2 * 0.01 / 20_000 * 0.99
    assert energy.low <= 0.35 / 20_000 <= energy.high
    assert any("scatter less than their step" in note for note in report.notes)


def test_what_the_sensor_cannot_tell_from_idle_is_said() -> None:
    report = run(replace(CALM, added=0.0002))
    assert any("does not tell running from idle" in note for note in report.notes)


def test_a_sensor_slower_than_it_is_read_gives_the_same_energy_and_is_noted() -> None:
    bench = Bench(replace(CALM, period=0.9), 1)
    sensor = BenchSensor(bench)
    sensor.update_seconds = 0.15  # as its driver claims
    report = measure(sensor, bench, bench.idle, subject="x", seconds=12.0, settle=2.0)
    assert report.joules_per_image.value == pytest.approx(0.35 / 20_000, rel=0.02)
    assert any("new value only each" in note for note in report.notes)


def test_replayed_files_are_marked_replayed(tmp_path: Path) -> None:
    bench = Bench(World(), 1)
    sensor = hwmon_sensor(bench, tmp_path)
    report = measure(sensor, bench, bench.idle, subject="x")
    assert report.obtained == report.joules_per_image.obtained == "replayed"


def test_a_hwmon_sensor_that_vanishes_ends_the_measurement(tmp_path: Path) -> None:
    bench = Bench(replace(CALM, lost=0.0), 1)
    (tmp_path / "hwmon0").mkdir()
    (tmp_path / "hwmon0" / "name").write_text("chip")
    power = tmp_path / "hwmon0" / "power1_input"
    power.write_text("1000000")
    sensor = HwmonSensor("chip", root=tmp_path, clock=bench.clock)

    def idle(seconds: float) -> None:
        bench.idle(seconds)
        power.unlink(missing_ok=True)

    with pytest.raises(PowerError, match="the sensor is gone"):
        measure(sensor, bench, idle, subject="x")


def test_a_meter_whose_clock_is_off_is_found_out_and_the_offset_named(tmp_path: Path) -> None:
    bench = Bench(World(), 3)
    bench.idle(20.0)
    log = csv_log(bench, tmp_path / "meter.csv", offset=3.0)
    with pytest.raises(PowerError, match=r"shifted by \+(2\.[5-9]|3|3\.[0-5]) s: correct its clock with offset="):
        measure(log, bench, bench.idle, subject="x")


def test_the_offset_named_counts_one_already_in_force(tmp_path: Path) -> None:
    bench = Bench(World(), 3)
    bench.idle(20.0)
    log = csv_log(bench, tmp_path / "meter.csv", offset=1_500_000_003.0)  # a meter that counts from when it was started
    log.offset = 1_500_000_000.0
    with pytest.raises(PowerError, match=r"offset=\d+\.\d{3} in place of 1500000000\.000") as raised:
        measure(log, bench, bench.idle, subject="x")
    named = re.search(r"offset=([\d.]+) ", str(raised.value))
    assert named is not None
    log.offset = float(named[1])
    assert log.offset == pytest.approx(1_500_000_003.0, abs=0.5)


def test_a_counter_that_wraps_while_measured_does_not_matter(tmp_path: Path) -> None:
    bench = Bench(replace(CALM, lost=0.0), 1)
    sensor = rapl_sensor(bench, tmp_path, wraps_at=50.0)  # every 15 s or so
    report = measure(sensor, bench, bench.idle, subject="x")
    assert report.joules_per_image.value == pytest.approx(0.35 / 20_000, rel=0.02)


class CountingFabric:
    simulated = False

    def __init__(self, package: Package, error: int = 0) -> None:
        self.package, self.error, self.seen = package, error, list[int]()
        self.dry: list[tuple[list[int], Records, float]] = []
        self.given: Records | None = None

    def set_thresholds(self, set_index: int, thresholds: list[int]) -> None:
        pass

    def run(self, images: Images, sets: np.ndarray) -> Records:
        assert set(sets.tolist()) == {2}
        self.seen += [int(image.flat[0]) for image in images]
        records = np.zeros(len(images), RECORD)
        records["error"] = self.error
        self.given = records
        return records

    def dry_run(self, images: Images, sets: np.ndarray, records: Records, seconds: float) -> Records:
        assert set(sets.tolist()) == {2}
        self.dry.append(([int(image.flat[0]) for image in images], records, seconds))
        return records

    def close(self) -> None:
        pass


IMAGES = np.arange(3, dtype=np.uint8).reshape(3, 1, 1, 1)


def test_the_fabric_runs_all_images_round_and_round(tmp_path: Path) -> None:
    fabric = CountingFabric(package(tmp_path / "kernel", None))
    loop = FabricLoop(fabric, IMAGES, 2, batch=4)
    assert [loop.run() for _ in range(3)] == [4, 4, 4]
    assert fabric.seen[:4] == [0, 1, 2, 0]
    assert set(fabric.seen) == {0, 1, 2}
    with pytest.raises(FabricError, match="error 6"):
        FabricLoop(CountingFabric(package(tmp_path / "other", None), error=6), IMAGES, 2).run()


def test_a_control_goes_on_with_the_images_and_takes_the_time_and_the_records_of_the_runs(tmp_path: Path) -> None:
    fabric = CountingFabric(package(tmp_path / "kernel", None))
    clock = iter([0.0, 1.0, 5.0, 8.0])
    loop = FabricLoop(fabric, IMAGES, 2, batch=4, clock=lambda: next(clock))
    with pytest.raises(FabricError, match="run the fabric first"):
        loop.control()
    assert [loop.run(), loop.run(), loop.control()] == [4, 4, 4]
    assert fabric.seen == [0, 1, 2, 0, 0, 1, 2, 0]
    (images, records, seconds) = fabric.dry[0]
    assert images == [0, 1, 2, 0]
    assert records is fabric.given
    assert seconds == 2.0


def test_nothing_to_run_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match="give at least one"):
        FabricLoop(CountingFabric(package(tmp_path / "kernel", None)), IMAGES[:0], 2)


def test_a_projection_is_called_one_and_names_its_sources() -> None:
    projection = project("pynq-z2", 1_500.0, 100.0, "simulated")
    assert projection.joules_per_image.obtained == "projected"
    assert projection.joules_per_image.low == pytest.approx(1.583118 * 15e-6)
    assert projection.joules_per_image.high == pytest.approx(1.756066 * 15e-6)
    assert len(projection.sources) == 4
    assert all("mlcommons/tiny_results_v0.7" in source for source in projection.sources)
    assert len(PUBLISHED) == 4


def test_a_projection_without_a_source_is_refused() -> None:
    with pytest.raises(PowerError, match="no published power is known for board kv260"):
        project("kv260", 1_500.0, 100.0, "simulated")
    with pytest.raises(PowerError, match="and its source"):
        project("kv260", 1_500.0, 100.0, "simulated", [PublishedPower("kv260", 5.0, "x", " ")])
    with pytest.raises(PowerError, match="more than 0"):
        project("pynq-z2", 0.0, 100.0, "simulated")
