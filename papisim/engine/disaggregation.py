"""Machines that compute prompts, machines that decode, and the caches on their way between them.

A request goes to the machine with fewest prompt tokens to compute. When its prompt is complete it has its first token; its cache
waits for the link of that machine, which sends one at a time, and goes to the decoding machine with fewest requests. Its pages
are held until it has left. Meanwhile both machines go on with others.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any

import simpy

from papisim.devices.link import Links
from papisim.engine.server import Server
from papisim.plan.phase import Category, Phase
from papisim.record.ledger import Ledger, RequestRow

#: called with the bytes of a token in the cache, and a request whose prompt is complete
HandOver = Callable[[int, RequestRow], None]


class Groups:
    """Sends requests to one group of servers and their caches to the other.

    Args:
        env: the simulation's clock.
        ledger: where messages are written down.
        link: what sends caches.
    """

    def __init__(self, env: simpy.Environment, ledger: Ledger, link: Links) -> None:
        self._env, self._ledger, self._link = env, ledger, link
        self._prefill: dict[str, Server] = {}
        self._decode: list[Server] = []
        self._senders: dict[str, simpy.Resource] = {}

    def serve(self, prefill: Sequence[Server], decode: Sequence[Server]) -> None:
        """Take the servers of both groups."""
        self._prefill = {server.name: server for server in prefill}
        self._decode = list(decode)
        self._senders = {name: simpy.Resource(self._env) for name in self._prefill}

    def deliver(self, row: RequestRow) -> None:
        """Take a request that has arrived."""
        servers = [server for server in self._prefill.values() if server.down is None] or list(self._prefill.values())
        chosen = min(servers, key=lambda server: server.load().waiting_prompt_tokens + server.prompt_tokens)
        chosen.submit(row)

    def notify(self) -> None:
        """Tell every server that no request will come any more."""
        for server in (*self._prefill.values(), *self._decode):
            server.notify()

    def hand_over(self, token_bytes: int, row: RequestRow) -> None:
        """Send a request whose prompt is complete to a server that decodes.

        Args:
            token_bytes: of a token in its cache.
            row: the request.
        """
        self._env.process(self._send(row, row.cached_tokens * token_bytes))

    def _send(self, row: RequestRow, cache_bytes: int) -> Generator[simpy.Event, Any, None]:
        sender = self._prefill[row.server]
        with self._senders[sender.name].request() as granted:
            yield granted
            cost = self._link.transfer(cache_bytes)
            self._ledger.moved(Phase(self._link.name, Category.COMMUNICATION, cost.time_s, cost.energy))
            yield self._env.timeout(cost.time_s)
        if sender.let_go(row):
            row.swapped, row.computed_tokens = True, 0
            alive = [server for server in self._decode if server.down is None] or self._decode
            min(alive, key=lambda server: sum((server.load().waiting, server.load().admitted))).submit(row)
