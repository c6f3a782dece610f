"""How long and how much energy a kernel takes on given hardware: pure functions from kernel to cost."""
