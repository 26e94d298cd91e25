#!/usr/bin/env python3
"""Puts a daemon of its own under load, on loopback only, and says what it bore:

    stress_daemon.py load [--real]   100 photos (--real: 8) queued by 4 clients at once
    stress_daemon.py health          how fast /v1/health answers while a mask is being made
    stress_daemon.py cancel          how soon a cancelled mask gives the device back
    stress_daemon.py hostile         10,000 requests that must not be let in

Each ends with exit code 1 if the daemon did worse than it should. docs/daemon.md has the figures.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import hashlib
import io
import json
import os
import random
import re
import signal
import socket
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import aiohttp
import numpy as np
from PIL import Image

from pmask.options import MaskOptions
from pmask.report import Progress, Report

ROOT = Path(__file__).resolve().parent.parent
EXTENSION = "chrome-extension://abcdefghijklmnopabcdefghijklmnop"
CLIENTS = 4
MOST_SECONDS = 900.0
"""No run takes longer, whatever happens."""
SETTLE_S = 30.0
"""By then a daemon on a busy machine has seen which connections have ended."""


class Echo:
    """A protector for load: it takes a moment, and what it gives back shows whose photo it was and what was asked."""

    device = "cpu"

    def __init__(self, device: str, gallery: Path | None = None) -> None:
        pass

    def warm(self, options: MaskOptions) -> None:
        """Nothing to load."""

    def protect(
        self, data: bytes, options: MaskOptions, on_progress: Callable[[Progress], None], cancelled: Callable[[], bool]
    ) -> _Echoed:
        """Takes 20 ms."""
        on_progress(Progress(stage="masking", fraction=0.5, faces=1))
        time.sleep(0.02)
        return _Echoed(echo_of(data, options.seed))


class _Echoed:
    def __init__(self, data: bytes) -> None:
        self.data = data
        self.report = Report(status="protected", faces=(), seconds=0.02, width=1, height=1, format="jpeg", device="cpu")


def echo_of(data: bytes, seed: int) -> bytes:
    """What Echo makes of a photo."""
    return data + hashlib.sha256(data + str(seed).encode()).digest()


@dataclass(frozen=True)
class Daemon:
    """A running daemon."""

    process: asyncio.subprocess.Process
    port: int
    home: Path

    async def pair(self, session: aiohttp.ClientSession, name: str) -> Client:
        """A client, paired the way that a program is."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "localserver", "pair", "--json", "--port", str(self.port)),
            env=_environment(self.home),
            stdout=asyncio.subprocess.PIPE,
        )
        code = json.loads((await process.communicate())[0])["code"]
        async with session.post(f"{self.url}/v1/pair", json={"code": code, "name": name}) as answer:
            return Client(self, session, (await answer.json())["token"])

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def alive(self) -> bool:
        """Whether it still runs, and never ended in between."""
        return self.process.returncode is None


@dataclass(frozen=True)
class Client:
    """A paired client."""

    daemon: Daemon
    session: aiohttp.ClientSession
    token: str

    def ask(
        self, method: str, path: str, data: bytes | None = None, options: str = "{}"
    ) -> contextlib.AbstractAsyncContextManager[aiohttp.ClientResponse]:
        """One request."""
        headers = {"Authorization": f"Bearer {self.token}", "X-PMask-Options": options}
        return self.session.request(method, self.daemon.url + path, data=data, headers=headers)

    async def post(self, photo: bytes, seed: int = 0) -> str:
        """A job's id; comes again when it is told to."""
        while True:
            async with self.ask("POST", "/v1/jobs", photo, json.dumps({"seed": seed})) as answer:
                if answer.status == 202:
                    return str((await answer.json())["id"])
                if answer.status != 429:
                    raise RuntimeError(f"refused: {await answer.text()}")
                pause = float(answer.headers["Retry-After"])
            await asyncio.sleep(pause)

    async def until(self, job: str, *states: str) -> dict[str, object]:
        """Follows a job until it is in one of the states."""
        seen = 0
        while True:
            async with self.ask("GET", f"/v1/jobs/{job}?wait=10&seen={seen}") as answer:
                body: dict[str, object] = await answer.json()
            if body["state"] in states:
                return body
            seen = int(str(body["revision"]))

    async def protect(self, photo: bytes, seed: int = 0) -> bytes:
        """A photo's whole way; what came back."""
        job = await self.post(photo, seed)
        body = await self.until(job, "done", "failed", "cancelled")
        if body["state"] != "done":
            raise RuntimeError(f"not done: {body['error']}")
        async with self.ask("GET", f"/v1/jobs/{job}/result") as answer:
            result = await answer.read()
        async with self.ask("DELETE", f"/v1/jobs/{job}"):
            return result

    async def metric(self, name: str) -> float:
        """One number of `/v1/metrics`."""
        async with self.ask("GET", "/v1/metrics") as answer:
            match = re.search(rf"^{name} (\S+)$", await answer.text(), re.MULTILINE)
        return float(match[1]) if match else float("nan")


