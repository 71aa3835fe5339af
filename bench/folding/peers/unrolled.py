"""Has da4ml write layers as fully unrolled, pipelined Verilog. Runs in da4ml's environment, not ours.

    python unrolled.py FILE FOLDER

FILE is JSON: `bits` and `signed` of each input, and `layers`. A layer has `weights` [outputs, inputs], an `offset`
where there is one, and where a quantiser follows its `shift`, `half_up` and the `bits` of what it gives, else 0 bits.
FOLDER gets the Verilog, module `unrolled`. What da4ml reckons it takes goes to standard output, with its answers to
`inputs`.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from da4ml.codegen import RTLModel  # type: ignore[import-not-found]
from da4ml.trace import (  # type: ignore[import-not-found]
    FixedVariableArrayInput,
    HWConfig,
    comb_trace,
    to_pipeline,
)

_STAGE = 5.0  # adders' delay between two registers, as da4ml counts it


def main() -> None:
    """Trace, write and answer."""
    asked, folder = json.loads(Path(sys.argv[1]).read_text()), Path(sys.argv[2])
    inputs = len(asked["layers"][0]["weights"][0])
    taken = FixedVariableArrayInput((inputs,), hwconf=HWConfig(1, -1, -1))
    values = taken.quantize(int(asked["signed"]), asked["bits"] - asked["signed"], 0)
    for layer in asked["layers"]:
        values = values @ np.array(layer["weights"], np.float32).T
        if "offset" in layer:
            values = values + np.array(layer["offset"], np.float32)
        if layer["bits"]:
            scaled = values * 2.0 ** -layer["shift"]
            rounding = "RND" if layer["half_up"] else "TRN"
            values = scaled.quantize(0, layer["bits"], 0, overflow_mode="SAT", round_mode=rounding)
    logic = comb_trace(taken, values)
    pipeline = to_pipeline(logic, _STAGE, verbose=False)
    RTLModel(pipeline, "unrolled", folder, print_latency=False).write()
    given = logic.predict(np.array(asked["inputs"], np.float64)) if asked["inputs"] else []
    stages = len(pipeline.solutions)
    print(json.dumps({"cost": float(logic.cost), "stages": stages, "given": np.asarray(given).tolist()}))


if __name__ == "__main__":
    main()
