"""AttAcc's released schedule as a mapping of attention."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from papisim.devices.base import AttentionRun
from papisim.devices.pim.commands import Command
from papisim.devices.pim.mapping.attacc_released.row_by_row import time_sections
from papisim.devices.pim.mapping.attacc_released.schedule import Generator, released_plan, released_stream
from papisim.devices.pim.mapping.base import Priced, Stacks
from papisim.devices.pim.scheduler import Rules
from papisim.errors import NotModelled
from papisim.ops.caches import AttentionOverCaches
from papisim.ops.cost import Cost
from papisim.ops.kernel import Attention


def controller_rules(generator: Generator) -> Rules:
    """Return the rules of AttAcc's controller.

    The released model issues a refresh in the cycle after the precharge: tRP is declared at a level its check does not
    reach. The first command is seen a cycle after it was sent.
    """
    return Rules(
        barrier_waits="issued",
        rows_pass_barriers=True,
        depth=generator.queue_depth,
        refresh_in_breaks=True,
        first_cycle=1,
    )


class Released:
    """Attention as AttAcc's released generator and controller run it."""

    def __init__(self, stacks: Stacks, generator: Generator | None) -> None:
        """Take the stacks and the constants of the generator.

        Raises:
            NotModelled: there are no constants.
        """
        if generator is None:
            raise NotModelled("mapping attacc_released needs the generator's constants (field 'generator')")
        self._stacks, self._generator = stacks, generator
        self._rules = controller_rules(generator)

    def price(self, kernel: Attention) -> Priced:
        """Return the cycles and the activity of attention.

        Raises:
            NotModelled: packed caches or several query tokens per request.
        """
        geometry = self._stacks.geometry
        plan = released_plan(geometry, self._generator, kernel)
        cycles, met = time_sections(self._stacks.timing, self._rules, geometry, plan.sections())
        return Priced(cycles, cycles, met, "column_gap", plan.activity(geometry))

    def commands(self, kernel: Attention) -> tuple[Iterator[Command], Rules]:
        """Return the command stream of the busiest channel, and the rules that its controller follows."""
        plan = released_plan(self._stacks.geometry, self._generator, kernel)
        return released_stream(plan.sections(), self._stacks.geometry), self._rules

    def price_caches(self, caches: AttentionOverCaches) -> AttentionRun:
        """Return the costs of decoding attention over caches of many lengths.

        Each layout is priced once: caches whose longest takes equally many tokens of a way have the same.
        """
        longest_kv = caches.longest_kv
        own_tokens = -(-longest_kv // self._stacks.geometry.ways)
        _, first, which = np.unique(own_tokens, return_index=True, return_inverse=True)
        run = AttentionRun.of_costs(
            [self._cost(replace(caches.kernel, longest_kv=int(longest_kv[index]))) for index in first]
        )
        return AttentionRun(run.time_s[which], run.energy_j[:, which])

    def _cost(self, kernel: Attention) -> Cost:
        priced = self.price(kernel)
        return Cost(priced.cycles * self._stacks.timing.tck_s, priced.bound, self._stacks.energy(priced.activity))
