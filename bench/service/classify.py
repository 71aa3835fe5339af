"""What tritonclient's `image_client.py` does, by the same calls of the same library: pictures in, best classes out.

It asks for a model's metadata and configuration, takes it for a classifier by them or not at all, makes its pictures
as large as they say, and asks in batches for the best classes: at once, asynchronously, or on a stream.

Words owned here: way (of asking).
"""

from __future__ import annotations

import importlib
import queue
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from edgesight.host.errors import EdgeSightError

WITHIN_S = 60.0


class NoClassifier(EdgeSightError):
    """A model that `image_client.py` would not ask, or an answer that it could not show: says why."""


@dataclass(frozen=True)
class Way:
    """How a client asks: `http` or `grpc`; at once, or else by the library's asynchronous calls or a stream."""

    protocol: str
    kind: str = "at once"  # or "async", "streaming"

    @property
    def title(self) -> str:
        """For people."""
        return f"{self.protocol}, {self.kind}"


WAYS = (
    Way("http"),
    Way("http", "async"),
    Way("grpc"),
    Way("grpc", "async"),
    Way("grpc", "streaming"),
)


@dataclass(frozen=True)
class Class:
    """One that a model finds: how sure it is, as it says it, its number, and its name."""

    value: float
    number: int
    name: str


@dataclass(frozen=True)
class _Form:
    """What a model takes and gives, as far as it takes a picture."""

    batches: bool
    taken: str
    given: str
    datatype: str
    sides: tuple[int, int, int]  # height, width, channels
    channels_first: bool


def classify(at: str, way: Way, model: str, files: Sequence[Path], batch: int, classes: int) -> list[list[Class]]:
    """The best `classes` of each picture, in requests of `batch`; the last one is filled from the beginning.

    Raises NoClassifier, or InferenceServerException of tritonclient's.
    """
    library: Any = importlib.import_module(f"tritonclient.{way.protocol}")
    more = {"concurrency": len(files)} if way.protocol == "http" else {}
    with library.InferenceServerClient(at, **more) as client:
        form = _form(client, way, model)
        if batch > 1 and not form.batches:
            raise NoClassifier(f"{model} takes no batches: ask for one picture at a time")
        pixels = [_pixels(file, form) for file in files]
        count = -(-len(pixels) // batch) if form.batches else len(pixels)
        requests = []
        for request in range(count):
            chosen = [pixels[(request * batch + place) % len(pixels)] for place in range(batch)]
            array = np.stack(chosen) if form.batches else chosen[0]
            taken = library.InferInput(form.taken, list(array.shape), form.datatype)
            taken.set_data_from_numpy(array)
            requests.append((taken, library.InferRequestedOutput(form.given, class_count=classes)))
        found: list[list[Class]] = []
        for number, answer in enumerate(_answers(client, way, model, requests)):
            told = answer.get_response()
            if str(told["id"] if isinstance(told, dict) else told.id) != str(number):
                raise NoClassifier(f"{model}: request {number} was answered as another: look at the server's log")
            rows = answer.as_numpy(form.given)
            if form.batches and len(rows) != batch:
                raise NoClassifier(f"{model}: {batch} pictures went in, and {len(rows)} results came: mend the server")
            found += [[_class(one) for one in row] for row in (rows if form.batches else [rows])]
    return found[: len(files)]


def _answers(client: Any, way: Way, model: str, requests: Sequence[tuple[Any, Any]]) -> Iterator[Any]:
    """In the order of the requests."""
    named = [
        {"model_name": model, "inputs": [taken], "outputs": [wanted], "request_id": str(number)}
        for number, (taken, wanted) in enumerate(requests)
    ]
    if way.kind == "at once":
        yield from (client.infer(**one) for one in named)
    elif way.protocol == "http":
        later = [client.async_infer(**one) for one in named]
        yield from (one.get_result() for one in later)
    else:
        came: queue.Queue[tuple[Any, Any]] = queue.Queue()
        if way.kind == "streaming":
            client.start_stream(lambda result, error: came.put((result, error)))
            for one in named:
                client.async_stream_infer(**one)
            client.stop_stream()
        else:
            for one in named:
                client.async_infer(**one, callback=lambda result, error: came.put((result, error)))
        answers = []
        for _ in named:
            result, error = came.get(timeout=WITHIN_S)
            if error is not None:
                raise error
            answers.append(result)
        yield from sorted(answers, key=lambda answer: int(answer.get_response().id))


def _form(client: Any, way: Way, model: str) -> _Form:
    """Raises NoClassifier where the model is none that takes one picture and gives one row of numbers."""
    metadata, config = client.get_model_metadata(model), client.get_model_config(model)
    if way.protocol == "grpc":
        from google.protobuf.json_format import MessageToDict

        metadata, config = (MessageToDict(one, preserving_proto_field_name=True) for one in (metadata, config.config))
    if [len(metadata["inputs"]), len(metadata["outputs"]), len(config["input"])] != [1, 1, 1]:
        raise NoClassifier(f"{model} has not one input and one output: ask another")
    (taken,), (given,), (configured,) = metadata["inputs"], metadata["outputs"], config["input"]
    batches = config.get("max_batch_size", 0) > 0
    shape, row = ([int(side) for side in one["shape"]][batches:] for one in (taken, given))
    formats = {"FORMAT_NHWC": False, "FORMAT_NCHW": True}
    if given["datatype"] != "FP32" or sum(side > 1 for side in row) > 1:
        raise NoClassifier(f"{model} gives {given['datatype']} {row}, which is no row of FP32: ask another")
    if len(shape) != 3 or configured.get("format") not in formats:
        raise NoClassifier(f"{model} takes {shape} as {configured.get('format')}, which is no picture: ask another")
    channels_first = formats[configured["format"]]
    height, width, channels = (shape[1], shape[2], shape[0]) if channels_first else shape
    sides = (height, width, channels)
    return _Form(batches, taken["name"], given["name"], taken["datatype"], sides, channels_first)


def _pixels(file: Path, form: _Form) -> npt.NDArray[Any]:
    """A picture as the model takes it."""
    from tritonclient.utils import triton_to_np_dtype

    height, width, channels = form.sides
    with Image.open(file) as opened:
        picture = opened.convert("L" if channels == 1 else "RGB").resize((width, height), Image.Resampling.BILINEAR)
    pixels = np.asarray(picture).reshape(form.sides).astype(triton_to_np_dtype(form.datatype))
    return pixels.transpose(2, 0, 1) if form.channels_first else pixels


def _class(told: bytes) -> Class:
    """Of Triton's classification extension: "value:number:name"."""
    value, number, name = told.decode().split(":")
    return Class(float(value), int(number), name)
