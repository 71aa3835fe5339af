"""hls4ml's `RTL` backend: the plugin that hls4ml loads by the entry point `edgesight.hls.register`.

It derives from hls4ml's Vitis backend, so that `compile()` and `predict()` run hls4ml's own bit-exact C++ and a
configuration carries over unchanged; writing a model adds a folder `rtl` with the network as SystemVerilog. What the
hardware cannot compute exactly is refused while converting, before anything is written.
"""

from __future__ import annotations

import functools
import hashlib
import inspect
import re
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hls4ml.utils.config
import numpy as np
import onnx
from hls4ml.backends.backend import register_backend
from hls4ml.backends.vitis.vitis_backend import VitisBackend
from hls4ml.backends.vivado.vivado_backend import VivadoBackend
from hls4ml.model.flow import get_flow, register_flow
from hls4ml.model.layers import Input, layer_map
from hls4ml.model.optimizer import ModelOptimizerPass, register_pass
from hls4ml.writer.vitis_writer import VitisWriter
from hls4ml.writer.writers import register_writer

from edgesight.hls import settings
from edgesight.hls.emit import emit_project, identifier, library_modules
from edgesight.hls.graph.read import read
from edgesight.hls.layers import compare, extract, matrices
from edgesight.hls.network import CompileError, refuse
from edgesight.hls.qonnx_graph import calling
from edgesight.host.files import write_atomically

BACKEND = "RTL"