async def settled(client: Client, most: Mapping[str, float]) -> dict[str, float]:
    """Numbers of `/v1/metrics` as soon as none is above ``most``, or as they are after SETTLE_S."""
    end = time.monotonic() + SETTLE_S
    while True:
        now = {name: await client.metric(name) for name in most}
        if all(now[name] <= most[name] for name in most) or time.monotonic() > end:
            return now
        await asyncio.sleep(0.2)


def _environment(home: Path) -> dict[str, str]:
    path = os.pathsep.join([str(ROOT), str(ROOT / "scripts")])
    return os.environ | {"PMASK_HOME": str(home), "PYTHONPATH": path}


@contextlib.asynccontextmanager
async def running(*flags: str) -> AsyncIterator[tuple[Daemon, aiohttp.ClientSession]]:
    """A daemon with a state folder and a port of its own, and a session."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = int(free.getsockname()[1])
    with tempfile.TemporaryDirectory() as folder:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "localserver", "run", "--port", str(port), *flags),
            env=_environment(Path(folder)),
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
        try:
            assert process.stdout is not None
            await process.stdout.readline()
            connector = aiohttp.TCPConnector(limit=0)
            async with aiohttp.ClientSession(connector=connector) as session:
                yield Daemon(process, port, Path(folder)), session
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            await process.wait()


def photos(count: int, seed: int) -> Iterator[bytes]:
    """Photos of some 100 kB, no two alike."""
    source = np.random.default_rng(seed)
    for _ in range(count):
        out = io.BytesIO()
        Image.fromarray(source.integers(0, 256, (256, 384, 3), dtype=np.uint8)).save(out, "JPEG", quality=75)
        yield out.getvalue()


def faces(count: int) -> Iterator[bytes]:
    """Photos of NASA's astronaut, each of another width, so that none can be taken for another."""
    import skimage.data

    astronaut = Image.fromarray(np.array(skimage.data.astronaut()))
    for number in range(count):
        out = io.BytesIO()
        astronaut.crop((0, 0, 512 - 2 * number, 400)).save(out, "JPEG", quality=92)
        yield out.getvalue()


async def load(args: argparse.Namespace) -> bool:
    """All answered, none mixed up, memory flat, nothing leaked."""
    count = args.photos or (8 if args.real else 100)
    flags = ["--cache-bytes", "0"] + ([] if args.real else ["--protector", "stress_daemon:Echo"])
    async with running(*flags) as (daemon, session):
        clients = [await daemon.pair(session, f"client {number}") for number in range(CLIENTS)]
        resident: list[float] = []

        async def one(client: Client, seed: int, photo: bytes) -> bool:
            result = await client.protect(photo, seed=seed)
            resident.append(await client.metric("pmask_resident_bytes"))
            if not args.real:
                return result == echo_of(photo, seed)
            before, after = Image.open(io.BytesIO(photo)), Image.open(io.BytesIO(result))
            changed = np.abs(np.array(before, dtype=int) - np.array(after, dtype=int)).mean()
            return before.size == after.size and result != photo and changed < 5

        async def all_at_once(queued: Iterator[bytes]) -> list[bool]:
            """In a session of its own, whose connections end with it."""
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as own:
                mine = [replace(client, session=own) for client in clients]
                return await asyncio.gather(*(one(mine[n % CLIENTS], n, photo) for n, photo in enumerate(queued)))

        await all_at_once(faces(1) if args.real else photos(count, 1))
        await asyncio.sleep(1)  # a connection that is still open then hides one that leaks
        before = {name: await clients[0].metric(name) for name in ("pmask_tasks", "pmask_descriptors")}
        resident.clear()
        began = time.monotonic()
        right = await all_at_once(faces(count) if args.real else photos(count, 2))
        seconds = time.monotonic() - began
        after = await settled(clients[0], before)
        first_ten, last_ten = statistics.mean(resident[:10]), statistics.mean(resident[-10:])
        growth = last_ten / first_ten - 1
        print(f"{sum(right)} of {count} photos of {CLIENTS} clients came back, each its own, in {seconds:.1f} s")
        print(
            f"the daemon's memory: first ten {first_ten / 1e6:.1f} MB, last ten {last_ten / 1e6:.1f} MB ({growth:+.1%})"
        )
        for name in before:
            print(f"{name} {before[name]:.0f} -> {after[name]:.0f}")
        return all(right) and growth < 0.05 and all(after[name] <= before[name] for name in before) and daemon.alive


