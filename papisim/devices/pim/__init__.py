"""PIM stacks: DRAM with floating-point units beside its banks, timed to the command.

FC-PIM, Attn-PIM, AttAcc and HBM-PIM are YAML files of this one kind.
"""

from papisim.devices.pim.part import Part
from papisim.devices.pim.pool import Pool
from papisim.kinds import Example

EXAMPLE = Example("attn_pim")

__all__ = ["EXAMPLE", "Part", "Pool"]
