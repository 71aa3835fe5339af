"""Power sensors: what a board, a PC or a GPU says of its power, read while the program runs.

Each says how its numbers were obtained: measured, or replayed from files that were made up. An external meter writes a
log instead (`edgesight.host.power.log`); `open_sensor` opens either by name.
"""

from __future__ import annotations

import errno
import math
import os
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

from edgesight.host.obtained import Obtained
from edgesight.host.power.log import CsvLog
from edgesight.host.power.readings import Clock, DropOut, PowerError, PowerSensor, Reading

HWMON = Path("/sys/class/hwmon")
POWERCAP = Path("/sys/class/powercap")
KNOWN_HWMON = ("ina260_u14",)  # KV260: the whole module's supply
_METERLESS = ("Pynq-Z1", "Pynq-Z2")  # as PYNQ's image calls boards without any power sensor
# Rails that carry all that a board takes, by PYNQ's names. A ZCU104's others are of single supplies, in steps of 1/8 W.
_TOTAL_RAILS = {"ZCU104": "12V"}
_CSV_REMEDY = "log an external meter to a file and give csv:FILE"

_INA260_PERIOD = 0.15  # seconds; six or seven updates a second were seen on a KV260
_RAIL_PERIOD = 0.15  # seconds; the same family of sensors stands behind PYNQ's rails
_NVML_PERIOD = 0.1  # seconds
_RAPL_PERIOD = 0.05  # seconds; the counter moves every millisecond, so this is how often reading it is worth while
# What a driver answers when a bus transfer failed or no conversion is ready: the next one may well succeed.
_PASSING = {errno.EAGAIN, errno.EIO, errno.ENODATA, errno.ETIMEDOUT, errno.EREMOTEIO, errno.EBUSY, errno.EINTR}

Read = Callable[[Path], bytes]


class HwmonSensor:
    """A sensor of the kernel's hardware monitoring: /sys/class/hwmon.

    Units are those of the kernel's ABI (Documentation/hwmon/sysfs-interface): power1_input in microwatts, in1_input in
    millivolts, curr1_input in milliamperes. Without power1_input, power is voltage times current.
    """

    def __init__(
        self,
        chip: str,
        *,
        root: Path = HWMON,
        clock: Clock = time.monotonic,
        read: Read = Path.read_bytes,
        obtained: Obtained = "measured",
    ) -> None:
        """Find the chip called `chip`, or the folder of that name such as hwmon3; raises PowerError.

        `read` gets a file's content: a test can let it fail as a bus does.
        """
        self._read_file = read
        self.clock = clock
        self.obtained = obtained
        folder = _find_hwmon(chip, root)
        self.name = f"hwmon {chip}"
        self._power: Path | None = folder / "power1_input"
        self._volts, self._amperes = folder / "in1_input", folder / "curr1_input"
        has_product = self._volts.exists() and self._amperes.exists()
        if not self._power.exists():
            if not has_product:
                files = ", ".join(sorted(path.name for path in folder.iterdir()))
                raise PowerError(
                    f"{folder}: has neither power1_input nor in1_input and curr1_input (it has {files}): "
                    "name another sensor"
                )
            self._power = None
        self.update_seconds = self._period(folder)
        if self._power is not None and has_product:
            self._check_unit(self._power)

    def read(self) -> Reading:
        """Power now."""
        return Reading(self.clock(), self._watts(), self.update_seconds)

    def _watts(self) -> float:
        if self._power is not None:
            return self._number(self._power) * 1e-6
        return self._number(self._volts) * self._number(self._amperes) * 1e-6

    def _check_unit(self, power: Path) -> None:
        """Some drivers say milliwatts where the ABI says microwatts: compare with voltage times current."""
        try:
            said = self._number(power) * 1e-6
            product = self._number(self._volts) * self._number(self._amperes) * 1e-6
        except DropOut:
            return
        if product > 0.05 and not 0.1 < said / product < 10.0:
            raise PowerError(
                f"{power}: says {said:.6g} W, but its in1_input times curr1_input are {product:.6g} W: its driver does "
                "not count in microwatts; update it, or name another sensor"
            )

    def _period(self, folder: Path) -> float:
        """Seconds between updates: the driver's update_interval in milliseconds where it tells."""
        try:
            told = self._number(folder / "update_interval") * 1e-3
        except (PowerError, DropOut):
            return _INA260_PERIOD
        return told if told > 0.0 else _INA260_PERIOD

    def _number(self, path: Path) -> float:
        try:
            text = self._read_file(path)
        except OSError as error:
            raise _failure(path, error) from error
        try:
            return float(text)
        except ValueError:
            raise DropOut(f"{path}: reads {text[:40]!r}") from None


