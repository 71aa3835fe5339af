"""From two QONNX files to a kernel package: convert, fold, emit, pack."""

from __future__ import annotations

import copy
import importlib.metadata
import io
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hls4ml
import numpy as np

from edgesight.hls import emit, qonnx_graph, registers
from edgesight.hls.backend import BACKEND
from edgesight.hls.folding import largest_reuse
from edgesight.hls.graph.read import read
from edgesight.hls.layers import Hardware, Matrix
from edgesight.hls.network import CompileError, Shape
from edgesight.host.files import sha256
from edgesight.host.kernel import SCHEMA_VERSION, BackEndInput, Input, Kernel, Layer, Stage
from edgesight.host.package import LIBRARY, RTL, TOP, Package, structure_hash, weights_checksum, write_package

FRAME_SLOTS = 8
CLOCK_MHZ = 100.0
_VECTORS, _VECTORS_SEED = 16, 0
_TOOLS = ("hls4ml", "qonnx", "numpy")
MAX_SIDE = 1024  # pixels, as edgesight.host.kernel.Input has it
MAX_CLASSES = 65_536  # labels of a result record


@dataclass(frozen=True)
class Folding:
    """How fast a stage is to be: a budget of cycles a frame for every layer, or reuse factors by layer name.

    A layer that `reuse` names takes that factor; every other one the largest that keeps it within `cycles`.
    """

    cycles: int
    reuse: Mapping[str, int]


@dataclass(frozen=True)
class Network:
    """One stage's network and what is to be known of it."""

    name: str
    path: Path  # QONNX
    folding: Folding


@dataclass(frozen=True)
class DataSetFacts:
    """What a package records of the data that its networks were trained on."""

    name: str
    sha256: str
    classes: Sequence[str]


def compile_package(
    name: str, networks: Sequence[Network], data: DataSetFacts, backend: bytes | None, out: Path
) -> Package:
    """Compile the cascade's two networks into the kernel package `out`, replacing what was there.

    `backend` is the data centre's ONNX model, packed beside the kernel. Raises CompileError naming the layer that
    cannot be exact; then nothing is written.
    """
    if len(networks) != 2:
        raise CompileError(f"a cascade has two stages; {len(networks)} networks were given: give two")
    files: dict[str, bytes] = {}
    stages: list[Stage] = []
    ports: list[emit.Ports] = []
    generated: dict[str, str] = {}
    graphs = _load_all([network.path for network in networks])
    with tempfile.TemporaryDirectory() as scratch:
        for index, (network, graph) in enumerate(zip(networks, graphs, strict=True)):
            module, folder = f"stage{index}", Path(scratch) / f"stage{index}"
            layers, model = convert(graph, module, network.folding, folder)
            with qonnx_graph.calling("writing hls4ml's project"):
                model.write()
            ports.append(emit.ports(module, layers))
            stages.append(_describe(module, layers))
            generated.update(_stage_sources(folder))
            files[f"networks/{module}.onnx"] = network.path.read_bytes()
            files.update(_csim_sources(folder, module))
    first, second = ports
    if (first.source, first.classes) != (second.source, second.classes):
        raise CompileError(
            f"the stages differ: stage0 takes {first.source} and has {first.classes} classes, stage1 takes "
            f"{second.source} and has {second.classes}; train both on the same data set and size"
        )
    _check_frame(first.source, first.classes)
    if len(data.classes) != first.classes:
        raise CompileError(
            f"{len(data.classes)} class names for networks with {first.classes} outputs: give one an output"
        )
    rtl, library, build_hash = _hardware(ports, generated)
    files.update({f"{RTL}{file}": content for file, content in rtl.items()})
    files["vectors.npz"] = _known_answers([network.path for network in networks], stages, first.source)
    if backend is not None:
        files["datacenter.onnx"] = backend
    table = registers.own_map()
    taken = Input(height=first.source.height, width=first.source.width, channels=first.source.channels)  # type: ignore[arg-type] # the schema checks 1 or 3
    kernel = Kernel(
        schema_version=SCHEMA_VERSION,
        name=name,
        build_hash=build_hash,
        weights_sha256=weights_checksum(rtl),
        classes=list(data.classes),
        input=taken,
        backend_input=None if backend is None else BackEndInput.same_as(taken),
        stages=stages,
        library=library,
        threshold_sets=table.constants["threshold_sets"].value,
        frame_slots=FRAME_SLOTS,
        clock_mhz=CLOCK_MHZ,
        registers={register.name: register.offset for register in table.registers},
        dataset=data.name,
        dataset_sha256=data.sha256,
        tools={tool: importlib.metadata.version(tool) for tool in _TOOLS},
        calibration=None,
        files={},
    )
    return write_package(out, kernel, files)


