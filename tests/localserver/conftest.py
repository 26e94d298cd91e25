"""The real application on a real port; only the engine is a fake, and not in every test."""

from __future__ import annotations

import asyncio
import contextlib
import io
import socket
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from PIL import Image

from localserver.app import DOORMAN, create_app
from localserver.clients import Clients
from localserver.config import Config
from localserver.jobs import EngineStatus
from localserver.results import Result
from pmask.errors import Cancelled
from pmask.options import MaskOptions
from pmask.report import Progress

EXTENSION = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"


class Clock:
    """A clock that stands still until it is told otherwise."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


class FakeEngine:
    """Does what the test says next: a Progress to report, an exception to raise, a Result to return."""

    def __init__(self) -> None:
        self.devices: list[str] | None = None
        self.taken: list[tuple[bytes, MaskOptions]] = []
        self.closed = False
        self.warmed: list[MaskOptions] = []
        self.status = EngineStatus()
        self._steps: asyncio.Queue[Progress | Exception | Result] = asyncio.Queue()

    def say(self, step: Progress | Exception | Result) -> None:
        self._steps.put_nowait(step)

    async def protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancel: asyncio.Event
    ) -> Result:
        self.taken.append((data, options))
        while True:
            step, stop = asyncio.ensure_future(self._steps.get()), asyncio.ensure_future(cancel.wait())
            await asyncio.wait({step, stop}, return_when=asyncio.FIRST_COMPLETED)
            stop.cancel()
            if not step.done():
                step.cancel()
                raise Cancelled("cancelled")
            if isinstance(value := step.result(), Progress):
                on_progress(value)
            elif isinstance(value, Exception):
                raise value
            else:
                return value

    def warm(self, options: MaskOptions) -> None:
        self.warmed.append(options)

    async def close(self) -> None:
        self.closed = True


@dataclass
class Daemon:
    """A running daemon and a client's session to it. ``token`` is what `pair` got; without it, none is sent."""

    config: Config
    clients: Clients
    engine: FakeEngine
    clock: Clock
    session: aiohttp.ClientSession
    app: web.Application
    token: str | None = None
    client_id: str | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.config.port}"

    def request(self, method: str, path: str, *, headers: dict[str, str] | None = None, **more):
        own = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        return self.session.request(method, self.url + path, headers=own | (headers or {}), **more)

    async def json(self, method: str, path: str, **more):
        """The answer's status and parsed body."""
        async with self.request(method, path, **more) as answer:
            return answer.status, await answer.json()

    async def json_or_nothing(self, method: str, path: str, **more) -> int:
        """The status of an answer whose body does not matter."""
        async with self.request(method, path, **more) as answer:
            return answer.status

    async def refusal(self, method: str, path: str, **more) -> tuple[int, str]:
        """The status and the error's code."""
        status, body = await self.json(method, path, **more)
        assert {"error"} == set(body)
        assert {"code", "message"} == set(body["error"])
        return status, body["error"]["code"]

    async def pair(self, origin: str | None = EXTENSION) -> Daemon:
        """This daemon as another, paired client sees it."""
        token, client = self.clients.pair(self.clients.new_code(), "a test", origin)
        return replace(self, token=token, client_id=client.id)

    async def post(self, photo: bytes, **more) -> str:
        """Makes a job; its id."""
        status, body = await self.json("POST", "/v1/jobs", data=photo, **more)
        assert 202 == status, body
        return body["id"]

    async def until(self, job: str, *states: str) -> dict:
        """Long-polls a job until it is in one of the states."""
        seen = 0
        while True:
            _, body = await self.json("GET", f"/v1/jobs/{job}?wait=20&seen={seen}")
            if body["state"] in states:
                return body
            seen = body["revision"]


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def make_daemon(tmp_path: Path, clock: Clock):
    """Starts daemons with other settings or another engine; they end with the test, or with `stop`."""
    started: list[tuple[contextlib.AsyncExitStack, aiohttp.ClientSession]] = []

    async def make(engine=None, **settings) -> Daemon:
        listener = socket.create_server(("127.0.0.1", 0))
        # Tests post the same photo again and again, on machines that may be short of memory.
        settings = {"cache_bytes": 0, "free_memory": 0} | settings
        config = Config(port=listener.getsockname()[1], state_dir=tmp_path / "state", **settings)
        engine = engine(config) if engine else FakeEngine()
        clients = Clients(config.state_dir, clock, clock)
        app = create_app(config, engine, clients, clock)
        stack = contextlib.AsyncExitStack()
        await stack.enter_async_context(app[DOORMAN].serve(app, listener))
        session = aiohttp.ClientSession()
        started.append((stack, session))
        return Daemon(config, clients, engine, clock, session, app)

    async def stop() -> None:
        for stack, _ in started:
            await stack.aclose()

    make.stop = stop
    yield make
    for _, session in started:
        await session.close()
    await stop()


@pytest.fixture
async def stranger(make_daemon) -> Daemon:
    """A daemon as a client that is not paired sees it."""
    return await make_daemon()


@pytest.fixture
async def daemon(stranger: Daemon) -> Daemon:
    """A daemon as a paired extension sees it."""
    return await stranger.pair()


@pytest.fixture
def photo() -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (40, 30), (200, 150, 120)).save(out, "JPEG")
    return out.getvalue()
