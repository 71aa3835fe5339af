"""From one to four QONNX files to a kernel package: convert, fold, emit, pack."""

from __future__ import annotations

import functools
import importlib.metadata
import io
import re
import warnings
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from edgesight.hls import emit, qonnx_graph, registers
from edgesight.hls.checks import (
    FRAME_SLOTS,
    check_alike,
    check_frame,
    check_logits,
    check_one_output,
    check_one_place,
    check_order,
    check_size,
)
from edgesight.hls.cpp.handlers import original
from edgesight.hls.cpp.model import model_graph
from edgesight.hls.cpp.package import csim_files
from edgesight.hls.cpp.statements import NotStated
from edgesight.hls.datacenter import BackEnd, form_of
from edgesight.hls.dataflow.exits import cut, multiplications, needed
from edgesight.hls.dataflow.operators import IntegerNetwork, Stream
from edgesight.hls.dataflow.reference import Reference, real_values
from edgesight.hls.dataflow.runtime import hardware_of, is_loaded
from edgesight.hls.folding import Folding as Folding
from edgesight.hls.folding import Runtime
from edgesight.hls.graph.integer_network import MAX_INPUT_BITS, integer_network
from edgesight.hls.graph.integer_network import Format as EntryFormat
from edgesight.hls.graph.maps import real_outputs
from edgesight.hls.layers import Layer as Hardware
from edgesight.hls.layers import layers_of
from edgesight.hls.library import library_modules
from edgesight.hls.network import CompileError, Format, refuse
from edgesight.hls.reuse import by_name
from edgesight.hls.rtl.image import told_of, weights_image
from edgesight.hls.rtl.network import EmittedNetwork, emit_network
from edgesight.hls.rtl.streams import pixel_bits
from edgesight.hls.rtl.units import Unit, signed_bits, slowest
from edgesight.hls.settings import check_name
from edgesight.host.files import sha256
from edgesight.host.kernel import (
    EXITS,
    MAX_STAGES,
    SCHEMA_VERSION,
    Input,
    Kernel,
    Layer,
    RuntimeWeights,
    Stage,
    Trunk,
)
from edgesight.host.package import RTL, TOP, Package, structure_hash, weights_checksum, write_package

CLOCK_MHZ = 100.0
_VECTORS, _VECTORS_SEED = 16, 0
_TOOLS = ("hls4ml", "qonnx", "numpy")
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
    name: str, networks: Sequence[Network], data: DataSetFacts, backend: BackEnd | None, out: Path,
    slots: int = FRAME_SLOTS,
) -> Package:  # fmt: skip
    """Compile the cascade's networks, one to four, into the kernel package `out`, replacing what was there.

    `backend` is the data centre's model, packed beside the kernel, which buffers `slots` frames. Raises CompileError
    naming the layer that cannot be exact, or where the back end is not of its form or the classes; nothing is written.
    """
    if not 1 <= len(networks) <= MAX_STAGES:
        raise CompileError(
            f"a cascade has 1 to {MAX_STAGES} stages; {len(networks)} networks were given: give one for each stage"
        )
    return _cascade(name, _parts(networks), data, backend, out, slots)


def compile_exits(
    name: str, path: Path, foldings: Sequence[Folding], data: DataSetFacts, backend: BackEnd | None, out: Path,
    slots: int = FRAME_SLOTS,
) -> Package:  # fmt: skip
    """Compile the QONNX file of a network with two to four outputs into the cascade of its exits, a folding each.

    Each stage after the first goes on from features that the one before leaves. Raises CompileError naming the layer
    that cannot be exact, or where the network cannot be cut; then nothing is written.
    """
    whole = read_network(path)
    count = len(whole.outputs)
    if not 2 <= count <= MAX_STAGES or count != len(foldings):
        raise CompileError(
            f"{path}: has {count} outputs, and foldings for {len(foldings)} stages were given; give 2 to "
            f"{MAX_STAGES} outputs, and a folding for each"
        )
    try:
        stages = cut(whole)
    except CompileError as error:
        raise CompileError(f"{path}: {error}") from error
    parts: list[_Part] = []
    for exit_, (integers, folding) in enumerate(zip(stages, foldings, strict=True)):
        last = parts[-1] if parts else None
        left = None if last is None else last.hardware.operators[last.hardware.outputs[1].source].output
        hardware = _as_built(path, integers, folding, left)
        before = None if last is None else last.to_features
        parts.append(_Part(path, integers, folding, hardware, exit_, before))
    return _cascade(name, parts, data, backend, out, slots)


