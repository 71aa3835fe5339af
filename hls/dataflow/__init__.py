"""A network as integers: the operators that hardware is made of, and what they compute.

`edgesight.hls.graph` makes such a network of a QONNX file; the RTL, csim and the fast reference are made of it.
Words owned here: operator, stream, network.
"""