async def health(args: argparse.Namespace) -> bool:
    """How long `/v1/health` takes, on a connection of its own each time, while the real engine masks. The same while
    nothing is done tells how busy the machine is with other things."""
    async with running() as (daemon, session):
        client = await daemon.pair(session, "health")
        request = f"GET /v1/health HTTP/1.1\r\nHost: 127.0.0.1:{daemon.port}\r\n\r\n"

        async def seconds() -> float:
            await asyncio.sleep(0.02)
            began = time.perf_counter()
            if await _raw(daemon.port, request) != 200:
                raise RuntimeError("no answer")
            return time.perf_counter() - began

        idle = [await seconds() for _ in range(300)]
        masking: list[float] = []
        for number, photo in enumerate(faces(args.photos)):
            job = await client.post(photo, seed=number)
            ended = asyncio.ensure_future(client.until(job, "done", "failed"))
            while not ended.done():
                busy = await _stage(client, job) == "masking"
                took = await seconds()
                masking += [took] if busy else []
        for name, times in (("idle", sorted(idle)), ("masking", sorted(masking))):
            p50, p99 = (times[int(len(times) * share)] * 1000 for share in (0.5, 0.99))
            print(f"/v1/health, {name}: {len(times)} answers, median {p50:.1f} ms, p99 {p99:.1f} ms")
        return p99 < 20


async def cancel(args: argparse.Namespace) -> bool:
    """How long after a DELETE the next photo is at work."""
    async with running() as (daemon, session):
        client, times = await daemon.pair(session, "cancel"), []
        [first, *more] = faces(args.photos + 1)
        await client.protect(first)
        for number, photo in enumerate(more):
            job = await client.post(photo, seed=1)
            while (await _stage(client, job)) != "masking":
                await asyncio.sleep(0.05)
            await asyncio.sleep(0.1 * number)
            after = await client.post(first, seed=1000 + number)
            began = time.monotonic()
            async with client.ask("DELETE", f"/v1/jobs/{job}"):
                pass
            await client.until(after, "running")
            times.append(time.monotonic() - began)
            async with client.ask("DELETE", f"/v1/jobs/{after}"):
                pass
            await client.protect(first, seed=2000 + number)
        starts = await client.metric("pmask_engine_starts_total")
        print(
            f"{len(times)} cancels: the device was free after {max(times):.2f} s at most, median "
            f"{statistics.median(times):.2f} s; the engine was started {starts:.0f} times"
        )
        return max(times) < 1


async def _stage(client: Client, job: str) -> object:
    async with client.ask("GET", f"/v1/jobs/{job}") as answer:
        return (await answer.json())["stage"]