class RailSensor:
    """Rails that PYNQ knows: the sum of the ones chosen."""

    def __init__(self, rails: Sequence[str] = (), *, clock: Clock = time.monotonic) -> None:
        """Take the named rails, or the one that is known to carry all, or the only one; raises PowerError."""
        try:
            found: dict[str, Any] = import_module("pynq").get_rails()
        except ImportError as error:
            raise PowerError(f"PYNQ's rails need pynq ({error}): this is no PYNQ image; name another sensor") from error
        except Exception as error:
            # Whatever libsensors or XRT meets surfaces here, as any exception.
            raise PowerError(f"PYNQ cannot list its rails ({error!r}): name another sensor") from error
        self._rails = {name: rail for name, rail in found.items() if rail.power or (rail.voltage and rail.current)}
        if not self._rails:
            raise PowerError(f"PYNQ knows no rail with power here{_on_this_board()}: {_CSV_REMEDY}")
        total = _TOTAL_RAILS.get(os.environ.get("BOARD", ""))
        if total in self._rails and not rails:
            rails = (total,)
        chosen = list(rails) or list(self._rails)
        missing = [name for name in chosen if name not in self._rails]
        if missing:
            raise PowerError(
                f"PYNQ knows no rail {missing[0]!r}: it knows {', '.join(sorted(self._rails))}; choose one of these"
            )
        if len(chosen) > 1 and not rails:
            if total is not None:
                raise PowerError(
                    f"PYNQ does not know this board's total, rail {total} (it knows {', '.join(sorted(self._rails))}), "
                    f"which PYNQ 4.0 does: use that, or {_CSV_REMEDY}"
                )
            # Rails may contain each other, so their sum may count some power twice.
            raise PowerError(f"PYNQ knows several rails: name those to add up, such as pynq:{'+'.join(chosen[:2])}")
        self._chosen = chosen
        self.name = f"PYNQ rail {'+'.join(chosen)}"
        self.obtained: Obtained = "measured"
        self.update_seconds = _RAIL_PERIOD
        self.clock = clock

    def read(self) -> Reading:
        """Power now, summed."""
        try:
            watts = sum(self._watts(self._rails[name]) for name in self._chosen)
        except OSError as error:
            raise _failure(Path(self.name), error) from error
        return Reading(self.clock(), watts, self.update_seconds)

    @staticmethod
    def _watts(rail: Any) -> float:
        return float(rail.power.value if rail.power else rail.voltage.value * rail.current.value)


class _Counter:
    """Turns an energy counter into mean powers between its steps."""

    def __init__(self, clock: Clock, joules: Callable[[], float], wraps_at: float | None = None) -> None:
        self._clock, self._joules, self._wraps_at = clock, joules, wraps_at
        self._last: tuple[float, float] | None = None

    def read(self) -> Reading | None:
        before = self._last
        joules, now = self._joules(), self._clock()
        if before is None:
            self._last = (now, joules)
            return None
        spent = joules - before[1]
        if spent < 0.0:
            if self._wraps_at is None:
                self._last = (now, joules)
                raise DropOut("the energy counter was set back")
            spent += self._wraps_at
        if spent == 0.0 or now <= before[0]:
            return None
        self._last = (now, joules)
        span = now - before[0]
        return Reading(now, spent / span, span)


