"""GDDR6-AiM channels behind a CXL controller with units of its own, programmed by instructions: CENT's devices.

Time is that of instruction streams, command by command; a decoder block's kernels are lowered to them as CENT does.
"""

from papisim.devices.aim.part import Part
from papisim.devices.aim.pool import Pool
from papisim.kinds import Example

EXAMPLE = Example("cent")

__all__ = ["EXAMPLE", "Part", "Pool"]
