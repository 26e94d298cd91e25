"""An application on a listening socket, with a limit on connections, which aiohttp does not have."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web
from aiohttp.web_protocol import RequestHandler

SERVER_OPTIONS: dict[str, Any] = {
    "access_log": None,  # it would hold addresses of jobs
    "auto_decompress": False,  # photos do not come compressed; decompression bombs do
    "keepalive_timeout": 30.0,  # also how long a request's head may take to arrive
    "shutdown_timeout": 5.0,
}
_BACKLOG = 128
"""Connections that the system keeps until they are taken."""


class Doorman:
    """Counts connections: descriptors run out before memory does. Beyond ``most``, the oldest that no paired client has
    used makes room, so that strangers who hold connections open, or open them in swarms, keep no client out; where
    clients use them all, the new one is closed at once. ``refused`` is called for each that is closed."""

    def __init__(self, most: int, refused: Callable[[], None]) -> None:
        self._most, self._refused = most, refused
        self._server: web.Server | None = None
        self._known: set[RequestHandler] = set()
        self._leaving: set[RequestHandler] = set()

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._staying())

    def know(self, request: web.Request) -> None:
        """The request is a paired client's, and so is its connection."""
        self._known.add(request.protocol)

    def _staying(self) -> list[RequestHandler]:
        """The oldest first; one that was told to close may take a moment."""
        there = self._server.connections if self._server else []
        self._known.intersection_update(there)
        self._leaving.intersection_update(there)
        return [one for one in there if one not in self._leaving]

    def _make_room(self) -> bool:
        """Whether there is room for one more, after closing one if that is needed."""
        staying = self._staying()
        if len(staying) < self._most:
            return True
        self._refused()
        oldest = next((one for one in staying if one not in self._known), None)
        if oldest is not None:
            self._leaving.add(oldest)
            oldest.force_close()
        return oldest is not None

    @contextlib.asynccontextmanager
    async def serve(self, app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
        """Serves ``app`` while the block runs; leaving it ends the application too."""
        runner = web.AppRunner(app, **SERVER_OPTIONS)
        await runner.setup()
        server = self._server = runner.server
        assert server is not None  # for mypy: setup has made it

        def protocol() -> asyncio.BaseProtocol:
            return server() if self._make_room() else _Closed()

        listening = await asyncio.get_running_loop().create_server(protocol, sock=listener, backlog=_BACKLOG)
        try:
            yield
        finally:
            listening.close()
            await runner.cleanup()


class _Closed(asyncio.Protocol):
    """A connection that is over as it begins."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        transport.close()