def compile_alone(name: str, network: Network, out: Path) -> Package:
    """Compile a network alone into the kernel package `out`, replacing what was there.

    Its records carry its logits, whatever they mean: classes need not be known, nor what it was trained on. Raises
    CompileError naming the layer that cannot be exact; then nothing is written.
    """
    parts = _parts([network])
    ports = _ports_of(parts)
    check_size(ports[0])
    return _write(name, _build(parts, ports), DataSetFacts("none", "", []), None, out, alone=True)


def convert(graph: Any, module: str, folding: Folding, folder: Path) -> tuple[list[Hardware], Any]:
    """The hardware layers of a graph that `qonnx_graph.load` read, and hls4ml's model of it as the project `module`.

    Nothing is written into `folder` before the model's `write()`. Raises CompileError for what cannot be compiled,
    `module` as a name included.
    """
    refuse(check_name(module, frozenset(library_modules())))
    integers, notes = integer_network(original(graph))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    check_one_output(module, integers)
    named = _by_name(folding, integers, module)
    layers = layers_of(integers, named)
    with qonnx_graph.calling("converting the network with hls4ml"):
        return layers, model_graph(integers, module, folder, named, rtl=True)


@dataclass(frozen=True)
class _Part:
    """What a stage is made of: a QONNX file, or what leads to one of its exits."""

    path: Path
    integers: IntegerNetwork  # the second of its outputs are the features that it leaves, if it leaves any
    folding: Folding
    hardware: IntegerNetwork  # as it is built, which computes the same
    exit: int = 0  # the file's output that the stage's logits are
    before: int | None = None  # multiplications from pixels to the features that it goes on from; None: at the pixels

    @property
    def to_features(self) -> int:
        """Multiplications from the pixels to the features that it leaves."""
        return (self.before or 0) + multiplications(
            self.integers, needed(self.integers, [self.integers.outputs[1].source])
        )


@dataclass(frozen=True)
class _Built:
    """What the networks of a package became: by stage, and their files."""

    parts: Sequence[_Part]
    ports: Sequence[emit.Ports]
    stages: list[Stage] = field(default_factory=list)
    generated: dict[str, str] = field(default_factory=dict)  # SystemVerilog and memories: file name -> text
    files: dict[str, bytes] = field(default_factory=dict)  # of the package
    loaded: list[str] = field(default_factory=list)  # contents of the memories that are written at run time
    slots: int = FRAME_SLOTS

    @property
    def runtime_weights(self) -> RuntimeWeights | None:
        """What the package says of all that is loaded at run time; None where nothing is."""
        named = list(zip([stage.name for stage in self.stages], self.parts, strict=True))
        whole = [name for name, part in named if part.folding.runtime and part.folding.runtime.layers is None]
        return told_of(self.loaded, [(name, part.hardware) for name, part in named], whole)


def _build(parts: Sequence[_Part], ports: Sequence[emit.Ports], slots: int = FRAME_SLOTS) -> _Built:
    """Make a stage of every part."""
    built = _Built(parts, ports, slots=slots)
    units: Sequence[Unit] = ()  # of the stage before
    for index, part in enumerate(parts):
        module, integers = ports[index].name, part.integers
        emitted = emit_network(
            module, part.hardware, _by_name(part.folding, integers, module), first_memory=len(built.loaded)
        )
        not_stated, csim = _csim(integers, emitted)
        trunk = None if part.before is None else _trunk(index, part.before, parts[index - 1].hardware, units)
        built.stages.append(_describe(part.hardware, emitted, not_stated, trunk))
        built.loaded.extend(emitted.sources[file] for file in emitted.loaded)
        built.generated.update(emitted.sources)
        built.files.update(csim)
        units = emitted.units
    return built


def _parts(networks: Sequence[Network]) -> list[_Part]:
    """A part of every network; where several have problems, all of them are told."""
    found, problems = [], []
    for network in networks:
        try:
            integers = read_network(network.path, network.entry)
            check_one_output(f"{network.path}: the network", integers)
            hardware = _as_built(network.path, integers, network.folding)
        except CompileError as error:
            problems.append(error)
            continue
        found.append(_Part(network.path, integers, network.folding, hardware))
    if problems:
        raise CompileError("\n".join(map(str, problems))) from problems[0]
    return found


