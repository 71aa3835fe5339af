"""QONNX graphs, read without hls4ml: every operator, input and attribute is taken into account or refused."""
