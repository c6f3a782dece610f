"""Equal machines side by side, each serving the requests that a router sends it (data parallel)."""

from __future__ import annotations

from collections.abc import Sequence

from papisim.engine.request import Request
from papisim.engine.server import Server
from papisim.policies.routing.base import RoutingPolicy, RoutingView


class Replicas:
    """Sends each request to one server, once.

    Args:
        servers: the replicas.
        routing: the routing policy.
    """

    def __init__(self, servers: Sequence[Server], routing: RoutingPolicy) -> None:
        self._servers, self._routing = servers, routing
        self._routed = 0

    def deliver(self, request: Request) -> None:
        """Send a request that has arrived to the server that the policy names."""
        servers = self._servers
        if len(servers) == 1:
            servers[0].submit(request)
            return
        view = RoutingView(self._routed, request.input_tokens, tuple(server.load(request) for server in servers))
        self._routed += 1
        servers[self._routing.choose(view)].submit(request)

    def notify(self) -> None:
        """Wake every server: no request will arrive any more."""
        for server in self._servers:
            server.notify()