def _as_built(path: Path, integers: IntegerNetwork, folding: Folding, entry: Stream | None = None) -> IntegerNetwork:
    """The hardware's network; `entry`: the stream of features that a stage goes on from."""
    wider = entry is not None and entry != integers.entry.output
    try:
        return hardware_of(integers, folding.runtime or (Runtime(()) if wider else None), entry)
    except CompileError as error:
        raise CompileError(f"{path}: {error}") from error


def read_network(path: Path, entry: EntryFormat | None = None) -> IntegerNetwork:
    """The network's file as integers; what is to be known of it is warned of."""
    try:
        integers, notes = integer_network(path, entry)
    except CompileError as error:
        raise CompileError(f"{path}: {error}") from error
    check_order(path, integers)
    for note in notes:
        warnings.warn(f"{path}: {note}", stacklevel=2)
    return integers


def _by_name(folding: Folding, integers: IntegerNetwork, module: str) -> Folding:
    """The folding with the whole names of its layers."""
    return replace(folding, reuse=by_name(folding.reuse, integers, module))


def _ports_of(parts: Sequence[_Part]) -> list[emit.Ports]:
    """The ports of the stages that the parts become."""
    for part in parts:
        check_logits(part.path, part.hardware)
    return [_ports(f"stage{index}", part) for index, part in enumerate(parts)]


def _ports(module: str, part: _Part) -> emit.Ports:
    integers = part.hardware
    entry, given, *left = (
        integers.entry.output,
        *(integers.operators[output.source].output for output in integers.outputs),
    )
    return emit.Ports(
        name=module,
        source=entry.shape,
        source_format=Format(entry.bits, 0, entry.signed),
        classes=given.shape.pixels * given.shape.channels,
        logit_bits=signed_bits(given.low, given.high),
        logit_beats=given.shape.pixels,
        logit_signed=given.signed,
        leaves=emit.Features(left[0].shape.pixels, pixel_bits(left[0])) if left else None,
        goes_on=part.before is not None,
        runtime=is_loaded(part.hardware),
    )


def _input_of(ports: emit.Ports) -> Input:
    """What a frame of a kernel whose first stage has these ports holds."""
    return Input(
        height=ports.source.height,
        width=ports.source.width,
        channels=ports.source.channels,
        bits=ports.source_format.bits,
        signed=ports.source_format.signed,
    )


def _trunk(stage: int, before: int, integers: IntegerNetwork, units: Sequence[Unit]) -> Trunk:
    """What stage `stage` goes on from: the features that the network `integers`, built of `units`, leaves."""
    source = integers.outputs[1].source
    left = integers.operators[source].output
    layer = next(unit.name for unit in units if source in (unit.place, unit.fused))
    return Trunk(
        stage=stage - 1,
        layer=layer,
        height=left.shape.height,
        width=left.shape.width,
        channels=left.shape.channels,
        bits=left.bits,
        signed=left.signed,
        multiplications=before,
    )