class RaplSensor:
    """Running average power limit: the energy counter of an x86 processor's domain, /sys/class/powercap."""

    def __init__(
        self,
        domain: str = "package-0",
        *,
        root: Path = POWERCAP,
        clock: Clock = time.monotonic,
        obtained: Obtained = "measured",
    ) -> None:
        """Find the domain by its name, such as package-0, core or psys; raises PowerError."""
        folder = _find_rapl(domain, root)
        self._file = folder / "energy_uj"
        try:
            range_uj = float((folder / "max_energy_range_uj").read_bytes())
        except (OSError, ValueError) as error:
            raise PowerError(
                f"{folder / 'max_energy_range_uj'}: cannot be read ({error}): name another sensor"
            ) from error
        self._counter = _Counter(clock, self._joules, range_uj * 1e-6)
        self._joules_checked()
        self.name = f"RAPL {domain}"
        self.obtained = obtained
        self.update_seconds = _RAPL_PERIOD
        self.clock = clock

    def read(self) -> Reading | None:
        """Mean power since the last reading."""
        return self._counter.read()

    def _joules_checked(self) -> None:
        try:
            self._counter.read()
        except DropOut as error:
            raise PowerError(f"{self._file}: gives no energy ({error}): name another sensor") from error

    def _joules(self) -> float:
        try:
            return float(self._file.read_bytes()) * 1e-6
        except OSError as error:
            raise _failure(self._file, error) from error
        except ValueError as error:
            raise DropOut(f"{self._file}: {error}") from None


class NvmlSensor:
    """An NVIDIA GPU: its energy counter where it has one, else its power, which is a mean over up to a second."""

    def __init__(self, index: int = 0, *, clock: Clock = time.monotonic) -> None:
        """Open GPU `index`; raises PowerError."""
        try:
            pynvml: Any = import_module("pynvml")
        except ImportError as error:
            raise PowerError("a GPU's power needs nvidia-ml-py: pip install 'edgesight[nvml]'") from error
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            self._handle = pynvml.nvmlDeviceGetHandleByIndex(index)
            name = pynvml.nvmlDeviceGetName(self._handle)
        except pynvml.NVMLError as error:
            raise PowerError(f"GPU {index} cannot be opened ({error}): check `nvidia-smi`") from error
        self._counter: _Counter | None = _Counter(clock, self._joules)
        self.update_seconds = _NVML_PERIOD
        try:
            self._counter.read()
        except (DropOut, PowerError):
            self._counter = None
            self.update_seconds = 1.0
        self.name = f"NVML {index} ({name.decode() if isinstance(name, bytes) else name})"
        self.obtained: Obtained = "measured"
        self.clock = clock

    def read(self) -> Reading | None:
        """Mean power since the last reading, or power now."""
        if self._counter is not None:
            return self._counter.read()
        return Reading(self.clock(), self._ask("nvmlDeviceGetPowerUsage") * 1e-3, self.update_seconds)

    def _joules(self) -> float:
        return self._ask("nvmlDeviceGetTotalEnergyConsumption") * 1e-3

    def _ask(self, function: str) -> float:
        try:
            return float(getattr(self._nvml, function)(self._handle))
        except self._nvml.NVMLError as error:
            if error.value == self._nvml.NVML_ERROR_GPU_IS_LOST:
                raise PowerError(
                    f"{self.name}: the GPU is lost ({error}): restart the machine, or name another sensor"
                ) from error
            raise DropOut(str(error)) from error