def _stage_sources(folder: Path) -> dict[str, str]:
    """What the backend plugin wrote of one network into an hls4ml project: file name -> text, without the library's."""
    library = {path.name for path in LIBRARY.glob("*.sv")}
    return {path.name: path.read_text() for path in sorted((folder / "rtl").iterdir()) if path.name not in library}


def _hardware(
    ports: Sequence[emit.Ports], generated: Mapping[str, str]
) -> tuple[dict[str, bytes], dict[str, str], str]:
    """All files of the kernel around the stages' `generated` ones, the library's checksums, and the build hash."""
    library_texts = emit.library_of({**generated, TOP: emit.emit_kernel(ports, FRAME_SLOTS, "0" * 8, "0" * 8)})
    library = {name: sha256(text.encode()) for name, text in library_texts.items()}
    rtl = {name: text.encode() for name, text in generated.items()}
    weights = weights_checksum(rtl)[:8]
    silent = emit.emit_kernel(ports, FRAME_SLOTS, "0" * 8, weights).encode()
    build_hash = structure_hash({**rtl, TOP: silent}, library)
    rtl[TOP] = emit.emit_kernel(ports, FRAME_SLOTS, build_hash, weights).encode()
    return rtl, library, build_hash


def _load_all(paths: Sequence[Path]) -> list[Any]:
    """The networks' graphs; where several have problems, all of them are told."""
    graphs, problems = [], []
    for path in paths:
        try:
            graphs.append(qonnx_graph.load(path))
        except CompileError as error:
            problems.append(error)
    if problems:
        raise CompileError("\n".join(map(str, problems))) from problems[0]
    return graphs


def _check_frame(source: Shape, classes: int) -> None:
    """Refuse inputs and outputs that the kernel around the networks cannot carry."""
    if source.channels not in (1, 3) or max(source.height, source.width) > MAX_SIDE:
        raise CompileError(
            f"the networks take {source} values a frame; a kernel's frames are pictures of 1 or 3 channels and at most "
            f"{MAX_SIDE} pixels a side: give the networks such an input, and flatten it in them"
        )
    if not 2 <= classes <= MAX_CLASSES:
        raise CompileError(
            f"the networks have {classes} outputs; a cascade needs 2 to {MAX_CLASSES} classes: train them on so many"
        )


