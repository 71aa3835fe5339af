"""What tritonclient's `image_client.py` does, at the data centre and at an edge's application: every way, any batch."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgesight.bench.service.classify import WAYS, NoClassifier, Way, classify
from edgesight.bench.service.program import edge, serving
from edgesight.bench.service.tiny import put, scaled
from edgesight.hls.csim import build_library
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.package import Package
from edgesight.sim.rtl.runner import ROOT

pytest.importorskip("gevent", reason="tritonclient's HTTP client needs the extra `http`")
pytest.importorskip("onnx", reason="onnx is not installed: extra `build`")
Refusal: Any = pytest.importorskip("tritonclient.utils").InferenceServerException

DIGITS = ROOT / "bitstreams" / "digits"
GRPC = Way("grpc")


@pytest.fixture(scope="module")
def images() -> Any:
    return np.load(DIGITS / "vectors.npz")["images"][:5]


@pytest.fixture(scope="module")
def files(images: Any, tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder = tmp_path_factory.mktemp("pictures")
    for number, image in enumerate(images):
        Image.fromarray(image[..., 0]).save(folder / f"{number}.png")
    return sorted(folder.iterdir())


@pytest.fixture(scope="module")
def centre(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("centre")
    put(folder / "models", "double", scaled(2.0))
    with serving(folder / "log", DIGITS, "--repository", folder / "models") as service:
        yield {"http": service.http, "grpc": service.grpc}


@pytest.fixture(scope="module")
def at_edge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    folder = tmp_path_factory.mktemp("edge")
    build_library(Package.load(DIGITS))
    words = [DIGITS, "--fabric", "csim", "--application", f"door={DIGITS}", "--socket", folder / "edge.sock"]
    with edge(folder / "log", *words) as doors:
        yield {"http": doors["HTTP"], "grpc": doors["gRPC"]}


@pytest.mark.parametrize(("batch", "classes"), [(1, 1), (3, 4)])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.title)
def test_the_data_centre_tells_the_best_classes(
    way: Way, batch: int, classes: int, centre: dict[str, str], files: list[Path], images: Any
) -> None:
    package = Package.load(DIGITS)
    logits = OnnxModel(DIGITS / "datacenter.onnx", package.kernel.backend_input).run(images)
    found = classify(centre[way.protocol], way, package.kernel.name, files, batch, classes)
    for row, values in zip(found, logits, strict=True):
        best = np.argsort(-values, kind="stable")[:classes]
        assert [one.number for one in row] == best.tolist()
        assert [one.name for one in row] == [package.kernel.classes[label] for label in best]
        assert [one.value for one in row] == pytest.approx(values[best], abs=1e-5)


@pytest.mark.parametrize("batch", [1, 3])
@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.title)
def test_an_edges_application_tells_its_answer(
    way: Way, batch: int, at_edge: dict[str, str], files: list[Path], images: Any
) -> None:
    import tritonclient.grpc as triton

    taken = triton.InferInput("picture", list(images.shape), "UINT8")
    taken.set_data_from_numpy(images)
    with triton.InferenceServerClient(at_edge["grpc"]) as client:
        answer = client.infer("door", [taken])
    told = list(
        zip(answer.as_numpy("label"), answer.as_numpy("class_name"), answer.as_numpy("confidence"), strict=True)
    )
    found = classify(at_edge[way.protocol], way, "door", files, batch, 2)
    assert [len(row) for row in found] == [1] * len(files)  # it says how sure it is of one class
    for (one,), (label, name, confidence) in zip(found, told, strict=True):
        assert (one.number, one.name) == (label, name.decode())
        assert one.value == pytest.approx(float(confidence), abs=1e-5)


def test_what_is_no_classifier_of_pictures_is_not_asked(
    centre: dict[str, str], at_edge: dict[str, str], files: list[Path]
) -> None:
    with pytest.raises(NoClassifier, match="which is no picture"):
        classify(centre["grpc"], GRPC, "double", files, 1, 1)
    for at, there in ((centre, "look at the repository's index"), (at_edge, "digits, door")):
        with pytest.raises(Refusal, match=there):
            classify(at["grpc"], GRPC, "nothing", files, 1, 1)


def test_encoded_pictures_find_the_same_class(centre: dict[str, str], files: list[Path]) -> None:
    import tritonclient.grpc as triton

    content = io.BytesIO()
    Image.open(files[0]).save(content, "PNG")
    taken = triton.InferInput("picture", [1], "BYTES")
    taken.set_data_from_numpy(np.array([content.getvalue()], object))
    wanted = triton.InferRequestedOutput("logits", class_count=1)
    with triton.InferenceServerClient(centre["grpc"]) as client:
        ((told,),) = client.infer("digits", [taken], outputs=[wanted]).as_numpy("logits")
    ((one,), *_) = classify(centre["grpc"], GRPC, "digits", files, 1, 1)
    assert told.decode().split(":")[1:] == [str(one.number), one.name]
