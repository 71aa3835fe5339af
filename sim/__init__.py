"""What stands in for the world: cocotb benches, the Verilated fabric, the emulated link, workloads, replay."""
