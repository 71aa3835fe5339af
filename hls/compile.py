"""From one to four QONNX files to a kernel package: convert, fold, emit, pack."""

from __future__ import annotations

import importlib.metadata
import io
import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgesight.hls import emit, qonnx_graph, registers
from edgesight.hls.cpp.handlers import original
from edgesight.hls.cpp.model import model_graph
from edgesight.hls.cpp.package import csim_files
from edgesight.hls.cpp.statements import NotStated
from edgesight.hls.dataflow.operators import IntegerNetwork, Matrix
from edgesight.hls.dataflow.reference import Reference
from edgesight.hls.folding import Folding as Folding
from edgesight.hls.graph.integer_network import MAX_INPUT_BITS, integer_network
from edgesight.hls.graph.integer_network import Format as EntryFormat
from edgesight.hls.graph.truth import real_outputs
from edgesight.hls.layers import Layer as Hardware
from edgesight.hls.layers import layers_of
from edgesight.hls.library import library_modules
from edgesight.hls.network import CompileError, Format, Shape, names_of, refuse
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.rtl.units import signed_bits, slowest
from edgesight.hls.settings import check_name
from edgesight.host.files import sha256
from edgesight.host.kernel import MAX_FRAME_BYTES, MAX_STAGES, SCHEMA_VERSION, BackEndInput, Input, Kernel, Layer, Stage
from edgesight.host.package import RTL, TOP, Package, structure_hash, weights_checksum, write_package

FRAME_SLOTS = 8
CLOCK_MHZ = 100.0
_VECTORS, _VECTORS_SEED = 16, 0
_TOOLS = ("hls4ml", "qonnx", "numpy")
MAX_SIDE = 1024  # pixels, as edgesight.host.kernel.Input has it
MAX_CLASSES = 65_536  # labels of a result record
_ROUNDING = 1e-9  # share of the largest logit by which two sums in double precision may differ


@dataclass(frozen=True)
class Network:
    """One stage's network and what is to be known of it."""

    name: str
    path: Path  # QONNX
    folding: Folding
    entry: EntryFormat | None = None  # of what comes in; None: the network's own quantiser says it


def entry_of_type(text: str) -> EntryFormat:
    """What comes in, from hls4ml's text of a type: `fixed<W,I>`, `ufixed<W,I>`, `int<W>` or `uint<W>`.

    Raises CompileError for any other text, and for more than 16 bits.
    """
    found = re.fullmatch(r"(?:ap_)?(u?)(?:fixed<(\d{1,2}),(-?\d{1,2})>|int<(\d{1,2})>)", text.replace(" ", ""))
    bits = int(found[2] or found[4]) if found else 0
    if found is None or not 1 <= bits <= MAX_INPUT_BITS:
        raise CompileError(
            f"input type {text!r}: give fixed<W,I>, ufixed<W,I>, int<W> or uint<W> of 1 to {MAX_INPUT_BITS} bits, such "
            "as fixed<16,6>"
        )
    whole = int(found[3]) if found[3] else bits
    low = 0 if found[1] else -(1 << (bits - 1))
    return EntryFormat(low, low + (1 << bits) - 1, 2.0 ** (whole - bits))


@dataclass(frozen=True)
class DataSetFacts:
    """What a package records of the data that its networks were trained on."""

    name: str
    sha256: str
    classes: Sequence[str]


def compile_package(
    name: str, networks: Sequence[Network], data: DataSetFacts, backend: bytes | None, out: Path
) -> Package:
    """Compile the cascade's networks, one to four, into the kernel package `out`, replacing what was there.

    `backend` is the data centre's ONNX model, packed beside the kernel. Raises CompileError naming the layer that
    cannot be exact; then nothing is written.
    """
    if not 1 <= len(networks) <= MAX_STAGES:
        raise CompileError(
            f"a cascade has 1 to {MAX_STAGES} stages; {len(networks)} networks were given: give one for each stage"
        )
    built = _build(networks)
    _check_alike(built.ports)
    first = built.ports[0]
    _check_frame(first.source, first.classes)
    if len(data.classes) != first.classes:
        raise CompileError(
            f"{len(data.classes)} class names for networks with {first.classes} outputs: give a name for each output"
        )
    return _write(name, built, data, backend, out, alone=False)


def compile_alone(name: str, network: Network, out: Path) -> Package:
    """Compile a network alone into the kernel package `out`, replacing what was there.

    Its records carry its logits, whatever they mean: classes need not be known, nor what it was trained on. Raises
    CompileError naming the layer that cannot be exact; then nothing is written.
    """
    built = _build([network])
    _check_size(built.ports[0])
    return _write(name, built, DataSetFacts("none", "", []), None, out, alone=True)


def convert(graph: Any, module: str, folding: Folding, folder: Path) -> tuple[list[Hardware], Any]:
    """The hardware layers of a graph that `qonnx_graph.load` read, and hls4ml's model of it as the project `module`.

    Nothing is written into `folder` before the model's `write()`. Raises CompileError for what cannot be compiled,
    `module` as a name included.
    """
    refuse(check_name(module, frozenset(library_modules())))
    integers, notes = integer_network(original(graph))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    _check_one_output(module, integers)
    named = _by_name(folding, integers, module)
    layers = layers_of(integers, named)
    with qonnx_graph.calling("converting the network with hls4ml"):
        return layers, model_graph(integers, module, folder, named, rtl=True)


