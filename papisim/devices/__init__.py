"""Time and energy of a kernel on given hardware: pure functions from kernel to cost."""