async def _raw(port: int, request: str | bytes, *, end: bool = False) -> int | None:
    """The status of the answer to these very bytes; None if the connection is closed without one."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request if isinstance(request, bytes) else request.encode("latin-1"))
        if end:
            writer.write_eof()
        line = await asyncio.wait_for(reader.readline(), 60)
        return int(line.split()[1]) if line.startswith(b"HTTP/1.") else None
    except OSError:
        return None
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


ROUTES = (
    *("GET /v1/options", "GET /v1/metrics", "POST /v1/warm", "POST /v1/jobs", "GET /v1/jobs/x"),
    *("GET /v1/jobs/x/result", "DELETE /v1/jobs/x", "DELETE /v1/client"),
)
OPEN = ("GET /v1/health", "POST /v1/pair", "GET /")


@dataclass
class Draft:
    """A request to be. lines: its head, but for the first and Host."""

    draw: random.Random
    route: str
    host: str
    token: str
    lines: list[str]
    body: bytes = b""

    def junk(self) -> str:
        """Some text that no path, code or token is."""
        letters = "abcdefghijklmnopqrstuvwxyz0123456789-_./%"
        return "".join(self.draw.choices(letters, k=self.draw.randint(1, 60)))

    def to_bytes(self) -> bytes:
        """As it is sent."""
        if self.body and not any(line.startswith("Content-Length") for line in self.lines):
            self.lines.append(f"Content-Length: {len(self.body)}")
        head = [f"{self.route} HTTP/1.1", f"Host: {self.host}", *self.lines, "", ""]
        return "\r\n".join(head).encode("latin-1") + self.body


def _host(to: Draft) -> None:
    port = to.host.rpartition(":")[2]
    to.route = to.draw.choice(ROUTES + OPEN)
    to.host = to.draw.choice(
        ["evil.example", f"evil.example:{port}", f"0.0.0.0:{port}", "localhost", f"[::1]:{port}", f"127.1:{port}"]
    )


def _origin(to: Draft) -> None:
    to.route = to.draw.choice(ROUTES + OPEN)
    origins = ["https://evil.example", "null", f"http://{to.host}", "file://", f"{EXTENSION}.evil.example", EXTENSION]
    to.lines.append(f"Origin: {to.draw.choice(origins if to.route in ROUTES else origins[:-1])}")


def _site(to: Draft) -> None:
    to.route = to.draw.choice(ROUTES + OPEN)
    to.lines.append(f"Sec-Fetch-Site: {to.draw.choice(['cross-site', 'same-site', to.junk()])}")


def _token(to: Draft) -> None:
    wrong = [to.token[:-1], to.token + "A", to.token.swapcase(), to.junk(), "", "A" * 43]
    to.lines = [f"Authorization: {to.draw.choice(['Bearer', 'Basic', 'bearer'])} {to.draw.choice(wrong)}"]


def _path(to: Draft) -> None:
    method = to.draw.choice(["GET", "POST", "PUT", "DELETE", "PATCH", "TRACE", "OPTIONS", "HEAD", "CONNECT"])
    to.route = f"{method} /{to.draw.choice(['', 'v1/', 'page/', '../', 'v1/jobs/', '%2e%2e/', '/'])}x{to.junk()}"
    to.lines = to.lines if to.draw.random() < 0.5 else []


def _body(to: Draft) -> None:
    to.route = "POST /v1/jobs"
    noise = to.draw.randbytes(2000)
    to.body = to.draw.choice([b"", b"GIF89a", b"\xff\xd8\xff" + noise[:500], noise, b"<svg/>"])
    if to.draw.random() < 0.3:
        wrong = ["[", "{}x", '{"delta": NaN}', '{"team": 1}', "[" * 5000]
        to.lines.append("X-PMask-Options: " + to.draw.choice(wrong))


def _code(to: Draft) -> None:
    to.route, to.lines = "POST /v1/pair", []
    to.body = json.dumps({"code": to.junk(), "name": "x"}).encode()[: to.draw.choice([5, 5000])]


def _oversize(to: Draft) -> None:
    to.route = to.draw.choice(["POST /v1/jobs", "POST /v1/pair"])
    to.lines.append(f"Content-Length: {to.draw.choice([60_000_000, 10**12, 10**19])}")


def _head(to: Draft) -> None:
    to.lines.append(f"X-Long: {'x' * to.draw.choice([70_000, 200_000])}")


def _twice(to: Draft) -> None:
    more = {"Host": [f"Host: {to.host}"], "Origin": [f"Origin: {EXTENSION}"] * 2, "Authorization": to.lines}
    to.lines = [*to.lines, *more[to.draw.choice([*more])]]


def _smuggle(to: Draft) -> None:
    to.route, to.body = "POST /v1/jobs", b"0\r\n\r\nGET /v1/options"
    to.lines += ["Content-Length: 5", "Transfer-Encoding: chunked"]


KINDS: dict[str, Callable[[Draft], None]] = {
    "host": _host,
    "origin": _origin,
    "site": _site,
    "token": _token,
    "path": _path,
    "body": _body,
    "code": _code,
    "oversize": _oversize,
    "head": _head,
    "twice": _twice,
    "smuggle": _smuggle,
}
NOISE = "noise"
"""No request at all."""


def hostile_request(draw: random.Random, kind: str, port: int, token: str) -> bytes:
    """The bytes of one request that must be refused."""
    if kind == NOISE:
        noise = [draw.randbytes(300), b"\0" * 300, b"GET\r\n\r\n", b"\x16\x03\x01" + draw.randbytes(200)]
        return draw.choice(noise) + b"\r\n\r\n"
    bearer = f"Authorization: Bearer {token}"
    draft = Draft(draw=draw, route=draw.choice(ROUTES), host=f"127.0.0.1:{port}", token=token, lines=[bearer])
    KINDS[kind](draft)
    return draft.to_bytes()


async def _drip(port: int, draw: random.Random) -> None:
    """A request that never comes to its end, again and again."""
    while True:
        with contextlib.suppress(OSError):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            try:
                for byte in f"GET /v1/options HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nX-Slow: {'x' * 999}".encode():
                    writer.write(bytes([byte]))
                    await writer.drain()
                    await asyncio.sleep(draw.uniform(0.5, 2))
                    if reader.at_eof():
                        break
            finally:
                writer.close()
        await asyncio.sleep(0.5)


async def _attack(args: argparse.Namespace, port: int, token: str, said: Counter[tuple[str, int | None]]) -> None:
    """All hostile requests, 32 at a time. said: counts each kind's answers, None for a closed connection."""
    draw = random.Random(args.seed)
    kinds = [*KINDS, NOISE]
    queue = iter(range(args.requests))

    async def attacker() -> None:
        for number in queue:
            kind = kinds[number % len(kinds)]
            said[kind, await _raw(port, hostile_request(draw, kind, port, token), end=kind == NOISE)] += 1

    slow = [asyncio.create_task(_drip(port, draw)) for _ in range(args.slow)]
    await asyncio.gather(*(attacker() for _ in range(32)))
    for task in slow:
        task.cancel()
    await asyncio.gather(*slow, return_exceptions=True)


