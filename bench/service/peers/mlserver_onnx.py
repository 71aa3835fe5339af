"""MLServer's runtime of an ONNX file. It is copied beside the models and imported by MLServer alone."""

import numpy as np
import onnxruntime
from mlserver import MLModel
from mlserver.codecs import NumpyCodec
from mlserver.types import InferenceRequest, InferenceResponse
from mlserver.utils import get_model_uri


class Onnx(MLModel):  # type: ignore[misc]  # it has no types here
    """One model, by ONNX Runtime, with one thread as ours has."""

    async def load(self) -> bool:
        """Read the file that the settings name."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = await get_model_uri(self.settings)
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        (self._input,) = self._session.get_inputs()
        (self._output,) = self._session.get_outputs()
        return True

    async def predict(self, payload: InferenceRequest) -> InferenceResponse:
        """Its one output for its one input."""
        array = NumpyCodec.decode_input(payload.inputs[0])
        (found,) = self._session.run(None, {self._input.name: np.ascontiguousarray(array)})
        output = NumpyCodec.encode_output(self._output.name, found)
        return InferenceResponse(model_name=self.name, outputs=[output])
