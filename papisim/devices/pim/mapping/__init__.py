"""Where a kernel's data lies in the stacks of a pool and, from that, the phases that a channel goes through.

All channels that hold a part of a kernel work in lock step, so the busiest channel sets the time, padding and imbalance
included.
"""
