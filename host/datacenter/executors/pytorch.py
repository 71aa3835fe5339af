"""PyTorch models: `torch.export`'s archives (.pt2) and TorchScript, on the CPU or a GPU.

Both are loaded without the code that made them. TorchScript does not tell its shapes: config.pbtxt has to.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from edgesight.host.datacenter.executors.base import (
    DATATYPES,
    Arrays,
    ModelError,
    Recipe,
    RunPictures,
    batch_of,
    check_declared,
    first_line,
)
from edgesight.host.doors.served import TensorForm
from edgesight.host.kernel import BackEndInput


class PytorchExecutor:
    """A PyTorch model; its options are `threads`, `device` (cpu, cuda) and `compile` (true: by `torch.compile`).

    Where its recipe has a form of pictures, these are made tensors on the device.
    """

    run_pictures: RunPictures | None

    def __init__(self, recipe: Recipe, content: bytes) -> None:
        """Load the model of the file `content`; raises ModelError."""
        try:
            import torch
        except ImportError as error:
            raise ModelError(f"{recipe.name}: torch is not installed: `pip install torch`") from error
        self._torch = torch
        torch.set_num_threads(recipe.threads())
        device = recipe.options.get("device", "cpu")
        if device not in ("cpu", "cuda") or (device == "cuda" and not torch.cuda.is_available()):
            raise ModelError(f"{recipe.name}: PyTorch has no device {device!r} here: state `device` cpu")
        self._device = torch.device(device)
        try:
            module, inputs, outputs = self._load(recipe, content)
        except ModelError:
            raise
        except Exception as error:
            raise ModelError(
                f"{recipe.name} is no model that PyTorch can load ({first_line(error)}): give a file of "
                "`torch.export.save` or `torch.jit.save`"
            ) from error
        self.inputs, self.outputs = inputs, outputs
        self.max_batch_size = batch_of(recipe, self.inputs, self.outputs)
        self._module = torch.compile(module) if recipe.options.get("compile") == "true" else module
        self.run_pictures = self._pictures_runner(recipe) if recipe.form else None

    def _load(self, recipe: Recipe, content: bytes) -> tuple[Any, Sequence[TensorForm], Sequence[TensorForm]]:
        torch = self._torch
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            script = any("/code/" in name for name in archive.namelist())
        if script:
            if not (recipe.inputs and recipe.outputs):
                raise ModelError(
                    f"{recipe.name} is TorchScript, which does not tell its shapes: declare input and output, in its "
                    "order, in config.pbtxt"
                )
            module = torch.jit.load(io.BytesIO(content), map_location=self._device).eval()
            return module, recipe.inputs, recipe.outputs
        program = torch.export.load(io.BytesIO(content))
        if self._device.type != "cpu":
            from torch.export.passes import move_to_device_pass

            program = move_to_device_pass(program, self._device)
        inputs, outputs = self._ports(program)
        check_declared(recipe, "input", recipe.inputs, inputs)
        if recipe.outputs and len(recipe.outputs) != len(outputs):
            raise ModelError(
                f"{recipe.name}: {len(recipe.outputs)} outputs are declared, but it gives {len(outputs)}: mend "
                "config.pbtxt"
            )
        return program.module(), recipe.inputs or inputs, recipe.outputs or outputs

    def _ports(self, program: Any) -> tuple[tuple[TensorForm, ...], tuple[TensorForm, ...]]:
        """Inputs by the argument's names; outputs, which have none, as Triton calls them."""
        nodes = {node.name: node.meta.get("val") for node in program.graph.nodes}
        signature = program.graph_signature
        inputs = tuple(self._form(name, nodes[name]) for name in signature.user_inputs)
        outputs = tuple(
            self._form(f"OUTPUT__{place}", nodes[name]) for place, name in enumerate(signature.user_outputs)
        )
        return inputs, outputs

    def _form(self, name: str, value: Any) -> TensorForm:
        dtype = np.dtype(str(value.dtype).removeprefix("torch.").replace("bool", "bool_"))
        return TensorForm(name, DATATYPES[dtype], tuple(side if isinstance(side, int) else -1 for side in value.shape))

    def run(self, arrays: Arrays, wanted: Sequence[str] = ()) -> dict[str, npt.NDArray[Any]]:
        """As `Executor` says."""
        torch = self._torch
        try:
            with torch.inference_mode():
                taken = [torch.from_numpy(arrays[port.name]).to(self._device) for port in self.inputs]
                return self._given(taken, wanted)
        except Exception as error:
            raise self._failure(error) from error

    def _pictures_runner(self, recipe: Recipe) -> RunPictures:
        from edgesight.host.datacenter.executors.device_pictures import DevicePictures

        form = BackEndInput.model_validate_json(recipe.form)
        pictures = DevicePictures(recipe.name, self._device, form)
        pictures.check(self.inputs)

        def run(
            files: Sequence[bytes], wanted: Sequence[str] = ()
        ) -> tuple[dict[str, npt.NDArray[Any]], dict[int, str]]:
            try:
                with self._torch.inference_mode():
                    batch, faults = pictures.batch(files)
                    return self._given([batch], wanted), faults
            except Exception as error:
                raise self._failure(error) from error

        return run

    def _given(self, taken: Sequence[Any], wanted: Sequence[str]) -> dict[str, npt.NDArray[Any]]:
        """The outputs `wanted` for tensors on the device; each is copied from it once."""
        given = self._module(*taken)
        if isinstance(given, self._torch.Tensor):
            given = (given,)
        found = zip(self.outputs, given, strict=True)
        return {port.name: tensor.cpu().numpy() for port, tensor in found if not wanted or port.name in wanted}

    def _failure(self, error: Exception) -> ModelError:
        """What to raise for `error`; where the GPU's context is lost, in which no call would ever work, this ends."""
        if self._device.type == "cuda":
            try:
                self._torch.cuda.synchronize()
            except Exception as lost:
                raise SystemExit(f"the GPU is lost to this process ({first_line(lost)})") from error
        return ModelError(first_line(error))
