"""Where a kernel's data lies in the stacks of a pool and, from that, the phases that a channel goes through.

All channels that hold a part of a kernel work in lock step, so the busiest stands for all; what others wait for it
(padding and imbalance) is in the time.
"""
