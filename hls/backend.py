"""hls4ml's `RTL` backend: the plugin that hls4ml loads by the entry point `edgesight.hls.register`.

It derives from hls4ml's Vitis backend, so that `compile()` and `predict()` run hls4ml's own bit-exact C++ and a
configuration carries over unchanged; writing a model adds a folder `rtl` with the network as SystemVerilog. What the
hardware cannot compute exactly is refused while converting, before anything is written.

The layers that hls4ml itself makes of a graph are placeholders: it is read as an integer network, whose layers take
their place (`edgesight.hls.cpp`).
"""

from __future__ import annotations

import hashlib
import sys
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from hls4ml.backends.backend import register_backend
from hls4ml.backends.vitis.vitis_backend import VitisBackend
from hls4ml.backends.vivado.vivado_backend import VivadoBackend
from hls4ml.model.flow import get_flow, register_flow
from hls4ml.model.layers import Input, layer_map
from hls4ml.model.optimizer import ModelOptimizerPass, register_pass
from hls4ml.model.types import FixedPrecisionType, IntegerPrecisionType
from hls4ml.writer.writers import register_writer

from edgesight.hls import build as building
from edgesight.hls import settings
from edgesight.hls.build_report import REPORT
from edgesight.hls.cpp import handlers
from edgesight.hls.cpp import layers as own_layers
from edgesight.hls.cpp.placement import BACKEND, place, route
from edgesight.hls.cpp.statements import NotStated
from edgesight.hls.cpp.writer import RTLWriter
from edgesight.hls.dataflow.operators import IntegerNetwork
from edgesight.hls.graph.integer_network import Format, integer_network
from edgesight.hls.library import library_modules
from edgesight.hls.network import CompileError, refuse
from edgesight.hls.qonnx_graph import calling
from edgesight.hls.rtl.network import emit_network
from edgesight.hls.rtl.units import plan
from edgesight.hls.verilog import identifier
from edgesight.host.files import write_atomically


class RTLBackend(VitisBackend):  # type: ignore[misc] # hls4ml carries no types
    """Streaming dataflow pipelines in SystemVerilog, folded by each layer's own ReuseFactor; needs no vendor tool."""

    def __init__(self) -> None:
        """Register layer attributes and flows under this backend's name."""
        # Past VitisBackend's and VivadoBackend's own constructors, which name themselves.
        super(VivadoBackend, self).__init__(name=BACKEND)
        own_layers.register(self)
        self._register_layer_attributes()
        self._register_flows()

    def _init_file_optimizers(self) -> dict[str, Any]:
        return {}  # passes are registered below; Vitis' own come with its flows

    def _register_flows(self) -> None:
        first = register_flow("read", ["rtl:read"], backend=self.name)
        requires = [first, *get_flow("vitis:ip").requires]
        needs = ["vivado:init_layers"]
        ours = register_flow("apply_templates", self._get_layer_templates, requires=needs, backend=self.name)
        requires.insert(requires.index("vivado:apply_templates"), ours)
        requires.append(register_flow("check", ["rtl:check"], requires=list(requires), backend=self.name))
        self._default_flow = register_flow("ip", None, requires=requires, backend=self.name)
        self._writer_flow = register_flow(
            "write", ["make_stamp", "rtl:write_hls", "rtl:emit"], requires=["rtl:ip"], backend=self.name
        )

    def create_initial_config(  # noqa: PLR0913 - hls4ml's own parameters
        self,
        part: str | None = None,
        clock_period: float | None = None,
        clock_uncertainty: str | None = None,
        io_type: str = "io_stream",
        namespace: str | None = None,
        write_weights_txt: bool = True,
        write_tar: bool = False,
        write_emulation_constants: bool = False,
        tb_output_stream: str = "both",
        **unknown: object,
    ) -> dict[str, Any]:
        """hls4ml's settings of a conversion, as Vitis' backend has them; `io_type` is `io_stream`.

        Raises CompileError naming arguments that no one would read, and an `io_type` that can't be built.
        """
        handlers.register()
        problems = [f"argument {name}: the RTL backend does not read it; leave it out" for name in sorted(unknown)]
        if io_type not in ("io_stream", None):
            problems.append(f"argument io_type: {io_type}; the hardware is a stream: use io_type='io_stream'")
        asked = _called_with("hls_config")
        problems += settings.check({} if asked is None else asked, self.convert_precision_string, layer_map)
        refuse(problems)
        read = None
        if (graph := _called_with("model")) is not None:
            read = _check_graph(graph, {} if asked is None else asked)
            handlers.check(read[0])
        config: dict[str, Any] = super().create_initial_config(
            part=part,
            clock_period=clock_period,
            clock_uncertainty=clock_uncertainty,
            io_type="io_stream",
            namespace=namespace,
            write_weights_txt=write_weights_txt,
            write_tar=write_tar,
            write_emulation_constants=write_emulation_constants,
            tb_output_stream=tb_output_stream,
        )
        return config if read is None else {**config, "Read": read}

    def build(self, model: Any, **options: object) -> dict[str, Any]:
        """Check the written RTL with Verilator and count its cells with Yosys: `edgesight.hls.build.build`.

        The report is in the project's folder, too, for `edgesight.hls.read_report`.
        """
        folder = Path(model.config.get_output_dir())
        if not (folder / "rtl").is_dir():
            model.write()
        return building.build(folder, identifier(model.config.get_project_name()), **options)

    def create_layer_class(self, layer_class: Any) -> Any:
        """hls4ml's class of a layer for this backend; that of the input, a model's first, checks the model."""
        made = super().create_layer_class(layer_class)
        made.initialize = _unless_unread(made.initialize, _stand_in)
        made._validate_attributes = _unless_unread(made._validate_attributes, lambda layer: None)
        made.__init__ = _checked(made.__init__) if layer_class is Input else _named(made.__init__)
        return made


