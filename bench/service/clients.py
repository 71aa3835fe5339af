"""Clients that people have, as they are, against the data centre and against an edge's application.

tritonclient's `image_client.py`, where its file is given, else the same calls of the same library; `perf_analyzer` of
the newest wheel of tritonclient that carries it; KServe's own clients. A client that works has its status, its own word
for that, and where it tells classes the right ones: those that the model itself, and the edge by its own output, give.
"""

from __future__ import annotations

import json
import os
import platform
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from rich.console import Console

from edgesight.bench.kept import ROOT, Found
from edgesight.bench.service.asked import Asked
from edgesight.bench.service.classify import WAYS, Class, NoClassifier, Way, classify
from edgesight.bench.service.environments import NotInstalled, environment, unpacked
from edgesight.bench.service.outcome import Outcome
from edgesight.bench.service.program import edge, serving
from edgesight.host.datacenter.models import OnnxModel
from edgesight.host.package import Package

APPLICATION = "door"  # at the edge: no kernel is called so
KSERVE = "kserve==0.21.0"
# The last wheel with the binary; newer ones are Python alone, and perf_analyzer's own on PyPI is empty.
PERF_ANALYZER = "tritonclient==2.50.0"
_CUDA = "nvidia-cuda-runtime-cu12"  # whose library it is linked to, though it uses no GPU here
_ATTRDICT = ("attrdict==2.0.1", "six")  # what image_client.py asks for beside tritonclient
_PICTURES, _BATCH, _CLASSES = 4, 3, 2
_WITHIN_S = 120.0
_PACKAGE = ROOT / "bitstreams" / "digits"
_REQUESTS = "120"
_LINE = re.compile(r"^ {4}(\S+) \((\d+)\) = (.*)$", re.MULTILINE)


@dataclass(frozen=True)
class Server:
    """A server that clients ask, what it is called in the report, and what its model takes and finds."""

    name: str
    doors: Mapping[str, str]  # HOST:PORT, by HTTP and gRPC
    model: str
    taken: str
    labels: Sequence[int]  # of the pictures


def measure(given: Asked, folder: Path, console: Console) -> Found:
    """All clients against both servers."""
    from edgesight.hls.csim import build_library

    outcome = Outcome()
    package = Package.load(_PACKAGE)
    build_library(package)
    files = _pictures(package, folder / "pictures")
    datacentre = serving(folder / "datacenter.log", package.path)
    application = ("--application", f"{APPLICATION}={package.path}", "--socket", folder / "edge.sock")
    with datacentre as service, edge(folder / "edge.log", package.path, "--fabric", "csim", *application) as doors:
        at_edge = {"http": doors["HTTP"], "grpc": doors["gRPC"]}
        in_centre = {"http": service.http, "grpc": service.grpc}
        servers = [
            Server("data centre", in_centre, package.kernel.name, "image", _labels(package, files)),
            Server("edge", at_edge, APPLICATION, "picture", _told(doors["gRPC"], files)),
        ]
        for server in servers:
            console.print(f"{server.name}: image_client.py ...", highlight=False)
            _image_client(given.image_client, server, files, folder, outcome)
        for client in (_kserve, _perf_analyzer):
            console.print(f"{client.__name__.strip('_')} ...", highlight=False)
            try:
                client(servers, files, folder, outcome)
            except NotInstalled as error:
                outcome.skipped[client.__name__.strip("_")] = str(error)
        outcome.part = "all clients"
        outcome.at_most("exceptions that nobody handled at the data centre", service.faults(), 0, "exceptions")
    return outcome.found()


def _pictures(package: Package, folder: Path) -> list[Path]:
    """Some of the package's own pictures as files."""
    folder.mkdir(parents=True, exist_ok=True)
    images = np.load(package.path / "vectors.npz")["images"][:_PICTURES]
    files = [folder / f"{number}.png" for number in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image[..., 0]).save(file)
    return files


def _pixels(files: Sequence[Path]) -> Any:
    return np.stack([np.asarray(Image.open(file))[..., None] for file in files])


def _labels(package: Package, files: Sequence[Path]) -> list[int]:
    """What the back end says, asked without any service."""
    model = OnnxModel(package.path / "datacenter.onnx", package.kernel.backend_input)
    return [int(label) for label in np.argmax(model.run(_pixels(files)), axis=1)]


def _told(at: str, files: Sequence[Path]) -> list[int]:
    """What the edge says by its output `label`."""
    import tritonclient.grpc as triton

    pixels = _pixels(files)
    taken = triton.InferInput("picture", list(pixels.shape), "UINT8")
    taken.set_data_from_numpy(pixels)
    with triton.InferenceServerClient(at) as client:
        found = client.infer(APPLICATION, [taken], outputs=[triton.InferRequestedOutput("label")])
    return [int(label) for label in found.as_numpy("label")]


# --------------------------------------------------------------------------------------------------- image_client.py


def _image_client(script: Path | None, server: Server, files: Sequence[Path], folder: Path, outcome: Outcome) -> None:
    """By every way that it has, with classes and in batches that the pictures do not fill."""
    outcome.part = f"{server.name}, image_client.py" if script is not None else f"{server.name}, its calls"
    if script is None:
        outcome.skipped["image_client.py"] = (
            "its file was not given (IMAGE_CLIENT=image_client.py of github.com/triton-inference-server/client): the "
            "same calls were made through tritonclient"
        )
    else:
        script = script.resolve()
        try:
            more = unpacked(folder / "attrdict", *_ATTRDICT)
        except NotInstalled as error:
            outcome.skipped["image_client.py over HTTP"] = f"it needs attrdict: {error}"
            more = folder
    for way in WAYS:
        if script is not None:
            good, said = _by_script(script, server, way, files, more)
        else:
            good, said = _by_calls(server, way, files)
        outcome.holds(f"{way.title}: works, and finds the right classes", good, said)