@dataclass(frozen=True)
class _Built:
    """What the networks of a package became: by stage, and their files."""

    networks: Sequence[Network]
    integers: list[IntegerNetwork]
    ports: list[emit.Ports]
    stages: list[Stage]
    generated: dict[str, str]  # SystemVerilog and memories: file name -> text
    files: dict[str, bytes]  # of the package


def _build(networks: Sequence[Network]) -> _Built:
    """Make a stage of its own of every network."""
    built = _Built(networks, _read_all(networks), [], [], {}, {})
    for index, (network, integers) in enumerate(zip(networks, built.integers, strict=True)):
        module = f"stage{index}"
        emitted = emit_network(module, integers, _by_name(network.folding, integers, module))
        not_stated, csim = _csim(integers, emitted)
        built.ports.append(_ports(module, integers))
        built.stages.append(_describe(integers, emitted, not_stated))
        built.generated.update(emitted.sources)
        built.files[f"networks/{module}.onnx"] = network.path.read_bytes()
        built.files.update(csim)
    return built


def _read_all(networks: Sequence[Network]) -> list[IntegerNetwork]:
    """The networks as integers; where several have problems, all of them are told."""
    found, problems = [], []
    for network in networks:
        try:
            integers, notes = integer_network(network.path, network.entry)
            _check_one_output("the network", integers)
        except CompileError as error:
            problems.append(CompileError(f"{network.path}: {error}"))
            continue
        for note in notes:
            warnings.warn(f"{network.path}: {note}", stacklevel=2)
        found.append(integers)
    if problems:
        raise CompileError("\n".join(map(str, problems))) from problems[0]
    return found


def _check_one_output(what: str, integers: IntegerNetwork) -> None:
    """Refuse what a kernel has no place for."""
    if len(integers.outputs) != 1:
        names = ", ".join(output.name for output in integers.outputs)
        raise CompileError(f"{what} has {len(integers.outputs)} outputs ({names}); export it with one output")


def _by_name(folding: Folding, integers: IntegerNetwork, module: str) -> Folding:
    """The folding with the whole names of its layers; a layer's own name or that of its module will do."""
    known: dict[str, list[str]] = {}
    for operator in integers.operators:
        if isinstance(operator, Matrix):
            for name in names_of(operator.name):
                known.setdefault(name, []).append(operator.name)
    unknown = sorted(name for name in folding.reuse if len(known.get(name, [])) != 1)
    if unknown:
        there = ", ".join(operator.name for operator in integers.operators if isinstance(operator, Matrix))
        raise CompileError(f"{module}: no layer {', '.join(unknown)}; name one of {there}")
    return Folding(folding.cycles, {known[name][0]: factor for name, factor in folding.reuse.items()})


def _ports(module: str, integers: IntegerNetwork) -> emit.Ports:
    entry, given = integers.entry.output, integers.operators[integers.outputs[0].source].output
    return emit.Ports(
        name=module,
        source=entry.shape,
        source_format=Format(entry.bits, 0, entry.signed),
        classes=given.shape.pixels * given.shape.channels,
        logit_bits=signed_bits(given.low, given.high),
        logit_beats=given.shape.pixels,
        logit_signed=given.signed,
    )


def _describe(integers: IntegerNetwork, emitted: EmittedNetwork, not_stated: str | None) -> Stage:
    output = integers.outputs[0]
    given = integers.operators[output.source].output
    bound, where = slowest(integers, emitted.units)
    return Stage(
        name=emitted.name,
        parameters=sum(unit.parameters for unit in emitted.units),
        outputs=given.shape.pixels * given.shape.channels,
        logit_bits=signed_bits(given.low, given.high),
        logit_scale=float(output.scale[0]),  # one of all channels: edgesight.hls.graph.logits sees to it
        logit_offset=float(output.offset[0]),
        logit_error=output.error,
        softmax=output.softmax,
        not_stated=not_stated,
        layers=[
            Layer(
                name=unit.name,
                kind=unit.kind,  # type: ignore[arg-type] # the schema checks it
                parameters=unit.parameters,
                multipliers=unit.multipliers,
                pe=unit.pe,
                simd=unit.simd,
                reuse_asked=unit.reuse_asked,
                reuse_built=unit.reuse_built,
                weight_bits=unit.weight_bits,
                accumulator_bits=unit.accumulator_bits,
                cycles=unit.cycles,
            )
            for unit in emitted.units
        ],
        bound_cycles=bound,
        bound_layer=where,
    )


def _csim(integers: IntegerNetwork, emitted: EmittedNetwork) -> tuple[str | None, dict[str, bytes]]:
    """hls4ml's C++ of a network, or why there is none."""
    asked = {unit.name: unit.reuse_asked for unit in emitted.units if unit.multipliers}
    try:
        return None, csim_files(integers, emitted.name, Folding(1, asked))
    except NotStated as reason:
        return str(reason), {}


