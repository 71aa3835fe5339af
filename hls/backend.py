"""hls4ml's `RTL` backend: the plugin that hls4ml finds by the entry point `hls4ml.backends`.

It derives from hls4ml's Vitis backend, so that `compile()` and `predict()` run hls4ml's own bit-exact C++ and a
configuration carries over unchanged; writing a model adds a folder `rtl` with the network as SystemVerilog. What the
hardware cannot compute exactly is refused while converting, before anything is written.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from hls4ml.backends.vitis.vitis_backend import VitisBackend
from hls4ml.backends.vivado.vivado_backend import VivadoBackend
from hls4ml.model.flow import get_flow, register_flow
from hls4ml.model.optimizer import ModelOptimizerPass, register_pass
from hls4ml.writer.vitis_writer import VitisWriter

from hls.emit import emit_stage, identifier, library_sources
from hls.layers import extract
from host.files import write_atomically

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


class Check(ModelOptimizerPass):  # type: ignore[misc]
    """Refuse what the hardware cannot compute exactly, by layer name."""

    def __init__(self) -> None:
        """Name the pass."""
        super().__init__("check", None)

    def transform(self, model: Any) -> bool:
        """Raise hls.qonnx_graph.CompileError where a layer cannot be built; change nothing."""
        extract(model)
        return False


class Emit(ModelOptimizerPass):  # type: ignore[misc]
    """Write `rtl/` beside hls4ml's own project."""

    def __init__(self) -> None:
        """Name the pass."""
        super().__init__("emit", None)

    def transform(self, model: Any) -> bool:
        """Write the network as module `<project name>` with its weights and the library modules that it may use."""
        stage = emit_stage(identifier(model.config.get_project_name()), extract(model))
        folder = Path(model.config.get_output_dir()) / "rtl"
        folder.mkdir(parents=True, exist_ok=True)
        for name, text in {**library_sources(), **stage.sources}.items():
            write_atomically(folder / name, text.encode())
        return False


def register(register_backend: Callable[..., None], register_writer: Callable[..., None]) -> None:
    """Entry point: called by hls4ml when it is imported."""
    register_writer(BACKEND, VitisWriter)  # before the backend, whose constructor looks its writer up
    for name, transformation in (("check", Check), ("emit", Emit)):
        register_pass(name, transformation, backend=BACKEND)
    register_backend(BACKEND, RTLBackend)
