"""Sensors: found by name, in the right unit, each trap met with a message; against trees laid out like the kernel's."""

from __future__ import annotations

import errno
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from edgesight.host.power import log as log_module
from edgesight.host.power import sensors
from edgesight.host.power.log import CsvLog
from edgesight.host.power.readings import DropOut, PowerError
from edgesight.host.power.sensors import HwmonSensor, NvmlSensor, RailSensor, RaplSensor, open_sensor

NOON = 1_760_000_000.0


def tree(root: Path, **chips: dict[str, str]) -> Path:
    """Folders hwmon0, hwmon1, ... with a name file and others."""
    for number, (name, files) in enumerate(chips.items()):
        folder = root / f"hwmon{number}"
        folder.mkdir()
        (folder / "name").write_text(files.pop("name", f"{name}\n"))
        for file, content in files.items():
            (folder / file).write_text(content)
    return root


def ticking(times: list[float]) -> Callable[[], float]:
    ticks: Iterator[float] = iter(times)
    return lambda: next(ticks)


def test_a_chip_is_found_by_its_name_among_others(tmp_path: Path) -> None:
    tree(tmp_path, soc={"temp1_input": "41000\n"}, ina260_u14={"power1_input": "3540000\n"}, pwmfan={"pwm1": "80\n"})
    sensor = HwmonSensor("ina260_u14", root=tmp_path, clock=lambda: 5.0)
    reading = sensor.read()
    assert reading.watts == pytest.approx(3.54)
    assert (reading.time, sensor.name, sensor.obtained) == (5.0, "hwmon ina260_u14", "measured")


@pytest.mark.parametrize("written", ["ina260_u14-i2c-1-40\n", "ina260_u14\0", "ina260_u14"])
@pytest.mark.parametrize("asked", ["ina260_u14", "ina260_u14-i2c-1-40"])
def test_a_bus_behind_the_name_does_not_matter(tmp_path: Path, written: str, asked: str) -> None:
    tree(tmp_path, ina260_u14={"name": written, "power1_input": "1000000\n"})
    assert HwmonSensor(asked, root=tmp_path).read().watts == 1.0


def test_chips_of_the_same_name_are_told_apart_by_folder(tmp_path: Path) -> None:
    tree(tmp_path, a={"name": "ina226\n", "power1_input": "1000000"}, b={"name": "ina226\n", "power1_input": "2000000"})
    with pytest.raises(PowerError, match=r"several sensors are called ina226 \(hwmon0, hwmon1\)"):
        HwmonSensor("ina226", root=tmp_path)
    assert HwmonSensor("hwmon1", root=tmp_path).read().watts == 2.0


def test_an_unknown_chip_is_refused_with_those_there_are(tmp_path: Path) -> None:
    tree(tmp_path, soc_thermal={"temp1_input": "41000\n"})
    with pytest.raises(PowerError, match=r"no sensor is called ina260_u14; there is soc_thermal \(hwmon0\)"):
        HwmonSensor("ina260_u14", root=tmp_path)
    with pytest.raises(PowerError, match="there is no sensor at all"):
        HwmonSensor("ina260_u14", root=tmp_path / "absent")


def test_without_power_it_is_millivolts_times_milliamperes(tmp_path: Path) -> None:
    tree(tmp_path, ina219={"in1_input": "5000\n", "curr1_input": "640\n"})
    assert HwmonSensor("ina219", root=tmp_path).read().watts == pytest.approx(3.2)


def test_a_chip_without_power_names_what_it_has(tmp_path: Path) -> None:
    tree(tmp_path, lm75={"temp1_input": "41000\n"})
    with pytest.raises(PowerError, match=r"has neither power1_input nor .* name, temp1_input"):
        HwmonSensor("lm75", root=tmp_path)


def test_a_driver_that_counts_in_milliwatts_is_found_out(tmp_path: Path) -> None:
    tree(tmp_path, odd={"power1_input": "3200\n", "in1_input": "5000\n", "curr1_input": "640\n"})
    with pytest.raises(PowerError, match=r"says 0\.0032 W, but its in1_input times curr1_input are 3\.2 W"):
        HwmonSensor("odd", root=tmp_path)


