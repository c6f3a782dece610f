"""Where the units of a PIM stack sit, and the bandwidth that reaches them there.

Banks hand columns to the units of their level through *ports*: a bank's own, that of a bank group, that of the data path of
a pseudo-channel on one rank's dies, or the TSVs of a pseudo-channel, which all its ranks share, into the base die. A
port passes one column at a time, so banks behind a port take turns.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from papisim.devices.pim.organisation import Organisation
    from papisim.devices.pim.timing import Timing


class Level(StrEnum):
    """A level of the hierarchy that units can sit at, in the order in which a column reaches them."""

    BANK = "bank"
    BANK_GROUP = "bank_group"
    PSEUDO_CHANNEL = "pseudo_channel"
    BASE_DIE = "base_die"

    def groups(self, organisation: Organisation) -> int:
        """Return the bank groups behind a port; a bank's own port counts as that of its group."""
        ranks = organisation.ranks if self is Level.BASE_DIE else 1
        return ranks * (organisation.bank_groups if self.beyond_groups else 1)

    def banks(self, organisation: Organisation) -> int:
        """Return the banks behind a port."""
        if self is Level.BANK:
            return 1
        return self.groups(organisation) * organisation.banks_per_group

    @property
    def beyond_groups(self) -> bool:
        """Whether columns leave their bank group and take the data path to a port."""
        return self in {Level.PSEUDO_CHANNEL, Level.BASE_DIE}

    def gap(self, organisation: Organisation, timing: Timing, ports: int = 1) -> int:
        """Return the least cycles between columns through one of ``ports`` ports that share the banks.

        A bank group, like a bank, yields a column each column gap. A data path takes a burst for each, and no more than the bank groups
        behind it yield.
        """
        if not self.beyond_groups:
            return timing.column_gap
        return max(timing.burst, -(-timing.column_gap * ports // self.groups(organisation)))
