"""GPUs in tensor parallel: matrix products by tiles and waves, attention, small kernels, energy.

``linear``, ``attention`` and ``elementwise`` model the time of a kernel, ``energy`` its energy, ``table`` looks up measured
times; ``part`` holds the numbers, all of which come from files, and ``pool`` splits kernels over several GPUs.
"""

from papisim.devices.gpu.part import FittedEnergy, GpuEnergy, Part
from papisim.devices.gpu.pool import Pool
from papisim.kinds import Example

EXAMPLE = Example("a100")

__all__ = ["EXAMPLE", "FittedEnergy", "GpuEnergy", "Part", "Pool"]