def _unless_unread(usual: Callable[[Any], None], instead: Callable[[Any], None]) -> Callable[[Any], None]:
    """A method of a layer, or `instead` while the layer is one that an integer network's will take the place of."""
    return lambda layer: (instead if getattr(layer.model, "rtl_unread", False) else usual)(layer)


def _stand_in(layer: Any) -> None:
    """Outputs of any shape, which is all that hls4ml needs to make the layers behind."""
    for output in layer.outputs:
        layer.add_output_variable([1], out_name=output)


def _called_with(argument: str) -> Any:
    """An argument of `convert_from_onnx_model`, on whose behalf a backend is asked; None where another function asks.

    Read from hls4ml's own call. Of a configuration, hls4ml drops keys that it does not know and stumbles over values of
    other kinds before it hands a backend anything of it; of a graph, its parser stumbles over nodes.
    """
    frame = sys._getframe(1)
    while frame.f_code.co_name != "convert_from_onnx_model" or frame.f_globals["__name__"] != "hls4ml.converters":
        if frame.f_back is None:
            return None
        frame = frame.f_back
    return frame.f_locals.get(argument)


def _check_graph(graph: Any, hls: Mapping[str, Any]) -> tuple[Any, IntegerNetwork]:
    """The QONNX graph, loaded if a file's path is given, and the integer network that it is read as.

    `hls` is hls4ml's configuration. Warns of what the user should know. Raises CompileError naming what cannot be
    compiled.
    """
    loaded = onnx.load(graph) if isinstance(graph, str) else graph
    with calling("reading the graph"):
        network, notes = integer_network(handlers.original(loaded), otherwise=input_type(hls))
    for note in notes:
        warnings.warn(note, stacklevel=2)
    return loaded, network


def input_type(hls: Mapping[str, Any]) -> Format | None:
    """The model's default Precision, which hls4ml gives an input; None for one that is no fixed-point type."""
    precision = hls.get("Model", {}).get("Precision", "fixed<16,6>")
    precision = precision.get("default") if isinstance(precision, Mapping) else precision
    kind = VitisBackend.convert_precision_string(precision)
    if not isinstance(kind, FixedPrecisionType | IntegerPrecisionType):
        return None
    low = -(1 << (kind.width - 1)) if kind.signed else 0
    return Format(low, low + (1 << kind.width) - 1, 2.0 ** -(kind.width - kind.integer))


def _checked(initialise: Callable[..., None]) -> Callable[..., None]:
    """An input layer's constructor behind the check of graph and configuration.

    What hls4ml cannot read would stop it with an assertion of its own while it makes the layers behind.
    """

    def construct(self: Any, model: Any, *arguments: Any, **named: Any) -> None:
        if not model.graph and not hasattr(model, "rtl_route"):
            _settle(model)
        _named(initialise)(self, model, *arguments, **named)

    return construct


def _named(initialise: Callable[..., None]) -> Callable[..., None]:
    """A layer's constructor that takes the name `input`, which hls4ml keeps for itself and exporters like."""

    def construct(self: Any, model: Any, name: str, *arguments: Any, **named: Any) -> None:
        called = f"user_{name}" if getattr(model, "rtl_unread", False) and name == "input" else name
        initialise(self, model, called, *arguments, **named)

    return construct


