"""An application on a listening socket, with limits on connections and on what strangers send, which aiohttp lacks."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

SERVER_OPTIONS: dict[str, Any] = {
    "access_log": None,  # it would hold addresses of jobs
    "auto_decompress": False,  # photos do not come compressed; decompression bombs do
    "max_field_size": 64 * 1024,  # pmask.options.MOST_BOXES boxes of faces fit into X-PMask-Options
    "max_headers": 40,  # twice what browsers send
    "keepalive_timeout": 30.0,  # also how long a request's head may take to arrive
    "shutdown_timeout": 5.0,
}
_BACKLOG = 128
"""Connections that the system keeps until they are taken."""
_SPARE = 3 * _BACKLOG + 64
"""Descriptors beside those of connections: for those that are taken before the Doorman has looked, and for files."""
_FEW = 8
_STRANGERS_BYTES = 32 * 1024 * 1024
"""What strangers together may have sent and not had an answer to. Heads are held whole: up to 2.5 MB a connection."""


def most_connections(wanted: int) -> int:
    """How many of ``wanted`` connections this process can have, 8 at the least: one that runs out of descriptors takes
    no client either. Raises the soft limit of descriptors, which is 256 on macOS, as far as that is allowed."""
    if sys.platform == "win32":  # sockets are no descriptors there
        return wanted
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = wanted + _SPARE
    if soft != resource.RLIM_INFINITY and soft < needed:
        soft = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        with contextlib.suppress(OSError, ValueError):  # macOS has a limit beside it
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return wanted if soft == resource.RLIM_INFINITY else min(wanted, max(_FEW, soft - _SPARE))


class Doorman:
    """Counts connections: descriptors run out before memory does. Beyond ``most``, the oldest that no paired client has
    used makes room, so that strangers who hold connections open, or open them in swarms, keep no client out; where
    clients use them all, that is the new one. What strangers send is limited too: beyond 32 MB without an answer,
    the one that has waited longest is closed. ``refused`` is called for each that is closed."""

    def __init__(self, most: int, refused: Callable[[], None]) -> None:
        self._most, self._refused = most, refused
        self._server: web.Server | None = None
        self._known: set[RequestHandler] = set()
        self._transports: dict[RequestHandler, asyncio.Transport | None] = {}
        self._leaving: set[RequestHandler] = set()
        self._unanswered: dict[RequestHandler, int] = {}  # bytes of strangers, who has waited longest first

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._staying())

    def know(self, request: web.Request) -> None:
        """The request is a paired client's, and so is its connection."""
        self._known.add(request.protocol)
        self._unanswered.pop(request.protocol, None)

    def hear(self, handler: RequestHandler, size: int) -> None:
        """So many bytes have come."""
        if handler in self._known:
            return
        self._unanswered[handler] = self._unanswered.get(handler, 0) + size
        if sum(self._unanswered.values()) > _STRANGERS_BYTES:
            self._put_out(next(iter(self._unanswered)))

    def forget(self, handler: RequestHandler) -> None:
        """The connection is answered, or gone."""
        self._unanswered.pop(handler, None)

    async def _answered(self, request: web.Request, response: web.StreamResponse) -> None:
        self.forget(request.protocol)

    def _staying(self) -> list[RequestHandler]:
        """The oldest first; one that was told to close may take a moment."""
        there = self._server.connections if self._server else []
        self._known.intersection_update(there)
        self._leaving.intersection_update(there)
        # A handler that closes drops its transport, which lives on until all is sent: for ever, if nobody reads.
        self._transports = {one: self._transports.get(one) or one.transport for one in there}
        return [one for one in there if one not in self._leaving]

    def _make_room(self) -> None:
        staying = self._staying()
        strangers = [one for one in staying if one not in self._known]
        for one in strangers[: max(0, len(staying) - self._most)]:
            self._put_out(one)

    def _put_out(self, one: RequestHandler) -> None:
        self._refused()
        self.forget(one)
        self._leaving.add(one)
        if (transport := self._transports.get(one) or one.transport) is not None:
            transport.abort()

    @contextlib.asynccontextmanager
    async def serve(self, app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
        """Serves ``app`` while the block runs; leaving it ends the application too."""
        app.on_response_prepare.append(self._answered)
        runner = web.AppRunner(app, **SERVER_OPTIONS)
        await runner.setup()
        server = self._server = runner.server
        assert server is not None  # for mypy: setup has made it
        loop = asyncio.get_running_loop()

        def protocol() -> asyncio.BaseProtocol:
            # asyncio takes many connections in one turn and tells their handlers in the next: all are there after it.
            loop.call_soon(loop.call_soon, self._make_room)
            return _Heard(server(), self)

        listening = await loop.create_server(protocol, sock=listener, backlog=_BACKLOG)
        try:
            yield
        finally:
            listening.close()
            await runner.cleanup()


class _Heard(asyncio.Protocol):
    """A connection whose handler is aiohttp's, with the doorman listening: aiohttp tells nobody of a head that is not
    there in full."""

    def __init__(self, handler: RequestHandler, doorman: Doorman) -> None:
        self._handler, self._doorman = handler, doorman
        self.connection_made = handler.connection_made  # type: ignore[method-assign]
        self.eof_received = handler.eof_received  # type: ignore[method-assign]
        self.pause_writing = handler.pause_writing  # type: ignore[method-assign]
        self.resume_writing = handler.resume_writing  # type: ignore[method-assign]

    def data_received(self, data: bytes) -> None:
        self._doorman.hear(self._handler, len(data))
        self._handler.data_received(data)

    def connection_lost(self, error: BaseException | None) -> None:
        self._doorman.forget(self._handler)
        self._handler.connection_lost(error)
