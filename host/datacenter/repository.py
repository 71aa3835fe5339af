"""A folder of models, laid out as Triton's model repository: `NAME/config.pbtxt`, `NAME/<version>/model.onnx`, labels.

`config.pbtxt` is optional: what it does not say, the model's file says. Of it are read name, backend or platform,
max_batch_size, input and output (with `label_filename`), version_policy, parameters, default priority and the level of
graph optimisation; of the rest what would change answers is refused by name, and what would not is said in the log.

Words owned here: repository, entry, version.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgesight.host.datacenter.executors.base import DTYPES, GRAPH_LEVEL, ModelError, Recipe
from edgesight.host.datacenter.unread import unread
from edgesight.host.doors.served import TensorForm
from edgesight.host.files import read_regular
from edgesight.host.kernel import BackEndInput

CONFIG, FORM = "config.pbtxt", "form.json"
# By the file in a version's folder: what runs it.
FILES = {"model.onnx": "onnxruntime", "model.pt2": "pytorch", "model.pt": "pytorch"}
_BACKENDS = {
    "onnxruntime": "onnxruntime",
    "onnxruntime_onnx": "onnxruntime",
    "pytorch": "pytorch",
    "pytorch_libtorch": "pytorch",
    "triton": "triton",
}
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_NUMBER = re.compile(r"0|[1-9][0-9]{0,17}")  # as the policy `specific` can name them; Triton leaves 01 out, too
_CONFIG_BYTES, _LABELS_BYTES = 1 << 20, 16 << 20
_OPTIONS = {"INTRA_OP_THREAD_COUNT": "threads", "intra_op_thread_count": "threads"}  # as Triton calls ours
_PARAMETERS = ("threads", "device", "compile", "pictures", "url", "model", "version", "timeout")  # that are read
_MOST_ROWS = 1 << 16  # of a batch

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Settings:
    """What a model's config.pbtxt says.

    Attributes:
        backend: what runs it; empty: its file says.
        max_batch_size: None: its file says.
        inputs, outputs: with the batch's dimension; empty: its file says.
        versions: those of the policy `specific`; None: the `latest` so many.
        latest: how many of the newest are served; 0: all.
        options: of the executor.
        labels: the file of them, of the first output that names one.
        labelled: the output that the labels are of.
        level: the priority of requests that name none; 0: after all that do.
        platform: as it is told to clients; empty: by what runs it.
        file: in a version's folder; empty: the first of `FILES` that is there.
    """

    backend: str = ""
    max_batch_size: int | None = None
    inputs: Sequence[TensorForm] = ()
    outputs: Sequence[TensorForm] = ()
    versions: Sequence[int] | None = None
    latest: int = 1
    options: Mapping[str, str] = field(default_factory=dict)
    labels: str = ""
    labelled: str = ""
    level: int = 0
    platform: str = ""
    file: str = ""


@dataclass(frozen=True)
class Version:
    """A version that can be loaded: its recipe, its file (None: it needs none), and which file exactly that is.

    `form` is a package's form of pictures, where the model's folder has one (`form.json`, the package's
    `backend_input`).
    """

    name: str
    number: str
    recipe: Recipe
    settings: Settings
    labels: Sequence[str]
    form: BackEndInput | None
    path: Path | None
    identity: tuple[int, ...] = ()  # of the file

    @property
    def title(self) -> str:
        """The model's name in messages, with its number where that tells something."""
        return self.name if self.number == "1" else f"{self.name} (version {self.number})"

    @property
    def bytes(self) -> int:
        """Of its file."""
        return self.identity[2] if self.identity else 0


