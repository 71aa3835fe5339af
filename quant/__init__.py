"""Images and networks: data sets, network variants, training and QONNX export.

Nothing is imported here, so that `edgesight.quant.datasets` stays usable where neither torch nor Brevitas is installed.
"""

import warnings

# Brevitas warns so whenever it is imported; what would be faster is a transform that no network here has.
warnings.filterwarnings("ignore", message="fast_hadamard_transform package not found")