def test_the_update_interval_is_the_drivers_where_it_tells(tmp_path: Path) -> None:
    tree(tmp_path, a={"power1_input": "1", "update_interval": "36\n"}, b={"power1_input": "1", "update_interval": "0"})
    assert HwmonSensor("a", root=tmp_path).update_seconds == pytest.approx(0.036)
    assert HwmonSensor("b", root=tmp_path).update_seconds == 0.15


@pytest.mark.parametrize("code", [errno.EAGAIN, errno.EIO, errno.ENODATA, errno.ETIMEDOUT])
def test_a_failing_bus_is_a_drop_out_and_passes(tmp_path: Path, code: int) -> None:
    tree(tmp_path, chip={"power1_input": "1500000\n"})
    failing = False

    def read(path: Path) -> bytes:
        if failing:
            raise OSError(code, "bus")
        return path.read_bytes()

    sensor = HwmonSensor("chip", root=tmp_path, read=read)
    failing = True
    with pytest.raises(DropOut):
        sensor.read()
    failing = False
    assert sensor.read().watts == 1.5


def test_an_empty_read_is_a_drop_out_and_a_vanished_chip_an_error(tmp_path: Path) -> None:
    tree(tmp_path, chip={"power1_input": "1500000\n"})
    sensor = HwmonSensor("chip", root=tmp_path)
    power = tmp_path / "hwmon0" / "power1_input"
    power.write_text("")
    with pytest.raises(DropOut, match="power1_input"):
        sensor.read()
    power.unlink()
    with pytest.raises(PowerError, match="the sensor is gone"):
        sensor.read()


def rapl(root: Path, energy: int, wraps_at: int = 262_143_328_850) -> Path:
    for name, folder in (("package-0", "intel-rapl:0"), ("core", "intel-rapl:0:0")):
        (root / folder).mkdir()
        (root / folder / "name").write_text(f"{name}\n")
        (root / folder / "max_energy_range_uj").write_text(f"{wraps_at}\n")
        (root / folder / "energy_uj").write_text(f"{energy}\n")
    return root / "intel-rapl:0" / "energy_uj"


def test_rapl_is_energy_over_time(tmp_path: Path) -> None:
    counter = rapl(tmp_path, 1_000_000)
    sensor = RaplSensor(root=tmp_path, clock=ticking([10.0, 12.0]))
    counter.write_text("31000000\n")
    reading = sensor.read()
    assert reading is not None
    assert (reading.time, reading.watts, reading.span) == (12.0, 15.0, 2.0)


def test_rapls_counter_wraps_around(tmp_path: Path) -> None:
    counter = rapl(tmp_path, 9_000_000, wraps_at=10_000_000)
    sensor = RaplSensor(root=tmp_path, clock=ticking([0.0, 1.0]))
    counter.write_text("4000000\n")
    reading = sensor.read()
    assert reading is not None
    assert reading.watts == 5.0


def test_a_counter_that_has_not_moved_is_no_reading(tmp_path: Path) -> None:
    counter = rapl(tmp_path, 9_000_000)
    sensor = RaplSensor(root=tmp_path, clock=ticking([0.0, 1.0, 2.0]))
    assert sensor.read() is None
    counter.write_text("13000000\n")
    reading = sensor.read()
    assert reading is not None
    assert (reading.watts, reading.span) == (2.0, 2.0)  # the still second is part of it


def test_rapl_says_who_may_read_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    counter = rapl(tmp_path, 1)
    readable = Path.read_bytes

    def refuse(path: Path) -> bytes:
        if path == counter:
            raise PermissionError(errno.EACCES, "Permission denied")
        return readable(path)

    monkeypatch.setattr(Path, "read_bytes", refuse)
    with pytest.raises(PowerError, match="only root may read it: run as root, or `chmod a\\+r"):
        RaplSensor(root=tmp_path)


def test_an_unknown_domain_is_refused_with_those_there_are(tmp_path: Path) -> None:
    rapl(tmp_path, 1)
    with pytest.raises(PowerError, match="no RAPL domain is called dram; there is package-0, core"):
        RaplSensor("dram", root=tmp_path)


def pynq(monkeypatch: pytest.MonkeyPatch, rails: dict[str, Any]) -> None:
    monkeypatch.setitem(sys.modules, "pynq", SimpleNamespace(get_rails=lambda: rails))