@dataclass(frozen=True)
class BackEnd:
    """A kernel package's back end, which is a model of the kernel's name beside those of the repository.

    Attributes:
        name: the kernel's.
        path: of its .onnx file.
        form: the package's `backend_input`; None: the model says it all itself.
        labels: of the classes.
        expected_sha256: that the calibration was made with; None: any.
        threads: that one run takes.
    """

    name: str
    path: Path
    form: BackEndInput | None = None
    labels: Sequence[str] = ()
    expected_sha256: str | None = None
    threads: int = 1

    def version(self) -> Version:
        """As a version of a model; raises ModelError where its file is not there."""
        recipe = Recipe("onnxruntime", self.name, options={"threads": str(self.threads)})
        try:
            found = identity(self.path)
        except OSError as error:
            raise ModelError(f"{self.path} cannot be read ({error.strerror}): give a whole .onnx file") from error
        labels = self.labels
        if self.form is not None and self.form.outputs is not None:  # a label goes by the model's own output
            named = dict(zip(self.form.outputs, self.labels, strict=True))
            labels = [named.get(output, "") for output in range(max(named) + 1)]
        return Version(self.name, "1", recipe, Settings(), labels, self.form, self.path, found)


class Repository:
    """The folder, and a package's back end. All is read when it is asked for, so that it may change at any time."""

    def __init__(self, folder: Path | None, back_end: BackEnd | None = None) -> None:
        """Raises ModelError where `folder` is none, or holds a model of the back end's name. None: there is no such."""
        if folder is not None and not folder.is_dir():
            raise ModelError(f"{folder} is no folder: give the one that the models' folders are in")
        self.folder, self._back_end = folder, back_end
        if back_end is not None and back_end.name in self._folders():
            raise ModelError(
                f"{folder} holds a model {back_end.name}, which the kernel is called, too: name the folder otherwise"
            )

    def names(self) -> list[str]:
        """Models that are there, in order."""
        own = [] if self._back_end is None else [self._back_end.name]
        return sorted({*own, *self._folders()})

    def _folders(self) -> list[str]:
        """Names of the models in the folder."""
        if self.folder is None:
            return []
        return [path.name for path in self.folder.iterdir() if _NAME.fullmatch(path.name) and path.is_dir()]

    def versions(self, name: str, settings: Settings | None = None) -> list[Version]:
        """Those of a model that its policy serves, oldest first; raises ModelError where there are none to be served.

        `settings` replaces those of its config.pbtxt.
        """
        if self._back_end is not None and name == self._back_end.name:
            if settings is not None:
                raise ModelError(f"model {name} is a kernel package's, which says how it is asked: leave `config` out")
            return [self._back_end.version()]
        if self.folder is None or not _NAME.fullmatch(name) or not (self.folder / name).is_dir():
            raise ModelError(f"model {name!r} is not in the repository: put it there, or ask for another")
        folder = self.folder / name
        found = settings if settings is not None else _settings(folder)
        numbers = sorted(int(path.name) for path in folder.iterdir() if _NUMBER.fullmatch(path.name) and path.is_dir())
        if not numbers:
            raise ModelError(f"model {name} has no version: put its file into {name}/1/")
        if found.versions is not None:
            absent = [number for number in found.versions if number not in numbers]
            if absent:
                raise ModelError(f"model {name} has no version {absent[0]}, which its version_policy names: mend it")
            numbers = list(found.versions)
        elif found.latest:
            numbers = numbers[-found.latest :]
        labels, form = _labels(folder, found), _form_in(folder)
        return [_version(folder, number, found, labels, form) for number in numbers]


def _settings(folder: Path) -> Settings:
    """What the config.pbtxt in a model's `folder` says; raises ModelError for one that cannot be read or served."""
    path = folder / CONFIG
    try:
        text = read_regular(path, _CONFIG_BYTES).decode()
    except FileNotFoundError:
        return Settings()
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{path} cannot be read ({error}): mend it") from error
    return parse(folder.name, text)


