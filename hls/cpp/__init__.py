"""An integer network as hls4ml's C++: its layers, hls4ml's streams, integer types alone.

Words owned here: statement (an operator as a layer of hls4ml), not stated (an operator that hls4ml has no layer for).
"""
