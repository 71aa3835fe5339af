"""Has FINN's own generator write the sliding window of a convolution. Runs with FINN's folder on the path, not ours.

    python window.py FOLDER ATTRIBUTES

ATTRIBUTES are JSON, those of FINN's node; FOLDER gets its files.
"""

from __future__ import annotations

import json
import sys

from finn.custom_op.fpgadataflow.rtl.convolutioninputgenerator_rtl import (  # type: ignore[import-not-found]
    ConvolutionInputGenerator_rtl,
)
from finn.util.settings import initialize_dummy_settings  # type: ignore[import-not-found]
from onnx import helper


def main() -> None:
    """Write the files, and the cycles that FINN expects of a frame to standard output."""
    folder, attributes = sys.argv[1], json.loads(sys.argv[2])
    initialize_dummy_settings()
    node = helper.make_node(
        "ConvolutionInputGenerator_rtl",
        ["taken"],
        ["given"],
        domain="finn.custom_op.fpgadataflow.rtl",
        name="finn_window",
        code_gen_dir_ipgen=folder,
        **attributes,
    )
    operator = ConvolutionInputGenerator_rtl(node)
    operator.generate_hdl(None, None, None)
    print(json.dumps({"cycles": operator.get_exp_cycles()}))


if __name__ == "__main__":
    main()