class RTLBackend(VitisBackend):  # type: ignore[misc] # hls4ml carries no types
    """Streaming dataflow pipelines in SystemVerilog, folded by each layer's own ReuseFactor; needs no vendor tool."""

    def __init__(self) -> None:
        """Register layer attributes and flows under this backend's name."""
        # Past VitisBackend's and VivadoBackend's own constructors, which name themselves.
        super(VivadoBackend, self).__init__(name=BACKEND)
        self._register_layer_attributes()
        self._register_flows()

    def _init_file_optimizers(self) -> dict[str, Any]:
        return {}  # passes are registered below; Vitis' own come with its flows

    def _register_flows(self) -> None:
        check = register_flow("check", ["rtl:check"], requires=["vitis:ip"], backend=self.name)
        requires = [*get_flow("vitis:ip").requires, check]
        self._default_flow = register_flow("ip", None, requires=requires, backend=self.name)
        self._writer_flow = register_flow(
            "write", ["make_stamp", "vitis:write_hls", "rtl:emit"], requires=["rtl:ip"], backend=self.name
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
        problems = [f"argument {name}: the RTL backend does not read it; leave it out" for name in sorted(unknown)]
        if io_type not in ("io_stream", None):
            problems.append(f"argument io_type: {io_type}; the hardware is a stream: use io_type='io_stream'")
        asked = _called_with("hls_config")
        problems += settings.check({} if asked is None else asked, self.convert_precision_string, layer_map)
        refuse(problems)
        if (graph := _called_with("model")) is not None:
            _check_graph(graph)
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
        return config

    def create_layer_class(self, layer_class: Any) -> Any:
        """hls4ml's class of a layer for this backend; that of the input, a model's first, checks the model."""
        made = super().create_layer_class(layer_class)
        if layer_class is Input:
            made.__init__ = _checked(made.__init__)
        return made


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


def _check_graph(graph: Any) -> Any:
    """The QONNX graph, loaded if a file's path is given; raises CompileError where it lacks what hls4ml needs."""
    loaded = onnx.load(graph) if isinstance(graph, str) else graph
    with calling("reading the graph"):
        read(loaded, for_hls4ml=True)
    return loaded


def _checking_first(configure: Callable[..., Any]) -> Callable[..., Any]:
    """hls4ml's `config_from_onnx_model` behind the check of the graph, where it is asked for this backend.

    It parses the whole graph without asking the backend that it is given, and the parser's own messages name no layer.
    """

    @functools.wraps(configure)
    def check_and_configure(model: Any, *arguments: Any, **named: Any) -> Any:
        asked = inspect.signature(configure).bind_partial(model, *arguments, **named).arguments.get("backend")
        if str(asked).lower() == BACKEND.lower():
            _check_graph(model)
        return configure(model, *arguments, **named)

    return check_and_configure


def _checked(initialise: Callable[..., None]) -> Callable[..., None]:
    """An input layer's constructor behind the check of graph and configuration.

    What hls4ml cannot read would stop it with an assertion of its own while it makes the layers behind.
    """

    def construct(self: Any, model: Any, *arguments: Any, **named: Any) -> None:
        if not model.graph:
            graph = _check_graph(_qonnx(model))
            settings.apply(model.config, graph.graph, layer_map, frozenset(library_modules()))
        initialise(self, model, *arguments, **named)

    return construct


def _qonnx(model: Any) -> Any:
    """The QONNX graph that hls4ml was given."""
    graph = model.config.config.get("OnnxModel")
    if graph is None:
        raise CompileError(
            "the RTL backend compiles QONNX networks only: use convert_from_onnx_model, so that what is built can be "
            "held against the network"
        )
    return onnx.load(graph) if isinstance(graph, str) else graph


class Check(ModelOptimizerPass):  # type: ignore[misc]
    """Refuse what the hardware cannot compute exactly, by layer name."""

    def __init__(self) -> None:
        """Name the pass."""
        super().__init__("check", None)

    def transform(self, model: Any) -> bool:
        """Raise CompileError where a layer cannot be built, or not as QONNX has it; leave the layers with the model."""
        layers = extract(model)
        compare(layers, read(_qonnx(model)))
        _check_layer_names(model)
        model.rtl_layers, model.rtl_checked = layers, _fingerprint(model)
        moved = [
            f"{layer.name} has ReuseFactor {layer.fold.cycles} instead of {layer.reuse_asked}"
            f"{', the slowest that it has' if layer.fold.cycles < layer.reuse_asked else ''}"
            for layer in matrices(layers)
            if layer.fold.cycles != layer.reuse_asked > 1  # 1 asks for the fastest there is
        ]
        if moved:
            warnings.warn(f"no fold has exactly the ReuseFactor asked for: {'; '.join(moved)}", stacklevel=2)
        return False


def _fingerprint(model: Any) -> str:
    """What a user may change in a converted model: its layers' weights and reuse factors."""
    digest = hashlib.sha256()
    for node in model.get_layers():
        digest.update(repr((node.name, model.config.get_reuse_factor(node))).encode())
        for weight in node.get_weights():
            digest.update(np.asarray(weight.data).tobytes())
    return digest.hexdigest()


def _check_layer_names(model: Any) -> None:
    """Layer names become identifiers of C++ and parts of file names, and hls4ml's settings ignore their case."""
    problems, seen = [], dict[str, str]()
    for node in model.get_layers():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", node.name) or len(node.name) > settings.LONGEST_NAME:
            problems.append(
                f"layer {node.name[:200]}: its name is no identifier of letters A to Z, digits and _, at most "
                f"{settings.LONGEST_NAME} of them; prepare the graph with edgesight.hls.qonnx_graph.load, which "
                "names layers anew"
            )
        if (other := seen.setdefault(node.name.lower(), node.name)) != node.name:
            problems.append(f"layers {other} and {node.name}: their names differ in case only; rename one")
    refuse(problems)


class Emit(ModelOptimizerPass):  # type: ignore[misc]
    """Write `rtl/` beside hls4ml's own project."""

    def __init__(self) -> None:
        """Name the pass."""
        super().__init__("emit", None)

    def transform(self, model: Any) -> bool:
        """Write the network as module `<project name>` with its weights and the library modules that it uses.

        The layers are those that `Check` found when the model was converted; what was changed since is checked again.
        """
        if model.rtl_checked != _fingerprint(model):
            Check().transform(model)
        folder = Path(model.config.get_output_dir()) / "rtl"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in emit_project(identifier(model.config.get_project_name()), model.rtl_layers).items():
            write_atomically(folder / name, text.encode())
        # hls4ml asserts that poolings do not overlap, though its code for streams computes those that do.
        script = folder.parent / "build_lib.sh"
        script.write_text(script.read_text().replace('CFLAGS="-O3 -fPIC"', 'CFLAGS="-O3 -fPIC -DNDEBUG"'))
        return False


def _register() -> None:
    """Tell hls4ml of the backend, once, when this module is loaded."""
    register_writer(BACKEND, VitisWriter)  # before the backend, whose constructor looks its writer up
    for name, transformation in (("check", Check), ("emit", Emit)):
        register_pass(name, transformation, backend=BACKEND)
    register_backend(BACKEND, RTLBackend)
    configure = _checking_first(hls4ml.utils.config.config_from_onnx_model)
    hls4ml.utils.config.config_from_onnx_model = configure
    hls4ml.utils.config_from_onnx_model = configure


_register()