async def hostile(args: argparse.Namespace) -> bool:
    """None is admitted (a status below 400), none crashes (a status from 500), and a client is served meanwhile."""
    async with running("--protector", "stress_daemon:Echo", "--cache-bytes", "0", *args.flags) as (daemon, session):
        client = await daemon.pair(session, "honest")
        photo = next(photos(1, 1))
        await client.protect(photo)
        memory, descriptors = [await client.metric(name) for name in ("pmask_resident_bytes", "pmask_descriptors")]
        said: Counter[tuple[str, int | None]] = Counter()
        served, began = 0, time.monotonic()
        attack = asyncio.create_task(_attack(args, daemon.port, client.token, said))
        while not attack.done():
            with contextlib.suppress(aiohttp.ClientConnectionError):  # all connections may be taken for a moment
                served += await client.protect(photo, seed=served) == echo_of(photo, served)
            await asyncio.wait({attack}, timeout=0.5)
        await attack
        seconds = time.monotonic() - began
        left = (await settled(client, {"pmask_descriptors": descriptors}))["pmask_descriptors"]
        memory_after = await client.metric("pmask_resident_bytes")
    admitted = sum(n for (_, status), n in said.items() if status is not None and status < 400)
    crashed = sum(n for (_, status), n in said.items() if status is not None and status >= 500)
    _print_answers(said)
    print(
        f"{sum(said.values()):,} hostile requests beside {args.slow} slow connections in {seconds:.0f} s: "
        f"{admitted} admitted, {crashed} crashed; {served} photos of an honest client were served meanwhile"
    )
    print(f"memory {memory / 1e6:.1f} -> {memory_after / 1e6:.1f} MB, descriptors {descriptors:.0f} -> {left:.0f}")
    return admitted == crashed == 0 and served > 0 and left <= descriptors and daemon.process.returncode == 0


def _print_answers(said: Counter[tuple[str, int | None]]) -> None:
    for kind in [*KINDS, NOISE]:
        answers = {str(status or "closed"): n for (of, status), n in sorted(said.items(), key=str) if of == kind}
        print(f"{kind:10}", "  ".join(f"{status}: {n}" for status, n in answers.items()))


def main() -> int:
    """Runs what is asked for; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("load")
    one.add_argument("--photos", type=int)
    one.add_argument("--real", action="store_true", help="with the real engine")
    one.set_defaults(act=load)
    for act in (health, cancel):
        one = commands.add_parser(act.__name__)
        one.add_argument("--photos", type=int, default=4)
        one.set_defaults(act=act)
    one = commands.add_parser("hostile")
    one.add_argument("--requests", type=int, default=10_000)
    one.add_argument("--seed", type=int, default=1)
    one.add_argument("--slow", type=int, default=100, help="connections that send a byte now and then, all the while")
    one.add_argument("flags", nargs="*", help="for pmask-server run, after --")
    one.set_defaults(act=hostile)
    args = parser.parse_args()
    return 0 if asyncio.run(asyncio.wait_for(args.act(args), MOST_SECONDS)) else 1


if __name__ == "__main__":
    sys.exit(main())
