"""What runs inside the simulator. It builds on cocotbpynq, which is under the GPL 3, so it stays out of the wheel."""
