"""An application on a listening socket, with a limit on connections, which aiohttp does not have."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

from aiohttp import web

SERVER_OPTIONS: dict[str, Any] = {
    "access_log": None,  # it would hold addresses of jobs
    "auto_decompress": False,  # photos do not come compressed; decompression bombs do
    "keepalive_timeout": 30.0,  # also how long a request's head may take to arrive
    "shutdown_timeout": 5.0,
}
_BACKLOG = 128
"""Connections that the system keeps until they are taken."""


class Doorman:
    """Counts connections, and closes at once those beyond ``most``: descriptors run out before memory does. ``refused``
    is called for each of them."""

    def __init__(self, most: int, refused: Callable[[], None]) -> None:
        self._most, self._refused = most, refused
        self._server: web.Server | None = None

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._server.connections) if self._server else 0

    @contextlib.asynccontextmanager
    async def serve(self, app: web.Application, listener: socket.socket) -> AsyncIterator[None]:
        """Serves ``app`` while the block runs; leaving it ends the application too."""
        runner = web.AppRunner(app, **SERVER_OPTIONS)
        await runner.setup()
        server = self._server = runner.server
        assert server is not None  # for mypy: setup has made it

        def protocol() -> asyncio.BaseProtocol:
            if self.connections < self._most:
                return server()
            self._refused()
            return _Closed()

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
