"""The operators that the compiler reads: domains, counts of inputs, and every attribute with its type.

An attribute that is not here is refused: nothing in a file stays unread.
"""

from __future__ import annotations

from dataclasses import dataclass, field

INT, FLOAT, TEXT, INTS, TENSOR, FLOATS = 2, 1, 3, 7, 4, 6  # onnx.AttributeProto.AttributeType
CHANNELS_LAST = "qonnx.custom_op.channels_last"
QONNX = ("qonnx.custom_op.general", "onnx.brevitas", "finn.custom_op.general")
ONNX = ("", "ai.onnx")


@dataclass(frozen=True)
class Signature:
    """What is read of an operator."""

    inputs: tuple[int, int]  # fewest, most
    attributes: dict[str, int] = field(default_factory=dict)
    domains: tuple[str, ...] = ONNX
    outputs: int = 1  # at most; those behind the first must be unused
    holes: tuple[int, ...] = ()  # inputs that may be left away with others behind them


_WINDOW = {"kernel_shape": INTS, "strides": INTS, "pads": INTS, "dilations": INTS, "auto_pad": TEXT}
_ON_MAPS = (*ONNX, CHANNELS_LAST)

SIGNATURES: dict[str, Signature] = {
    "Quant": Signature((4, 4), {"signed": INT, "narrow": INT, "rounding_mode": TEXT}, QONNX),
    "BipolarQuant": Signature((2, 2), {}, QONNX),
    "Trunc": Signature((5, 6), {"signed": INT, "narrow": INT, "rounding_mode": TEXT}, QONNX),
    "Conv": Signature((2, 3), {**_WINDOW, "group": INT}, _ON_MAPS),
    "MaxPool": Signature((1, 1), {**_WINDOW, "ceil_mode": INT, "storage_order": INT}, _ON_MAPS, 2),
    "BatchNormalization": Signature(
        (5, 5), {"epsilon": FLOAT, "momentum": FLOAT, "training_mode": INT, "spatial": INT}, _ON_MAPS
    ),
    "AveragePool": Signature((1, 1), {**_WINDOW, "ceil_mode": INT, "count_include_pad": INT}),
    "GlobalAveragePool": Signature((1, 1)),
    "ReduceMean": Signature((1, 2), {"axes": INTS, "keepdims": INT, "noop_with_empty_axes": INT}),
    "Resize": Signature(
        (2, 4),
        {"mode": TEXT, "coordinate_transformation_mode": TEXT, "nearest_mode": TEXT, "cubic_coeff_a": FLOAT},
        holes=(1, 2),
    ),
    "Upsample": Signature((1, 2), {"mode": TEXT, "scales": FLOATS}),
    "Pad": Signature((1, 4), {"mode": TEXT, "pads": INTS, "value": FLOAT}, holes=(2,)),
    "Gemm": Signature((2, 3), {"alpha": FLOAT, "beta": FLOAT, "transA": INT, "transB": INT}),
    "MatMul": Signature((2, 2)),
    **{kind: Signature((2, 2)) for kind in ("Add", "Sub", "Mul", "Div", "Pow", "PRelu")},
    **{kind: Signature((1, 1)) for kind in ("Neg", "Sqrt", "Relu", "Sigmoid", "Tanh", "Identity")},
    "LeakyRelu": Signature((1, 1), {"alpha": FLOAT}),
    "HardSigmoid": Signature((1, 1), {"alpha": FLOAT, "beta": FLOAT}),
    "Clip": Signature((1, 3), {"min": FLOAT, "max": FLOAT}, holes=(1,)),
    "Concat": Signature((1, 1 << 10), {"axis": INT}),
    "Flatten": Signature((1, 1), {"axis": INT}),
    "Reshape": Signature((2, 2), {"allowzero": INT}),
    "Transpose": Signature((1, 1), {"perm": INTS}),
    "Squeeze": Signature((1, 2), {"axes": INTS}),
    "Unsqueeze": Signature((1, 2), {"axes": INTS}),
    "Shape": Signature((1, 1), {"start": INT, "end": INT}),
    "Gather": Signature((2, 2), {"axis": INT}),
    "Slice": Signature((1, 5), {"axes": INTS, "starts": INTS, "ends": INTS}, holes=(3,)),
    **{kind: Signature((1, 1)) for kind in ("Size", "NonZero", "Floor", "Ceil")},
    **{kind: Signature((2, 2)) for kind in ("Expand", "Tile", "Equal")},
    **{kind: Signature((3, 3)) for kind in ("Range", "Where")},
    **{kind: Signature((1, 1 << 10)) for kind in ("Min", "Max")},
    "Mod": Signature((2, 2), {"fmod": INT}),
    "ConstantOfShape": Signature((1, 1), {"value": TENSOR}),
    "Cast": Signature((1, 1), {"to": INT}),
    "Dropout": Signature((1, 3), {"ratio": FLOAT, "seed": INT}, outputs=2, holes=(1,)),
    "Constant": Signature(
        (0, 0), {"value": TENSOR, "value_float": FLOAT, "value_floats": FLOATS, "value_int": INT, "value_ints": INTS}
    ),
    "Softmax": Signature((1, 1), {"axis": INT}),
    "ArgMax": Signature((1, 1), {"axis": INT, "keepdims": INT, "select_last_index": INT}),
    "TopK": Signature((1, 2), {"k": INT, "axis": INT, "largest": INT, "sorted": INT}, outputs=2),
}
REMEDIES = {
    "QuantizeLinear": "export as QONNX (Brevitas' export_qonnx), not as QCDQ",
    "DequantizeLinear": "export as QONNX (Brevitas' export_qonnx), not as QCDQ",
    "Elu": "use a ReLU, a LeakyReLU, a sigmoid or a tanh",
    "LayerNormalization": "use batch normalisation",
    "InstanceNormalization": "use batch normalisation",
    "ConvTranspose": "use nearest-neighbour upsampling and a convolution",
    "LSTM": "use 1-D convolutions",
    "GRU": "use 1-D convolutions",
    "Split": "give each branch its own layer",
    "FloatQuant": "use integer quantisers",
}
