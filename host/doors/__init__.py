"""The doors of the Open Inference Protocol, version 2, over HTTP and gRPC, for whatever stands behind them."""
