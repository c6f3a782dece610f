"""A page that simulates each point when it is asked for, served to this machine alone."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from papisim.errors import PapisimError
from papisim.exploration.explorer import Explorer
from papisim.results.folder import Json

_HOST = "127.0.0.1"
#: bytes of a request; values of axes have a few hundred
_MOST_BYTES = 1 << 16
#: the header in which the page sends the word that it was given, which pages of other sites do not know
_HEADER = "X-Papisim"

#: builds the page's document from its data
Build = Callable[[Json], str]


def server_of(explorer: Explorer, build: Build, port: int = 0) -> ThreadingHTTPServer:
    """Return a server of the page and of its points on 127.0.0.1; ``server_port`` is its port.

    Only requests to this address are answered, and points only with the word that the page holds: no other site can ask, not even
    under a name that resolves to this machine.

    Args:
        explorer: simulates points, one at a time.
        build: makes the page.
        port: 0 for any that is free.

    Raises:
        OSError: the port is taken.
    """
    word, lock = secrets.token_urlsafe(16), threading.Lock()
    document = build({**explorer.page(), "rows": [], "live": word}).encode()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self._is_ours() or self.path != "/":
                self._send(HTTPStatus.NOT_FOUND, b"not found", "text/plain")
            else:
                self._send(HTTPStatus.OK, document, "text/html")

        def do_POST(self) -> None:
            length = self.headers.get("Content-Length", "")
            if not self._is_ours() or self.path != "/point" or self.headers.get(_HEADER) != word:
                self._send(HTTPStatus.FORBIDDEN, b"forbidden", "text/plain")
            elif not length.isdecimal() or int(length) > _MOST_BYTES:
                self._send(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, b"too large", "text/plain")
            else:
                self._answer(self.rfile.read(int(length)))

        def _answer(self, body: bytes) -> None:
            try:
                values = explorer.asked(json.loads(body))
                with lock:
                    found = explorer.point(values)
            except (ValueError, PapisimError) as error:
                self._send(HTTPStatus.BAD_REQUEST, str(error).encode(), "text/plain")
                return
            self._send(HTTPStatus.OK, json.dumps(found).encode(), "application/json")

        def _is_ours(self) -> bool:
            return self.headers.get("Host") == f"{_HOST}:{server.server_port}"

        def _send(self, status: HTTPStatus, content: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", f"{kind}; charset=utf-8")
            self.send_header("Content-Length", str(len(content)))
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing of each request."""

    server = ThreadingHTTPServer((_HOST, port), Handler)
    return server