def _describe(integers: IntegerNetwork, emitted: EmittedNetwork, not_stated: str | None, trunk: Trunk | None) -> Stage:
    output = integers.outputs[0]
    given = integers.operators[output.source].output
    bound, where = slowest(integers, emitted.units)
    return Stage(
        name=emitted.name,
        trunk=trunk,
        parameters=sum(unit.parameters for unit in emitted.units),
        multiplications=multiplications(integers),
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


def _cascade(
    name: str, parts: Sequence[_Part], data: DataSetFacts, backend: BackEnd | None, out: Path, slots: int
) -> Package:
    """Write the package of a cascade, if its stages fit each other and the data."""
    ports = _ports_of(parts)
    check_alike([part.integers for part in parts], ports)
    check_frame(ports[0], slots)
    for part in parts:
        check_one_place(part.path, part.integers)
    if len(data.classes) != ports[0].classes:
        raise CompileError(
            f"{len(data.classes)} class names for networks with {ports[0].classes} outputs: give a name for each output"
        )
    twice = sorted(name for name, count in Counter(data.classes).items() if count > 1)
    if twice:
        raise CompileError(f"classes: {twice[0]!r} is there twice; give every class a name of its own")
    if backend is not None:
        form_of(backend, _input_of(ports[0]), len(data.classes))  # refused before the work
    built = _build(parts, ports, slots)
    return _write(name, built, data, backend, out, alone=False)


def _write(name: str, built: _Built, data: DataSetFacts, backend: BackEnd | None, out: Path, *, alone: bool) -> Package:
    """Write the package around built stages."""
    rtl, library, build_hash = _hardware(built, alone)
    files = {**built.files, **{f"{RTL}{file}": content for file, content in rtl.items()}}
    exits = any(part.before is not None for part in built.parts)
    for index, part in enumerate(built.parts):
        files[f"networks/{EXITS if exits else f'stage{index}'}.onnx"] = part.path.read_bytes()
    if backend is not None:
        files["datacenter.onnx"] = backend.model
    runtime = built.runtime_weights
    if runtime is not None:
        files[runtime.file] = weights_image(built.loaded)
    table = registers.own_map()
    taken = _input_of(built.ports[0])
    files["vectors.npz"] = _known_answers(built, taken)
    kernel = Kernel(
        schema_version=SCHEMA_VERSION,
        name=name,
        build_hash=build_hash,
        weights_sha256=weights_checksum(rtl),
        classes=list(data.classes),
        logits_in_record=alone,
        input=taken,
        backend_input=None if backend is None else form_of(backend, taken, len(data.classes)),
        stages=built.stages,
        library=library,
        threshold_sets=table.constants["threshold_sets"].value,
        frame_slots=built.slots,
        clock_mhz=CLOCK_MHZ,
        registers={register.name: register.offset for register in table.registers},
        dataset=data.name,
        dataset_sha256=data.sha256,
        tools={tool: importlib.metadata.version(tool) for tool in _TOOLS},
        calibration=None,
        runtime_weights=runtime,
        files={file: sha256(content) for file, content in files.items()},
    )
    return write_package(out, kernel, files)


def _hardware(built: _Built, alone: bool) -> tuple[dict[str, bytes], dict[str, str], str]:
    """All files of the kernel around the stages' generated ones, the library's checksums, and the build hash."""

    def kernel(build_hash: str, weights: str) -> str:
        return emit.emit_kernel(
            built.ports, built.slots, build_hash, weights, logits_in_record=alone, weights_words=words
        )  # fmt: skip

    words = built.runtime_weights.words if built.runtime_weights is not None else 0
    library_texts = emit.library_of({**built.generated, TOP: kernel("0" * 8, "0" * 8)})
    library = {name: sha256(text.encode()) for name, text in library_texts.items()}
    rtl = {name: text.encode() for name, text in built.generated.items()}
    weights = weights_checksum(rtl)[:8]
    build_hash = structure_hash({**rtl, TOP: kernel("0" * 8, weights).encode()}, library)
    rtl[TOP] = kernel(build_hash, weights).encode()
    return rtl, library, build_hash


def _known_answers(built: _Built, taken: Input) -> bytes:
    """Vectors for a self-test: seeded random frames, and the integer logits of each stage.

    They are the integers that the networks were compiled to, held against the files' own arithmetic.
    """
    generator = np.random.default_rng(_VECTORS_SEED)
    entry = built.parts[0].integers.entry
    low, high = entry.output.low, entry.output.high
    frames = generator.integers(low, high, (_VECTORS, *taken.shape), np.dtype(taken.element), endpoint=True)
    arrays: dict[str, Any] = {"images": frames}
    ends: dict[Path, dict[int, Any]] = {}  # by file and its exits
    for part in built.parts:
        ends.setdefault(part.path, {})[part.exit] = part.integers.ends[0]

    @functools.cache
    def truth(path: Path) -> list[Any]:
        return real_outputs(onnx.load(str(path)), frames * entry.scale, list(ends[path].values()))

    pixels = left = np.asarray(frames, np.int64)
    for part, stage in zip(built.parts, built.stages, strict=True):
        given = Reference(part.integers).integers(pixels if part.before is None else left)
        left = given[-1]
        wanted = truth(part.path)[part.exit].reshape(len(frames), -1)
        made = real_values(part.integers.outputs[0], given[0]).reshape(len(frames), -1)
        off = np.abs(made - wanted).max()
        if off > stage.logit_error + _ROUNDING * np.abs(wanted).max():
            raise CompileError(
                f"{part.path}: the integers that it was compiled to are off by {off:.3g}; please report the network"
            )
        arrays[stage.name] = given[0].reshape(len(frames), -1).astype(np.int32)
    packed = io.BytesIO()
    np.savez_compressed(packed, **arrays)
    return packed.getvalue()
