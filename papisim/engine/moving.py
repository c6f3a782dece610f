"""KV caches that move to another memory when that pays.

Before a decoding iteration, the scheduler compares an iteration with the caches where they are with one with the caches at each other
home. They move where what an iteration saves, times the scheduler's horizon, exceeds the time of the move, and where there is room. A
move takes all caches of the server: they cross the attention link once, before the iteration begins, and nothing is in two homes.
The break-even of a move is its time over what an iteration saves; a horizon of one iteration makes each iteration the shortest that it
can be, moves included, as the oracle of placement does, and no more than that: it never invests.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from papisim.arrays import Floats
from papisim.engine.queues import ServerQueues
from papisim.ops.lower import KvLengths, StepShape, decode_shape
from papisim.plan.homes import Homes
from papisim.plan.machine import Machine
from papisim.plan.memory import MemoryPlan
from papisim.record.ledger import Ledger


class Mover:
    """Moves the caches of one server.

    Args:
        homes: plans the steps of the server.
        memories: the room at each home, by the device that attends there.
        queues: the requests of the server.
        machine: the hardware with the caches at their first home, whose attention link they cross.
        horizon_iterations: iterations over which a move must pay.
        ledger: counts moves.
    """

    def __init__(
        self,
        homes: Homes,
        memories: Mapping[str, MemoryPlan],
        queues: ServerQueues,
        machine: Machine,
        *,
        horizon_iterations: float,
        ledger: Ledger,
    ) -> None:
        self._homes, self._memories, self._queues, self._machine = homes, memories, queues, machine
        self._horizon, self._ledger = horizon_iterations, ledger

    def move(self, tlp: int) -> None:
        """Move the caches before the next iteration if that pays, to where it pays most; the queues have the move.

        Args:
            tlp: tokens in flight of each request in that iteration.
        """
        worth = {home: float(self._worth_s(home, tlp, 1)[0]) for home in self._homes.others if self._fits(home, tlp)}
        best = max(worth, key=lambda home: worth[home], default=None)
        if best is None or worth[best] <= 0:
            return
        n_bytes = int(self._queues.held_bytes(np.zeros(1, dtype=np.int64))[0])
        phase = self._machine.send(self._link, n_bytes)
        self._queues.moves.append(phase)
        self._queues.pages.move(self._memories[best])
        self._homes.home = best
        self._ledger.overheads_now.moved(phase, n_bytes)

    def until_move(self, tlp: int, n: int) -> int:
        """Return the number of the first of ``n`` iterations after which the caches might move."""
        for home in self._homes.others:
            if self._fits(home, tlp):
                n = self._homes.alike_at(home, *self._step(tlp), n)
                pays = np.flatnonzero(self._worth_s(home, tlp, n) > 0)
                n = n if not len(pays) else max(1, int(pays[0]))
        return n

    @property
    def _link(self) -> str:
        link = self._machine.roles.attention_link
        assert link is not None, "of a machine whose caches may move"
        return link

    def _fits(self, home: str, tlp: int) -> bool:
        return self._queues.pages.would_fit(self._memories[home], self._queues.batch, tlp)

    def _worth_s(self, home: str, tlp: int, n: int) -> Floats:
        """Return the seconds that a move before each of ``n`` iterations saves over the horizon, less its own, shape (n,)."""
        here, there = (self._homes.times_at_s(each, *self._step(tlp), n) for each in (self._homes.home, home))
        moved = self._queues.held_bytes(tlp * np.arange(n))
        move_s = np.array([self._machine.paced_transfer(self._link, int(each)).time_s for each in moved])
        worth_s: Floats = (here - there) * self._horizon - move_s
        return worth_s

    def _step(self, tlp: int) -> tuple[StepShape, KvLengths]:
        batch = self._queues.batch
        return decode_shape(len(batch), len(batch) * tlp), batch.in_flight(tlp)