def _by_script(script: Path, server: Server, way: Way, files: Sequence[Path], more: Path) -> tuple[bool, str]:
    options = {"at once": [], "async": ["--async"], "streaming": ["--streaming"]}[way.kind]
    command = [sys.executable, script, "-m", server.model, "-u", server.doors[way.protocol], "-i", way.protocol]
    command += [*options, "-b", str(_BATCH), "-c", str(_CLASSES), files[0].parent]
    done = _run(command, {"PYTHONPATH": str(more)})
    printed = [Class(float(value), int(number), name) for value, number, name in _LINE.findall(done.stdout)]
    requests = -(-len(files) // _BATCH)
    per = len(printed) // (requests * _BATCH) if printed else 1
    first = printed[::per][: len(files)]
    right = [one.number for one in first] == list(server.labels) and len(printed) == per * requests * _BATCH
    good = done.returncode == 0 and done.stdout.rstrip().endswith("PASS") and right
    return good, done.stdout[-300:] + done.stderr[-300:]


def _by_calls(server: Server, way: Way, files: Sequence[Path]) -> tuple[bool, str]:
    from tritonclient.utils import InferenceServerException

    try:
        found = classify(server.doors[way.protocol], way, server.model, files, _BATCH, _CLASSES)
    except (NoClassifier, InferenceServerException) as error:
        return False, str(error)
    return [row[0].number for row in found] == list(server.labels), str(found)


# ------------------------------------------------------------------------------------------------------- others' own


def _kserve(servers: Sequence[Server], files: Sequence[Path], folder: Path, outcome: Outcome) -> None:
    """KServe's clients, in an environment of their own."""
    python = environment(folder / "kserve", KSERVE)
    np.save(folder / "pictures.npy", _pixels(files))
    for server in servers:
        outcome.part = f"{server.name}, {KSERVE}"
        script = Path(__file__).with_name("kserve_calls.py")
        asked = [server.doors["http"], server.doors["grpc"], server.model, server.taken, folder / "pictures.npy"]
        done = _run([python, script, *asked])
        calls: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
        failed = [call for call in calls if not call["done"]]
        outcome.at_most("calls of its clients that fail", len(failed), 0, f"of {len(calls)}")
        outcome.holds("all of its calls were made", done.returncode == 0 and bool(calls), done.stderr[-300:])
        if failed:
            outcome.said[outcome.part] = failed


_PERF_WAYS: dict[str, tuple[str, Sequence[str]]] = {
    "HTTP": ("http", ()),
    "gRPC": ("grpc", ()),
    "gRPC, a stream": ("grpc", ("--streaming",)),
    "gRPC, batches of 4 from 4 at a time": ("grpc", ("--async", "-b", "4", "--concurrency-range", "4")),
}


def _perf_analyzer(servers: Sequence[Server], files: Sequence[Path], folder: Path, outcome: Outcome) -> None:
    """Triton's load generator, which wants a server that it can also ask for its statistics."""
    if platform.machine() != "x86_64":
        raise NotInstalled("perf_analyzer is built for x86-64 alone: run this there")
    place = unpacked(folder / "perf_analyzer", PERF_ANALYZER, _CUDA, only=("manylinux1_x86_64", "manylinux2014_x86_64"))
    binary = place / "bin" / "perf_analyzer"
    binary.chmod(0o755)
    libraries = [str(place / "nvidia" / "cuda_runtime" / "lib"), os.environ.get("LD_LIBRARY_PATH", "")]
    surroundings = {"LD_LIBRARY_PATH": ":".join(filter(None, libraries))}
    version = _run([binary, "--version"], surroundings)
    if version.returncode == 127:
        raise NotInstalled(
            f"{version.stderr.strip()[-200:]}: install what is missing (Debian: apt-get install libb64-0d)"
        )
    for server, ways in zip(servers, (list(_PERF_WAYS), ["gRPC"]), strict=True):
        outcome.part = f"{server.name}, perf_analyzer"
        for way in ways:
            protocol, options = _PERF_WAYS[way]
            asked = ["-m", server.model, "-i", protocol, "-u", server.doors[protocol], "--request-count", _REQUESTS]
            done = _run([binary, *asked, *options], surroundings)
            good = done.returncode == 0 and f"Successful request count: {_REQUESTS}" in done.stdout
            outcome.holds(f"{way}: works", good, done.stdout[-300:] + done.stderr[-300:])
            for name, unit in (("throughput", "infer/sec"), ("latency", "usec")):
                for value in list(_figures(done.stdout, name))[:1]:
                    outcome.tell(f"{way}: {name}", value, unit)


def _figures(said: str, name: str) -> Iterator[float]:
    yield from (float(value) for value in re.findall(rf"{name}:? ([0-9.]+)", said.rpartition("Inferences/Second")[2]))


def _run(command: Sequence[object], more: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    words, surroundings = [str(word) for word in command], {**os.environ, **(more or {})}
    try:
        return subprocess.run(
            words, capture_output=True, text=True, errors="replace", env=surroundings, timeout=_WITHIN_S, check=False
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode(errors="replace") if isinstance(error.stdout, bytes) else ""
        return subprocess.CompletedProcess(words, 124, said, f"it took longer than {_WITHIN_S:g} s")
