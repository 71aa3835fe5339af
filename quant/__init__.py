"""Images and networks: data sets, network variants, training and QONNX export.

Nothing is imported here, so that `edgesight.quant.datasets` stays usable where neither torch nor Brevitas is installed.
"""
