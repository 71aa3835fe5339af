"""Energy of answers: what a sensor can tell of late, and when it tells nothing."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgesight.bench.power_replay import Bench, World, csv_log
from edgesight.host import edge
from edgesight.host.applications.run import Setup, run_edge
from edgesight.host.cascade import Cascade
from edgesight.host.obtained import Obtained
from edgesight.host.power.meter import EnergyMeter
from edgesight.host.power.readings import Clock, DropOut, PowerError, Reading
from tests.host.by_hand import FakeFabric, ask, calibration, package
from tests.host.power_benches import BenchSensor

WORLD = World(drift=0.0, wander=0.0, lost=0.0)


def drive(bench: Bench, meter: EnergyMeter, seconds: float, *, load: bool) -> None:
    """Answer batches, or none, for a while; the sensor is read when it has something new."""
    end, due = bench.now + seconds, bench.now
    while bench.now < end:
        if load:
            with meter.busy(1_000):
                bench.run()
        else:
            bench.idle(0.05)
        if bench.now >= due:
            meter.sample()
            due = bench.now + bench.world.period


def alternate(bench: Bench, meter: EnergyMeter, times: int = 6) -> None:
    for _ in range(times):
        drive(bench, meter, 4.0, load=True)
        drive(bench, meter, 4.0, load=False)


def test_energy_of_late_is_that_of_the_world() -> None:
    estimates = []
    for seed in range(5):
        bench = Bench(WORLD, seed)
        meter = EnergyMeter(BenchSensor(bench))
        alternate(bench, meter)
        energy = meter.energy()
        assert energy is not None
        assert energy.obtained == "measured"
        assert energy.joules == pytest.approx(bench.joules_per_image, rel=0.1)
        estimates.append(energy.joules)
    assert np.mean(estimates) == pytest.approx(0.35 / 20_000, rel=0.04)


def test_power_is_told_as_the_sensor_has_it_and_not_once_it_is_silent() -> None:
    bench = Bench(WORLD, 3)

    class Silent(BenchSensor):
        silent = False

        def read(self) -> Reading | None:
            if self.silent:
                raise DropOut("nothing comes")
            return super().read()

    sensor = Silent(bench)
    meter = EnergyMeter(sensor)
    (power,) = meter.measures()
    assert (power.name, power.labels, power.values) == ("power_watts", ("obtained",), {})
    drive(bench, meter, 4.0, load=False)
    ((key, watts),) = meter.measures()[0].values.items()
    assert key == ("measured",)
    assert isinstance(watts, float)
    assert watts > 0.0
    sensor.silent = True
    drive(bench, meter, 4.0, load=False)
    assert meter.measures()[0].values == {}


def test_nothing_is_told_before_there_is_enough_or_where_nothing_varies() -> None:
    bench = Bench(WORLD, 1)
    meter = EnergyMeter(BenchSensor(bench))
    assert meter.energy() is None
    drive(bench, meter, 60.0, load=False)
    assert meter.energy() is None  # never busy
    drive(bench, meter, 90.0, load=True)
    assert meter.energy() is None  # never at rest, within what is remembered


def test_nothing_is_told_where_the_load_drowns_in_noise() -> None:
    bench = Bench(replace(WORLD, added=0.002, noise=0.1), 1)
    meter = EnergyMeter(BenchSensor(bench))
    alternate(bench, meter)
    assert meter.energy() is None


def test_drop_outs_do_not_bias() -> None:
    bench = Bench(WORLD, 2)

    class Failing(BenchSensor):
        def read(self) -> Reading | None:
            if bench.fails():
                raise DropOut("bus")
            return super().read()

    bench.world = replace(WORLD, lost=0.3)
    meter = EnergyMeter(Failing(bench))
    alternate(bench, meter)
    energy = meter.energy()
    assert energy is not None
    assert energy.joules == pytest.approx(bench.joules_per_image, rel=0.1)


def test_runs_longer_than_the_sensors_period_count_while_they_last() -> None:
    bench = Bench(WORLD, 3)
    meter = EnergyMeter(BenchSensor(bench))
    for _ in range(12):
        with meter.busy(80_000):  # 4 s of work
            for _ in range(27):
                for _ in range(3):
                    bench.run()
                meter.sample()
        drive(bench, meter, 4.0, load=False)
    energy = meter.energy()
    assert energy is not None
    assert energy.joules == pytest.approx(bench.joules_per_image, rel=0.1)


def test_what_was_told_gets_old_where_the_sensor_says_nothing_more() -> None:
    bench = Bench(WORLD, 1)
    meter = EnergyMeter(BenchSensor(bench))
    alternate(bench, meter)
    assert meter.energy() is not None
    bench.idle(50.0)
    assert meter.energy() is not None
    bench.idle(20.0)
    assert meter.energy() is None


def test_a_log_cannot_meter_answers(tmp_path: Path) -> None:
    with pytest.raises(PowerError, match="a meter's log is not"):
        EnergyMeter(csv_log(Bench(WORLD, 1), tmp_path / "meter.csv"))


def test_answers_carry_what_the_meter_tells(tmp_path: Path) -> None:
    made = package(tmp_path / "kernel", calibration())
    bench = Bench(WORLD, 1)
    meter = EnergyMeter(BenchSensor(bench))
    cascade = Cascade(FakeFabric(made), calibration(), None, meter)
    assert ask(cascade, 0.8)[0].energy_joules is None
    alternate(bench, meter)
    told = meter.energy()
    assert told is not None
    answer = ask(cascade, 0.8)[0]
    assert (answer.energy_joules, answer.energy_obtained) == (told.joules, "measured")
    plain = ask(Cascade(FakeFabric(made), calibration(), None), 0.8)[0]
    assert (plain.energy_joules, plain.energy_obtained) == (None, None)


def test_a_simulated_fabric_has_no_measured_energy(tmp_path: Path) -> None:
    made = package(tmp_path / "kernel", calibration())
    with pytest.raises(PowerError, match="the fabric is simulated"):
        Cascade(FakeFabric(made, simulated=True), calibration(), None, EnergyMeter(BenchSensor(Bench(WORLD, 1))))


def test_an_edge_whose_energy_no_sensor_can_tell_does_not_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = package(tmp_path / "kernel", calibration())

    def start(power: str) -> None:
        run_edge([Setup(made.path, "any")], tmp_path / "socket", power=power)

    monkeypatch.setattr(edge, "open_fabric", lambda package, name: FakeFabric(made, simulated=True))
    with pytest.raises(PowerError, match="a meter's log is not"):
        start("csv:meter.csv")
    monkeypatch.setattr(edge, "open_sensor", lambda spec: BenchSensor(Bench(WORLD, 1)))
    with pytest.raises(PowerError, match="the fabric is simulated"):
        start("auto")
    assert not (tmp_path / "socket").exists()


class Announcing:
    """Tells when it was read, then vanishes."""

    name = "made up"
    obtained: Obtained = "measured"
    update_seconds = 0.001

    def __init__(self) -> None:
        self.read_often = threading.Event()
        self.reads = 0
        self.clock: Clock = time.monotonic

    def read(self) -> Reading | None:
        self.reads += 1
        if self.reads == 5:
            self.read_often.set()
            raise PowerError("the sensor is gone")
        return Reading(self.clock(), 1.0, 0.001)


def test_a_thread_that_dies_of_anything_takes_its_energy_with_it(caplog: pytest.LogCaptureFixture) -> None:
    bench = Bench(WORLD, 1)

    class Breaking(BenchSensor):
        broken = threading.Event()

        def read(self) -> Reading | None:
            if self.broken.is_set():
                raise ZeroDivisionError("a driver's mistake")
            return super().read()

    sensor = Breaking(bench)
    meter = EnergyMeter(sensor)
    alternate(bench, meter)
    assert meter.energy() is not None
    sensor.broken.set()
    sensor.update_seconds = 0.001
    meter.start()
    assert meter._thread is not None
    meter._thread.join(10.0)
    assert meter.energy() is None
    assert "a driver's mistake" in caplog.text


def test_the_sensor_is_read_in_the_background_until_it_vanishes(caplog: pytest.LogCaptureFixture) -> None:
    sensor = Announcing()
    meter = EnergyMeter(sensor)
    meter.start()
    assert sensor.read_often.wait(10.0)
    meter.close()
    meter.close()
    assert sensor.reads == 5
    assert "energy is not metered any more: the sensor is gone" in caplog.text
