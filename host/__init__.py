"""What runs on the board and at its data centre.

Light needs only: nothing here imports torch, brevitas, hls4ml, `quant`, `hls` or `sim`.
"""