def rail(power: float | None = None, volts: float = 0.0, amperes: float = 0.0) -> Any:
    def value(what: float | None) -> Any:
        return None if what is None else SimpleNamespace(value=what)

    return SimpleNamespace(power=value(power), voltage=value(volts or None), current=value(amperes or None))


def test_pynqs_only_rail_is_taken_and_several_are_chosen_among(monkeypatch: pytest.MonkeyPatch) -> None:
    pynq(monkeypatch, {"12V": rail(power=8.5), "temperature": rail()})
    assert RailSensor().read().watts == 8.5
    pynq(monkeypatch, {"INT": rail(volts=0.85, amperes=2.0), "12V": rail(power=8.5)})
    assert RailSensor(["INT"]).read().watts == pytest.approx(1.7)
    assert RailSensor(["INT", "12V"]).read().watts == pytest.approx(10.2)
    with pytest.raises(PowerError, match="several rails: name those to add up"):
        RailSensor()
    with pytest.raises(PowerError, match="no rail '5V': it knows 12V, INT"):
        RailSensor(["5V"])


def test_a_z2_says_that_it_has_no_sensor_and_names_the_way_out(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BOARD", "Pynq-Z2")
    pynq(monkeypatch, {})
    for sensor in ("pynq", "auto"):
        monkeypatch.setattr(sensors.HwmonSensor.__init__, "__kwdefaults__", {**HWMON_DEFAULTS, "root": tmp_path})
        monkeypatch.setattr(sensors.RaplSensor.__init__, "__kwdefaults__", {**RAPL_DEFAULTS, "root": tmp_path})
        with pytest.raises(PowerError, match=r"Pynq-Z2 has none on board\).*give csv:FILE"):
            open_sensor(sensor)


HWMON_DEFAULTS = dict(HwmonSensor.__init__.__kwdefaults__ or {})
RAPL_DEFAULTS = dict(RaplSensor.__init__.__kwdefaults__ or {})


ZCU104_RAILS = ("INT", "1V8", "1V2", "MGTA", "3V3", "1V13", "5V0", "FMC", "MGTRA", "12V")


@pytest.mark.parametrize("spec", ["auto", "pynq"])
def test_of_a_zcu104s_rails_the_boards_total_is_taken(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.setenv("BOARD", "ZCU104")
    pynq(monkeypatch, {name: rail(power=float(at)) for at, name in enumerate(ZCU104_RAILS)})
    sensor = open_sensor(spec)
    assert sensor.name == "PYNQ rail 12V"
    assert isinstance(sensor, RailSensor)
    assert sensor.read().watts == ZCU104_RAILS.index("12V")
    assert RailSensor(["INT"]).name == "PYNQ rail INT"


@pytest.mark.parametrize("spec", ["auto", "pynq"])
def test_a_zcu104_whose_pynq_lacks_the_total_is_told_which_has_it(monkeypatch: pytest.MonkeyPatch, spec: str) -> None:
    monkeypatch.setenv("BOARD", "ZCU104")
    monkeypatch.setattr(sensors, "RaplSensor", lambda: RaplSensor(root=Path("/nowhere")))
    pynq(monkeypatch, {name: rail(power=1.0) for name in ZCU104_RAILS[:-1]})
    with pytest.raises(PowerError, match=r"does not know this board's total, rail 12V .*PYNQ 4\.0 does.*csv:FILE"):
        open_sensor(spec)


def test_without_pynq_its_rails_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynq", None)
    with pytest.raises(PowerError, match="this is no PYNQ image"):
        open_sensor("pynq")


class _NvmlError(Exception):
    value = 3


def nvml(monkeypatch: pytest.MonkeyPatch, energies: list[float] | None) -> None:
    def energy(handle: object) -> float:
        if energies is None:
            raise _NvmlError("Not Supported")
        return energies.pop(0)

    fake = SimpleNamespace(
        NVMLError=_NvmlError,
        NVML_ERROR_GPU_IS_LOST=15,
        nvmlInit=lambda: None,
        nvmlDeviceGetHandleByIndex=lambda index: index,
        nvmlDeviceGetName=lambda handle: b"Some GPU",
        nvmlDeviceGetTotalEnergyConsumption=energy,
        nvmlDeviceGetPowerUsage=lambda handle: 71_500,
    )
    monkeypatch.setitem(sys.modules, "pynvml", fake)


def test_a_gpus_energy_counter_is_preferred(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, [1_000.0, 141_000.0])
    sensor = NvmlSensor(clock=ticking([0.0, 2.0]))
    reading = sensor.read()
    assert reading is not None
    assert (reading.watts, reading.span, sensor.name) == (70.0, 2.0, "NVML 0 (Some GPU)")


def test_an_old_gpu_tells_its_power(monkeypatch: pytest.MonkeyPatch) -> None:
    nvml(monkeypatch, None)
    sensor = NvmlSensor(clock=lambda: 4.0)
    reading = sensor.read()
    assert reading is not None
    assert (reading.watts, sensor.update_seconds) == (71.5, 1.0)


def test_without_nvml_its_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pynvml", None)
    with pytest.raises(PowerError, match=r"pip install 'edgesight\[nvml\]'"):
        open_sensor("nvml:0")


def log(tmp_path: Path, text: str, **options: Any) -> CsvLog:
    path = tmp_path / "meter.csv"
    path.write_text(text)
    return CsvLog(path, clock=lambda: NOON, patience=0.0, **options)


@pytest.mark.parametrize(
    ("header", "row"),
    [
        ("time (s),power (W)", "3.2"),
        ("time (s),power (mW)", "3200"),
        ("timestamp,power_uW", "3200000"),
        ("Timestamp [s];Power [µW]", "3200000"),
        ("time_s\tvoltage_V\tcurrent_A", "5.0\t0.64"),
        ("time (s),Voltage(mV),Current(mA)", "5000,640"),
        ("time (s),note,current (A),voltage (V)", "on,0.64,5"),
    ],
)
def test_a_log_is_in_the_unit_that_its_header_names(tmp_path: Path, header: str, row: str) -> None:
    separator = max(";,\t", key=header.count)
    lines = [header, *(f"{NOON + second}{separator}{row}" for second in range(4))]
    readings = log(tmp_path, "\n".join(lines) + "\n").between(NOON, NOON + 2)
    assert [reading.watts for reading in readings] == pytest.approx([3.2] * 3)
    assert [(reading.time, reading.span) for reading in readings] == [(NOON + second, 1.0) for second in range(3)]


def test_a_logs_times_may_be_milliseconds_or_dates(tmp_path: Path) -> None:
    text = f"time (ms),power (W)\n{NOON * 1e3:.0f},1\n{NOON * 1e3 + 500:.0f},2\n"
    assert [reading.time for reading in log(tmp_path, text).between(NOON, NOON + 0.5)] == [NOON, NOON + 0.5]
    dates = "time,power (W)\n2026-03-01T12:00:00Z,1\n2026-03-01T13:00:00.500+01:00,2\n2026-03-01 12:00:01+00:00,3\n"
    begin = 1_772_366_400.0
    assert [reading.time - begin for reading in log(tmp_path, dates).between(begin, begin + 1)] == [0.0, 0.5, 1.0]


def test_a_log_without_dates_asks_for_the_offset(tmp_path: Path) -> None:
    text = "time (s),power (W)\n0.0,1\n0.5,2\n1.0,3\n"
    with pytest.raises(PowerError, match=r"line 2: its time is 0\.0, which is no date: give offset=SECONDS"):
        log(tmp_path, text).between(NOON, NOON + 1)
    assert len(log(tmp_path, text, offset=NOON).between(NOON, NOON + 1)) == 3


@pytest.mark.parametrize("fraction", ["5", "50", "500", "5000", "50000", "500000", "5000000", "500000000"])
@pytest.mark.parametrize("written", ["2026-03-01T12:00:00.{}Z", "2026-03-01 13:00:00,{}+01:00"])
def test_a_dates_fraction_has_any_number_of_digits(tmp_path: Path, fraction: str, written: str) -> None:
    dates = f"time;power (W)\n2026-03-01T12:00:00Z;1\n{written.format(fraction)};2\n"
    begin = 1_772_366_400.0
    assert [reading.time - begin for reading in log(tmp_path, dates).between(begin, begin + 0.5)] == [0.0, 0.5]


def test_python_3_10_reads_what_a_date_is_made_into() -> None:
    assert log_module._iso("2026-03-01T12:00:00,5Z") == "2026-03-01T12:00:00.500000+00:00"
    assert log_module._iso("2026-03-01T12:00:00.1234567") == "2026-03-01T12:00:00.123456"
    assert log_module._iso("2026-03-01") == "2026-03-01"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("time (s),power\n1,1\n", r"line 1: name a column with its unit.*found time \(s\), power"),
        ("seconds,power (W)\n1,1\n", "line 1: no column's name begins with time"),
        ("time (s),in (W),out (W)\n1,1,1\n", "line 1: two columns are in W"),
        (f"time (s),power (W)\n{NOON},1\n{NOON + 1},x\n", "line 3: 'x' is no number"),
        (f"time (s);power (W)\n{NOON};1,5\n", "line 2: '1,5' is no number"),
        (f"time (s),power (W)\n{NOON},1\n{NOON + 1}\n", "line 3: has 1 cells, too few"),
        (f"time (s),power (W)\n{NOON},nan\n", "line 2: 'nan' is no power"),
        (f"time (s),power (W)\n{NOON},1\n{NOON - 5},1\n", "line 3: its time lies before"),
        ("time (s),power (W)\nyesterday,1\n", "line 2: 'yesterday' is no time"),
        ("time (s),power (W)\nnan,1\n", "line 2: 'nan' is no time"),
        ("time (s),power (W)\ninf,1\n", "line 2: 'inf' is no time"),
        (f"timestamp,power (W)\n{NOON * 1e3:.0f},1\n", r"line 2: its time is 1760000000000, .* `time \(ms\)`"),
        (f"time (ms),power (W)\n{NOON * 1e6:.0f},1\n", "line 2: its time is 1760000000000000, which is no date: write"),
        ("time,power (W)\n0001-01-01,1\n", "line 2: "),
    ],
)
def test_a_faulty_log_is_refused_by_file_and_line(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(PowerError, match=rf"meter\.csv, {message}"):
        log(tmp_path, text).between(NOON, NOON + 1)


def test_a_log_that_does_not_cover_the_measurement_is_refused(tmp_path: Path) -> None:
    text = f"time (s),power (W)\n{NOON},1\n{NOON + 1},1\n"
    with pytest.raises(PowerError, match=r"begins at .* start the meter first"):
        log(tmp_path, text).between(NOON - 5, NOON + 1)
    with pytest.raises(PowerError, match=r"ends at .* let the meter write until the measurement is over"):
        log(tmp_path, text).between(NOON, NOON + 5)
    with pytest.raises(PowerError, match="is not there"):
        CsvLog(tmp_path / "none.csv", clock=lambda: NOON, patience=0.0).between(NOON, NOON + 1)


def test_a_log_that_is_still_written_is_waited_for(tmp_path: Path) -> None:
    path = tmp_path / "meter.csv"
    now = NOON

    def wait(seconds: float) -> None:
        nonlocal now
        now += seconds
        rows = "".join(f"{NOON + i},1\n" for i in range(int(now - NOON)))
        path.write_text(f"time (s),power (W)\n{rows}{NOON + 99}")  # the last line is not whole yet

    assert len(CsvLog(path, clock=lambda: now, sleep=wait).between(NOON, NOON + 3)) == 4
    assert now - NOON == 4.0


def test_a_line_written_twice_counts_once(tmp_path: Path) -> None:
    text = f"time (s),power (W)\n{NOON},1\n{NOON},1\n{NOON + 1},2\n"
    assert len(log(tmp_path, text).between(NOON, NOON + 1)) == 2


@pytest.mark.parametrize("spec", ["", "hwmon", "hwmon:", "csv:", "nvml:first", "meter", "auto:x"])
def test_a_sensor_that_is_not_understood_is_refused_with_what_there_is(spec: str) -> None:
    with pytest.raises(PowerError, match="give auto, hwmon:CHIP, pynq, pynq:RAIL, rapl:DOMAIN, nvml:INDEX or csv:FILE"):
        open_sensor(spec)


def test_a_log_is_opened_with_its_clocks_offset(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text(f"time (s),power (W)\n{time.time() - 120},1\n{time.time() - 50},2\n{time.time() - 30},3\n")
    opened = open_sensor(f"csv:{path},offset=60")
    assert isinstance(opened, CsvLog)
    assert len(opened.between(time.time() - 40, time.time() + 20)) == 1
    for offset in ("soon", "nan", "inf"):
        with pytest.raises(PowerError, match=f"the offset '{offset}' is no number"):
            open_sensor(f"csv:{path},offset={offset}")