def _settle(model: Any) -> None:
    """Check what a model is made of; `model.rtl_route` says how its integer network gets into it."""
    given, read = (model.config.config.pop(key, None) for key in ("Route", "Read"))
    model.rtl_unread = True  # until `Read` puts the network's layers in
    if given is not None:
        model.rtl_route = given
        return
    graph, network = read or _check_graph(_qonnx(model), model.config.config["HLSConfig"])
    named = handlers.original(graph).graph
    settings.apply(model.config, named, layer_map, frozenset(library_modules()))
    model.rtl_route = route(model.config, network, named)
    moved = [
        f"{unit.name} has ReuseFactor {unit.reuse_built} instead of {unit.reuse_asked}"
        f"{', the slowest that it has' if unit.reuse_built < unit.reuse_asked else ''}"
        for unit in plan(network, model.rtl_route.folding).values()
        if unit.multipliers and unit.reuse_built != unit.reuse_asked > 1  # 1 asks for the fastest there is
    ]
    if moved:
        warnings.warn(f"no fold has exactly the ReuseFactor asked for: {'; '.join(moved)}", stacklevel=2)


def _qonnx(model: Any) -> Any:
    """The QONNX graph that hls4ml was given."""
    graph = model.config.config.get("OnnxModel")
    if graph is None:
        raise CompileError(
            "the RTL backend compiles QONNX networks only: use convert_from_onnx_model, so that what is built can be "
            "held against the network"
        )
    return onnx.load(graph) if isinstance(graph, str) else graph


class Read(ModelOptimizerPass):  # type: ignore[misc]
    """Put the layers of an integer network in the place of those that hls4ml made of the user's graph."""

    def __init__(self) -> None:
        """Name the pass."""
        super().__init__("read", None)

    def transform(self, model: Any) -> bool:
        """Raise NotStated where hls4ml has no layer for an operator."""
        if model.rtl_unread:
            model.rtl_unread = False
            try:
                place(model, model.rtl_route)
            except NotStated as told:
                raise NotStated(f"{told}; compile it without hls4ml's C++, by `edgesight compile`") from told
        return False


class Check(ModelOptimizerPass):  # type: ignore[misc]
    """Remember what the layers are once hls4ml has made all of them."""

    def __init__(self) -> None:
        """Name the pass."""
        super().__init__("check", None)

    def transform(self, model: Any) -> bool:
        """Leave a fingerprint of each layer with the model."""
        model.rtl_made = _fingerprints(model)
        return False


def _fingerprints(model: Any) -> dict[str, str]:
    """What a user may change in a converted model: each layer's weights and reuse factor."""
    found = {}
    for node in model.get_layers():
        digest = hashlib.sha256(repr(model.config.get_reuse_factor(node)).encode())
        for weight in node.get_weights():
            digest.update(np.asarray(weight.data).tobytes())
        found[node.name] = digest.hexdigest()
    return found


class Emit(ModelOptimizerPass):  # type: ignore[misc]
    """Write `rtl/` beside hls4ml's own project."""

    def __init__(self) -> None:
        """Name the pass."""
        super().__init__("emit", None)

    def transform(self, model: Any) -> bool:
        """Write the network as module `<project name>` with its weights and the library modules that it uses.

        Raises CompileError where a layer was changed after the conversion: the network stays as it was read.
        """
        made = _fingerprints(model)
        refuse(
            f"layer {name}: its weights or its ReuseFactor were changed after the conversion; change the QONNX network "
            "or the configuration, and convert it again"
            for name in sorted(made.keys() | model.rtl_made.keys())
            if made.get(name) != model.rtl_made.get(name)
        )
        if model.rtl_route.rtl:
            name = identifier(model.config.get_project_name())
            project = Path(model.config.get_output_dir())
            (project / REPORT).unlink(missing_ok=True)  # of what was written here before
            folder = project / "rtl"
            folder.mkdir(parents=True, exist_ok=True)
            for file, text in emit_network(name, model.rtl_route.network, model.rtl_route.folding).project().items():
                write_atomically(folder / file, text.encode())
        return False


def _register() -> None:
    """Tell hls4ml of the backend, once, when this module is loaded."""
    register_writer(BACKEND, RTLWriter)  # before the backend, whose constructor looks its writer up
    for name, transformation in (("read", Read), ("check", Check), ("emit", Emit)):
        register_pass(name, transformation, backend=BACKEND)
    register_backend(BACKEND, RTLBackend)


_register()