def convert(graph: Any, module: str, folding: Folding, folder: Path) -> tuple[list[Hardware], Any]:
    """Convert a loaded QONNX graph with hls4ml's RTL backend; returns its hardware layers and the ModelGraph.

    Nothing is written into `folder` yet. Raises CompileError for whatever hls4ml or its RTL backend refuses, `module`
    as a name included.
    """
    with qonnx_graph.calling("converting the network with hls4ml"):
        config = hls4ml.utils.config_from_onnx_model(
            graph, granularity="name", backend=BACKEND, default_precision="fixed<32,16>"
        )
        names = {tensor: node.name for node in graph.graph.node for tensor in node.output}
        multiplying = {names[step.tensor]: step for step in read(graph, for_hls4ml=True) if step.weights is not None}
        unknown = set(folding.reuse) - set(multiplying)
        if unknown:
            raise CompileError(
                f"{module}: no layer {', '.join(sorted(unknown))}; it has {', '.join(multiplying)}; name one of these"
            )
        for name, step in multiplying.items():
            assert step.weights is not None
            outputs, beats, lanes = step.weights.shape
            config["LayerName"][name]["ReuseFactor"] = (
                folding.reuse[name]
                if name in folding.reuse
                else largest_reuse(folding.cycles, step.shape.pixels, outputs, lanes, beats)
            )
        model = hls4ml.converters.convert_from_onnx_model(
            graph,
            output_dir=str(folder),
            project_name=module,
            io_type="io_stream",
            backend=BACKEND,
            hls_config=copy.deepcopy(config),  # hls4ml adds its own layer names to it
            namespace=module,
            write_weights_txt=True,  # as C++ initialisers they take the compiler minutes
        )
        return model.rtl_layers, model


def _csim_sources(folder: Path, module: str) -> dict[str, bytes]:
    """hls4ml's generated C++ of one network, without the header library that hls4ml itself carries."""
    firmware = folder / "firmware"
    chosen = [
        *sorted(firmware.glob("*.cpp")),
        *sorted(firmware.glob("*.h")),
        *sorted((firmware / "weights").glob("*.h")),
        *sorted((firmware / "weights").glob("*.txt")),
        firmware / "nnet_utils" / "nnet_code_gen.h",
    ]
    return {f"csim/{module}/{path.relative_to(firmware).as_posix()}": path.read_bytes() for path in chosen}


def _describe(name: str, layers: list[Hardware]) -> Stage:
    last = layers[-1]
    assert isinstance(last, Matrix)  # edgesight.hls.layers.extract lets nothing else be last
    described = [_describe_layer(layer) for layer in layers]
    slowest = max(described, key=lambda layer: layer.cycles)
    pixels = layers[0].source.pixels
    return Stage(
        name=name,
        parameters=sum(layer.parameters for layer in described),
        outputs=last.weights.shape[0],
        logit_bits=last.output_format.bits,
        logit_fraction_bits=last.output_format.fraction,
        layers=described,
        bound_cycles=max(slowest.cycles, pixels),
        bound_layer=slowest.name if slowest.cycles >= pixels else "input",
    )


def _describe_layer(layer: Hardware) -> Layer:
    if isinstance(layer, Matrix):
        return Layer(
            name=layer.name,
            kind="dense" if layer.window is None else "conv",
            parameters=layer.parameters,
            multipliers=layer.fold.pe * layer.fold.simd,
            pe=layer.fold.pe,
            simd=layer.fold.simd,
            reuse_asked=layer.reuse_asked,
            reuse_built=layer.fold.cycles,
            weight_bits=layer.weight_format.bits,
            accumulator_bits=layer.accumulator.bits,
            cycles=layer.cycles,
        )
    return Layer(
        name=layer.name,
        kind="max_pool",
        parameters=0,
        multipliers=0,
        pe=layer.shape.channels,
        simd=1,
        reuse_asked=1,
        reuse_built=1,
        weight_bits=0,
        accumulator_bits=layer.format.bits,
        cycles=layer.cycles,
    )


def _known_answers(paths: Sequence[Path], stages: Sequence[Stage], shape: Shape) -> bytes:
    """Vectors for a self-test: seeded random images and the integer logits that QONNX's own execution gives."""
    generator = np.random.default_rng(_VECTORS_SEED)
    images = generator.integers(0, 256, (_VECTORS, shape.height, shape.width, shape.channels), np.uint8)
    arrays: dict[str, Any] = {"images": images}
    for path, stage in zip(paths, stages, strict=True):
        logits = qonnx_graph.execute(path, images).astype(np.float64) * 2.0**stage.logit_fraction_bits
        arrays[stage.name] = np.rint(logits).astype(np.int32)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()