def _write(name: str, built: _Built, data: DataSetFacts, backend: bytes | None, out: Path, *, alone: bool) -> Package:
    """Write the package around built stages."""
    first = built.ports[0]
    rtl, library, build_hash = _hardware(built, alone)
    files = {**built.files, **{f"{RTL}{file}": content for file, content in rtl.items()}}
    if backend is not None:
        files["datacenter.onnx"] = backend
    table = registers.own_map()
    taken = Input(
        height=first.source.height,
        width=first.source.width,
        channels=first.source.channels,
        bits=first.source_format.bits,
        signed=first.source_format.signed,
    )
    files["vectors.npz"] = _known_answers(built, taken)
    kernel = Kernel(
        schema_version=SCHEMA_VERSION,
        name=name,
        build_hash=build_hash,
        weights_sha256=weights_checksum(rtl),
        classes=list(data.classes),
        logits_in_record=alone,
        input=taken,
        backend_input=None if backend is None else BackEndInput.same_as(taken),
        stages=built.stages,
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


def _hardware(built: _Built, alone: bool) -> tuple[dict[str, bytes], dict[str, str], str]:
    """All files of the kernel around the stages' generated ones, the library's checksums, and the build hash."""

    def kernel(build_hash: str, weights: str) -> str:
        return emit.emit_kernel(built.ports, FRAME_SLOTS, build_hash, weights, logits_in_record=alone)

    library_texts = emit.library_of({**built.generated, TOP: kernel("0" * 8, "0" * 8)})
    library = {name: sha256(text.encode()) for name, text in library_texts.items()}
    rtl = {name: text.encode() for name, text in built.generated.items()}
    weights = weights_checksum(rtl)[:8]
    build_hash = structure_hash({**rtl, TOP: kernel("0" * 8, weights).encode()}, library)
    rtl[TOP] = kernel(build_hash, weights).encode()
    return rtl, library, build_hash


def _check_alike(ports: Sequence[emit.Ports]) -> None:
    """Refuse stages that do not take the same frames or tell the same classes apart."""
    first = ports[0]
    for other in ports[1:]:
        if (first.source, first.source_format, first.classes) != (other.source, other.source_format, other.classes):
            raise CompileError(
                f"the stages differ: {first.name} takes {first.source} and has {first.classes} classes, {other.name} "
                f"takes {other.source} and has {other.classes}; train all on the same data set and size"
            )


def _check_frame(source: Shape, classes: int) -> None:
    """Refuse inputs and outputs that a cascade cannot carry."""
    if source.channels not in (1, 3) or max(source.height, source.width) > MAX_SIDE:
        raise CompileError(
            f"the networks take {source} values a frame; a cascade's frames are pictures of 1 or 3 channels and at "
            f"most {MAX_SIDE} pixels a side: give the networks such an input, and flatten it in them"
        )
    if not 2 <= classes <= MAX_CLASSES:
        raise CompileError(
            f"the networks have {classes} outputs; a cascade needs 2 to {MAX_CLASSES} classes: train them on so many"
        )


def _check_size(ports: emit.Ports) -> None:
    """Refuse inputs and outputs that a kernel of a network alone cannot carry."""
    source = ports.source
    values = source.pixels * source.channels
    if max(source.height, source.width) > MAX_SIDE or source.channels > MAX_CLASSES or values > MAX_FRAME_BYTES // 2:
        raise CompileError(
            f"the network takes {source} values a frame; a kernel takes at most {MAX_SIDE} a side, {MAX_CLASSES} "
            f"channels and {MAX_FRAME_BYTES // 2} values: cut the input into parts"
        )
    if ports.classes > MAX_CLASSES:
        raise CompileError(
            f"the network has {ports.classes} outputs; a record carries at most {MAX_CLASSES}: cut it into parts"
        )


def _known_answers(built: _Built, taken: Input) -> bytes:
    """Vectors for a self-test: seeded random frames, and the integer logits of each stage.

    They are the integers that the networks were compiled to, held against the files' own arithmetic.
    """
    generator = np.random.default_rng(_VECTORS_SEED)
    low, high = built.integers[0].entry.output.low, built.integers[0].entry.output.high
    frames = generator.integers(low, high, (_VECTORS, *taken.shape), np.dtype(taken.element), endpoint=True)
    arrays: dict[str, Any] = {"images": frames}
    for network, integers, stage in zip(built.networks, built.integers, built.stages, strict=True):
        logits = Reference(integers).integers(np.asarray(frames, np.int64))[0].reshape(len(frames), -1)
        wanted = real_outputs(onnx.load(str(network.path)), frames * integers.entry.scale)[0].reshape(len(frames), -1)
        off = np.abs(logits * stage.logit_scale + stage.logit_offset - wanted).max()
        if off > stage.logit_error + _ROUNDING * np.abs(wanted).max():
            raise CompileError(
                f"{network.path}: the integers that it was compiled to are off by {off:.3g}; please report the network"
            )
        arrays[stage.name] = logits.astype(np.int32)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()
