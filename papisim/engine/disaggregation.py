"""Machines that compute prompts, machines that decode, and the caches in flight between them.

A request goes to the machine with fewest prompt tokens to compute. When its prompt is complete it has its first token; its cache
waits for the link of that machine, which sends one at a time, and goes to the decoding machine with fewest requests. Its pages
are held until the cache has been sent. Meanwhile both machines serve other requests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import simpy

from papisim.devices.link import Links
from papisim.engine.process import Process
from papisim.engine.request import Request
from papisim.engine.server import Server
from papisim.ops.held import HeldBytes
from papisim.plan.phase import Category, Phase
from papisim.record.ledger import Ledger

#: called with the bytes that requests hold, and a request whose prompt is complete
HandOver = Callable[[HeldBytes, Request], None]


class Groups:
    """Sends requests to one group of servers and their caches to the other.

    Args:
        env: the simulation's clock.
        ledger: records messages.
        link: sends caches.
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

    def deliver(self, request: Request) -> None:
        """Send a request that has arrived to the server with fewest prompt tokens to compute."""
        servers = _working(list(self._prefill.values()))
        chosen = min(servers, key=lambda server: server.load().waiting_prompt_tokens + server.prompt_tokens)
        chosen.submit(request)

    def notify(self) -> None:
        """Wake every server: no request will arrive any more."""
        for server in (*self._prefill.values(), *self._decode):
            server.notify()

    def hand_over(self, held: HeldBytes, request: Request) -> None:
        """Send a request whose prompt is complete to a server that decodes.

        Args:
            held: the bytes that requests hold by their lengths.
            request: the request.
        """
        self._env.process(self._send(request, held.of_request(request.cached_tokens)))

    def _send(self, request: Request, cache_bytes: int) -> Process:
        sender = self._prefill[request.server]
        with self._senders[sender.name].request() as granted:
            yield granted
            cost = self._link.transfer(cache_bytes)
            self._ledger.moved(Phase(self._link.name, Category.COMMUNICATION, cost.time_s, cost.energy))
            yield self._env.timeout(cost.time_s)
        if sender.release(request):
            servers = _working(self._decode)
            min(servers, key=lambda server: sum((server.load().waiting, server.load().admitted))).submit(request)


def _working(servers: list[Server]) -> list[Server]:
    """Return the servers that are not down; all if every one is."""
    return [server for server in servers if server.down is None] or servers
