"""From QONNX to a kernel: hls4ml with our `RTL` backend plugin, folding, and the kernel package."""