def open_sensor(spec: str) -> PowerSensor | CsvLog:
    """Open what `spec` names; raises PowerError.

    `hwmon:CHIP` (or its folder's name), `pynq` or `pynq:RAIL+RAIL`, `rapl:DOMAIN`, `nvml:INDEX`,
    `csv:FILE` or `csv:FILE,offset=SECONDS`, and `auto`: the board's own sensor, else PYNQ's rails, else the
    processor's.
    """
    kind, _, rest = spec.partition(":")
    if kind == "auto" and not rest:
        return _first_there_is()
    if kind == "hwmon" and rest:
        return HwmonSensor(rest)
    if kind == "pynq":
        return RailSensor(rest.split("+") if rest else ())
    if kind == "rapl":
        return RaplSensor(rest or "package-0")
    if kind == "nvml" and (not rest or rest.isdigit()):
        return NvmlSensor(int(rest or "0"))
    if kind == "csv" and rest:
        path, _, offset = rest.partition(",offset=")
        try:
            seconds = float(offset or "0")
        except ValueError:
            seconds = math.nan
        if not math.isfinite(seconds):
            raise PowerError(
                f"{spec}: the offset {offset!r} is no number of seconds: give a number, such as offset=0.5"
            )
        return CsvLog(Path(path), offset=seconds)
    raise PowerError(
        f"no sensor is called {spec!r}: give auto, hwmon:CHIP, pynq, pynq:RAIL, rapl:DOMAIN, nvml:INDEX or csv:FILE"
    )


def _first_there_is() -> PowerSensor:
    """The sensor that is most likely to be meant; never a GPU's, which knows nothing of the fabric."""
    makers: list[Callable[[], PowerSensor]] = [
        *(lambda chip=chip: HwmonSensor(chip) for chip in KNOWN_HWMON),
        RailSensor,
        RaplSensor,
    ]
    tried = []
    for maker in makers:
        try:
            return maker()
        except PowerError as error:
            tried.append(str(error))
    raise PowerError(f"no power sensor was found{_on_this_board()}; {_CSV_REMEDY}. Tried: {'; '.join(tried)}")


def _on_this_board() -> str:
    board = os.environ.get("BOARD", "")
    return f" ({board} has none on board)" if board in _METERLESS else ""


def _find_hwmon(chip: str, root: Path) -> Path:
    found: dict[Path, str] = {}
    for folder in sorted(root.glob("hwmon*")):
        try:
            # libsensors writes the bus behind the name, as in ina260_u14-i2c-1-40; the kernel's file may, too.
            found[folder] = (folder / "name").read_text(errors="replace").strip("\0 \n").partition("-i2c-")[0]
        except OSError:
            continue  # a device that is just going away
    wanted = chip.partition("-i2c-")[0]
    matches = [folder for folder, name in found.items() if wanted in (name, folder.name)]
    if len(matches) == 1:
        return matches[0]
    if matches:
        folders = ", ".join(folder.name for folder in matches)
        raise PowerError(f"{root}: several sensors are called {chip} ({folders}): name one of these folders instead")
    there = ", ".join(f"{name} ({folder.name})" for folder, name in found.items()) or "no sensor at all"
    raise PowerError(f"{root}: no sensor is called {chip}; there is {there}; give another sensor")


def _find_rapl(domain: str, root: Path) -> Path:
    found: dict[str, Path] = {}
    for folder in sorted(root.glob("intel-rapl:*")):
        try:
            found.setdefault((folder / "name").read_text().strip(), folder)
        except OSError:
            continue
    if domain in found:
        return found[domain]
    raise PowerError(
        f"{root}: no RAPL domain is called {domain}; there is {', '.join(found) or 'none at all'}"
        "; name one that is there"
    )


def _failure(path: Path, error: OSError) -> Exception:
    if error.errno in _PASSING:
        return DropOut(f"{path}: {error.strerror}")
    if error.errno in (errno.EACCES, errno.EPERM):
        return PowerError(f"{path}: only root may read it: run as root, or `chmod a+r {path}`")
    return PowerError(
        f"{path}: cannot be read any more ({error.strerror}): the sensor is gone; plug it in again, or name another"
    )