def _version(model: Path, number: int, settings: Settings, labels: Sequence[str], form: BackEndInput | None) -> Version:
    name, folder = model.name, model / str(number)
    files = (settings.file,) if settings.file else tuple(FILES)
    path = next((folder / file for file in files if (folder / file).exists()), None)
    if path is not None and not path.is_file():
        raise ModelError(f"{path} is no file: put the model's file there")
    kind = settings.backend or (FILES[path.name] if path is not None else "")
    if kind != "triton" and (path is None or FILES[path.name] != kind):
        raise ModelError(
            f"model {name}, version {number}: {folder} holds no {' or '.join(_files_of(kind))}: put it there"
        )
    if GRAPH_LEVEL in settings.options and kind != "onnxruntime":
        raise ModelError(f"model {name}: optimization.graph.level is ONNX Runtime's, and {kind} has none: leave it out")
    recipe = Recipe(
        kind,
        name,
        settings.inputs,
        settings.outputs,
        settings.max_batch_size,
        settings.options,
        _form_for_worker(name, kind, settings, form),
    )
    if path is None or kind == "triton":
        return Version(name, str(number), recipe, settings, labels, form, None)
    try:
        return Version(name, str(number), recipe, settings, labels, form, path, identity(path))
    except OSError as error:
        raise ModelError(f"{path} cannot be read ({error.strerror}): put the model's file there") from error


def _form_for_worker(name: str, kind: str, settings: Settings, form: BackEndInput | None) -> str:
    """The form as JSON where the model's worker is to take encoded pictures itself; else empty."""
    where = settings.options.get("pictures", "")
    if not where:
        return ""
    if where != "device":
        raise ModelError(f"model {name}: `pictures` is {where!r}: state device, or leave it out")
    if kind != "pytorch":
        raise ModelError(
            f"model {name}: `pictures` is device, which {kind} does not do: give model.pt2, or leave it out"
        )
    if form is None:
        raise ModelError(f"model {name}: `pictures` is device, and there is no {FORM}: put it into the model's folder")
    return form.model_dump_json()


