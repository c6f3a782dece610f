"""Equal machines side by side, each serving the requests that a router sends it (data parallel)."""

from __future__ import annotations

from collections.abc import Sequence

from papisim.engine.server import Server
from papisim.policies.routing.base import RoutingPolicy, RoutingView
from papisim.record.ledger import RequestRow


class Replicas:
    """Sends each request to one server, once.

    Args:
        servers: the replicas.
        routing: chooses among them.
    """

    def __init__(self, servers: Sequence[Server], routing: RoutingPolicy) -> None:
        self._servers, self._routing = servers, routing
        self._routed = 0

    def deliver(self, row: RequestRow) -> None:
        """Take a request that has arrived."""
        servers = self._servers
        if len(servers) == 1:
            servers[0].submit(row)
            return
        view = RoutingView(self._routed, row.input_tokens, [server.load() for server in servers])
        self._routed += 1
        servers[self._routing.choose(view)].submit(row)

    def notify(self) -> None:
        """Tell every server that no request will come any more."""
        for server in self._servers:
            server.notify()
