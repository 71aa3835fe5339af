"""A Brevitas network through hls4ml to SystemVerilog: `python docs/examples/hls4ml_to_rtl.py`. Needs the extra `build`.

Writes `network.onnx` and hls4ml's project `out`, with the RTL and its weights in `out/rtl`, into the working folder.
"""

from pathlib import Path

import brevitas.nn as qnn
import hls4ml
import torch
from brevitas.export import export_qonnx
from brevitas.inject.enum import ScalingImplType
from brevitas.quant import fixed_point

from edgesight.hls.qonnx_graph import load

# Scales may be any; here they are constant powers of two, which make shifts of thresholds. Brevitas' `scaling_init` is
# scale * 2**bits, and scale * 2**(bits - 1) where there is a sign.
act = {"act_quant": fixed_point.Uint8ActPerTensorFixedPoint, "scaling_impl_type": ScalingImplType.CONST}
layer = {
    "weight_quant": fixed_point.Int8WeightPerTensorFixedPoint,
    "weight_bit_width": 4,
    "weight_scaling_impl_type": ScalingImplType.CONST,
    "weight_scaling_init": 1.0,  # scale 2**-3
    "bias": True,
    "bias_quant": fixed_point.Int8BiasPerTensorFixedPointInternalScaling,
    "bias_bit_width": 16,
    "bias_scaling_impl_type": ScalingImplType.CONST,
}
network = torch.nn.Sequential(
    qnn.QuantIdentity(bit_width=8, scaling_init=1.0, **act),  # the input: 8 unsigned bits, scale 2**-8, a pixel / 256
    qnn.QuantConv2d(1, 8, 3, bias_scaling_init=2.0 ** (15 - 8 - 3), **layer),  # scale 2**-11: input times weight
    qnn.QuantReLU(bit_width=4, scaling_init=4.0, **act),  # scale 2**-2
    torch.nn.Flatten(),
    qnn.QuantLinear(8 * 26 * 26, 10, bias_scaling_init=2.0 ** (15 - 2 - 3), **layer),
)
# Train it here. Then:
export_qonnx(network.eval(), torch.zeros(1, 1, 28, 28), export_path="network.onnx")

graph = load(Path("network.onnx"))  # checks the QONNX file and brings it into the form that hls4ml reads
config = hls4ml.utils.config_from_onnx_model(graph, granularity="name", backend="RTL", default_precision="fixed<32,16>")
config["Model"]["ReuseFactor"] = 16  # of all layers; config["LayerName"]["node_conv2d"]["ReuseFactor"] = 8 of one
model = hls4ml.converters.convert_from_onnx_model(
    graph, backend="RTL", hls_config=config, output_dir="out", project_name="net"
)
model.write()
print("written:", ", ".join(sorted(path.name for path in Path("out/rtl").iterdir())))