def _form_in(folder: Path) -> BackEndInput | None:
    """Of pictures."""
    try:
        return BackEndInput.model_validate_json(read_regular(folder / FORM, _CONFIG_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise ModelError(f"{folder / FORM} is no package's `backend_input` ({error}): mend it") from error


def _labels(folder: Path, settings: Settings) -> list[str]:
    """Of the classes, a line each."""
    name = settings.labels or "labels.txt"
    if Path(name).name != name:
        raise ModelError(f"label_filename is {name!r}: name a file in the model's own folder")
    try:
        return read_regular(folder / name, _LABELS_BYTES).decode().splitlines()
    except FileNotFoundError:
        if settings.labels:
            raise ModelError(f"{folder / name} is not there, which label_filename names: put it there") from None
        return []
    except (OSError, UnicodeDecodeError) as error:
        raise ModelError(f"{folder / name} cannot be read ({error}): mend it") from error


def identity(path: Path) -> tuple[int, ...]:
    """What tells whether a file is another than before, or is written to."""
    found = os.stat(path)
    return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns


def parse(name: str, text: str) -> Settings:
    """Of a config.pbtxt; raises ModelError."""
    try:
        from google.protobuf import text_format
        from tritonclient.grpc import model_config_pb2
    except ImportError as error:
        raise ModelError(
            f"model {name} has a {CONFIG}, and tritonclient is not installed: `pip install 'tritonclient[grpc]'`"
        ) from error
    message = model_config_pb2.ModelConfig()
    try:
        text_format.Parse(text, message)
    except text_format.ParseError as error:
        raise ModelError(f"model {name}: {CONFIG} cannot be read ({error}): mend it") from error
    return settings_of(name, message)


def settings_from_json(name: str, text: str) -> Settings:
    """Of a configuration as JSON, as Triton's load takes it; raises ModelError."""
    try:
        from google.protobuf import json_format
        from tritonclient.grpc import model_config_pb2
    except ImportError as error:
        raise ModelError("tritonclient is not installed: `pip install 'tritonclient[grpc]'`") from error
    message = model_config_pb2.ModelConfig()
    try:
        json_format.Parse(text, message)
    except (json_format.ParseError, RecursionError) as error:
        raise ModelError(f"model {name}: its configuration cannot be read ({error}): mend it") from error
    return settings_of(name, message)


def settings_of(name: str, message: Any) -> Settings:
    """Of a `ModelConfig` message; raises ModelError for what is not supported."""
    if message.name not in ("", name):
        raise ModelError(f"model {name}: {CONFIG} calls it {message.name!r}: name its folder so, or mend it")
    refused, said = unread(message)
    if refused:
        raise ModelError(f"model {name}: {CONFIG} has {refused[0]}, which is not supported: leave it out")
    told = message.backend or message.platform
    if told and told not in _BACKENDS:
        raise ModelError(f"model {name}: its backend is {told!r}: state one of {', '.join(_BACKENDS)}")
    if message.default_model_filename not in ("", *FILES):
        raise ModelError(
            f"model {name}: default_model_filename is {message.default_model_filename!r}: call the file "
            f"{' or '.join(FILES)}, and say so"
        )
    if not 0 <= message.max_batch_size <= _MOST_ROWS:
        raise ModelError(f"model {name}: max_batch_size is {message.max_batch_size}: state 0 to {_MOST_ROWS}")
    batch = message.max_batch_size if message.max_batch_size or message.input else None
    lead = (-1,) if batch else ()
    labelled, *more = [port for port in message.output if port.label_filename] or [None]
    if more:
        raise ModelError(f"model {name}: {len(more) + 1} outputs have a label_filename: leave it to one of them")
    policy = message.version_policy
    specific, latest = None, 1
    if policy.HasField("specific"):
        specific = tuple(sorted(set(policy.specific.versions)))
        if not specific:
            raise ModelError(f"model {name}: its version_policy is `specific`, and names no version: name some")
    elif policy.HasField("all"):
        latest = 0
    elif policy.HasField("latest"):
        latest = max(policy.latest.num_versions, 1)
    options = {_OPTIONS.get(key, key): value.string_value for key, value in message.parameters.items()}
    said += [f"the parameter {key}" for key in options if key not in _PARAMETERS]
    if said:
        logger.warning("model %s: %s has %s: not read, and left as they are", name, CONFIG, ", ".join(said))
    if any(group.kind == group.KIND_GPU for group in message.instance_group):
        options.setdefault("device", "cuda")
    options.pop(GRAPH_LEVEL, None)
    if message.optimization.graph.level:
        options[GRAPH_LEVEL] = str(message.optimization.graph.level)
    return Settings(
        _BACKENDS.get(told, ""),
        batch,
        tuple(_form(name, port, lead) for port in message.input),
        tuple(_form(name, port, lead) for port in message.output),
        specific,
        latest,
        options,
        labelled.label_filename if labelled is not None else "",
        labelled.name if labelled is not None else "",
        message.dynamic_batching.default_priority_level,
        message.platform,
        message.default_model_filename,
    )


def _form(name: str, port: Any, lead: tuple[int, ...]) -> TensorForm:
    word = port.DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number[port.data_type].name
    datatype = word.removeprefix("TYPE_").replace("STRING", "BYTES")
    if datatype not in DTYPES:
        raise ModelError(f"model {name}: {port.name} is of {word}, which is not taken: state another data_type")
    return TensorForm(port.name, datatype, (*lead, *port.dims))


def _files_of(kind: str) -> list[str]:
    return [file for file, runs in FILES.items() if kind in ("", runs)]


def open_file(version: Version) -> int:
    """A descriptor of the version's file, which stays the same where another takes its name; -1: it has none.

    Raises ModelError where it cannot be read.
    """
    if version.path is None:
        return -1
    try:
        return os.open(version.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise ModelError(f"{version.path} cannot be read ({error.strerror}): put the model's file there") from error


def check_same(version: Version) -> None:
    """Raise ModelError where the version's file was written to since it was found: half of it may have been read."""
    if version.path is None:
        return
    try:
        same = version.identity == identity(version.path)
    except OSError:
        same = False
    if not same:
        raise ModelError(f"{version.path} was written to while it was loaded: load it again once it is complete")
