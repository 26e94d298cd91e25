"""`pmask-server`: runs the daemon, pairs clients, lists and revokes them."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import errno
import http.client
import json
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from localserver.clients import CODE_LIFETIME, Clients
from localserver.config import DEFAULT_PORT, HOST, Config
from pmask import __version__

_PROBE_TIMEOUT = 2.0
"""Seconds for whatever listens on the port to say what it is."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.act(args)
    except OSError as error:
        print(f"pmask-server: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pmask-server", description="The PMask daemon, for the browser extension.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the daemon until Ctrl-C")
    run.add_argument("--port", type=_port, default=DEFAULT_PORT)
    run.add_argument("--device", choices=["auto", "cpu", "cuda", "mps"], default="auto")
    run.add_argument("--gallery", type=_folder, metavar="DIR", help="more photos, of you and of other people")
    run.add_argument("--protector", help=argparse.SUPPRESS)  # module:callable instead of pmask, for tests
    run.set_defaults(act=_run)
    pair = commands.add_parser("pair", help="make a code that pairs one browser or program")
    pair.add_argument("--port", type=_port, default=DEFAULT_PORT)
    pair.add_argument("--json", action="store_true", help="print code, expires_s and port as JSON")
    pair.set_defaults(act=_pair)
    clients = commands.add_parser("clients", help="list or revoke what is paired").add_subparsers(required=True)
    clients.add_parser("list", help="show id, date, name and origin").set_defaults(act=_list)
    revoke = clients.add_parser("revoke", help="forget one client, at once")
    revoke.add_argument("id")
    revoke.set_defaults(act=_revoke)
    return parser


def _run(args: argparse.Namespace) -> int:
    config = Config(port=args.port, device=args.device, gallery=args.gallery)
    try:
        listener = _listen(config.port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):  # EACCES: Windows, taken exclusively
            raise
        return _say_taken(config.port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(config, listener, args.protector))
    return 0


async def _serve(config: Config, listener: socket.socket, protector: str | None) -> None:
    """Serves until SIGINT or SIGTERM. aiohttp is imported here, for the other commands to be quick."""
    from aiohttp import web

    from localserver import log
    from localserver.app import SERVER_OPTIONS, create_app
    from localserver.engine import PROTECTOR, WorkerEngine

    log.configure()
    engine = WorkerEngine(config, protector or PROTECTOR)
    runner = web.AppRunner(create_app(config, engine, Clients(config.state_dir)), **SERVER_OPTIONS)
    stop = _stop_signal()
    await runner.setup()
    try:
        await web.SockSite(runner, listener).start()
        print(f"PMask {__version__} listens on http://{HOST}:{config.port}/ (open it in a browser)", flush=True)
        await stop.wait()
    finally:
        await runner.cleanup()


def _stop_signal() -> asyncio.Event:
    """Set by SIGINT or SIGTERM; by the signal module, since Windows' event loop takes no handlers."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


def _listen(port: int) -> socket.socket:
    """The daemon's socket, and the lock that lets only one run."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    try:
        if sys.platform == "win32":  # elsewhere nobody can share a port that is listened on
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_EXCLUSIVEADDRUSE, 1)
        else:  # a restart need not wait for old connections to fade
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind((HOST, port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def _say_taken(port: int) -> int:
    daemon = _probe(port)
    if daemon is not None:
        print(f"A PMask daemon (version {daemon['version']}) is already running on port {port}.", file=sys.stderr)
    else:
        print(f"Port {port} is taken by another program; choose one with --port.", file=sys.stderr)
    return 1


def _probe(port: int) -> dict[str, Any] | None:
    """What a PMask daemon on this port says of itself; None if there is none."""
    connection = http.client.HTTPConnection(HOST, port, timeout=_PROBE_TIMEOUT)
    try:
        connection.request("GET", "/v1/health")
        answer = json.loads(connection.getresponse().read(4096))
    except (OSError, http.client.HTTPException, ValueError):
        return None
    finally:
        connection.close()
    known = isinstance(answer, dict) and answer.get("product") == "pmask" and isinstance(answer.get("version"), str)
    return answer if known else None


def _pair(args: argparse.Namespace) -> int:
    code = Clients(Config().state_dir).new_code()
    if args.json:
        print(json.dumps({"code": code, "expires_s": int(CODE_LIFETIME), "port": args.port}))
    else:
        print(
            f"\n    Pairing code:   {code[:4]} {code[4:]}\n\n"
            "Open the PMask extension's settings in your browser and type it there,\n"
            f"or open PMask's own page with it: http://{HOST}:{args.port}/#pair={code}\n"
            f"It works once, within {int(CODE_LIFETIME) // 60} minutes, for one browser."
        )
    if _probe(args.port) is None:
        other = "" if args.port == DEFAULT_PORT else f" --port {args.port}"
        print(f"No PMask daemon answers on port {args.port}. Start it: pmask-server run{other}", file=sys.stderr)
    return 0


def _list(args: argparse.Namespace) -> int:
    for client in Clients(Config().state_dir).paired():
        day = datetime.datetime.fromtimestamp(client.created).strftime("%Y-%m-%d %H:%M")
        print(f"{client.id}  {day}  {client.name}  {client.origin or '-'}")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    if not Clients(Config().state_dir).revoke(args.id):
        print(f"No client {args.id} is paired; see: pmask-server clients list", file=sys.stderr)
        return 1
    print(f"Client {args.id} is revoked.")
    return 0


def _folder(text: str) -> Path:
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"{text} is no folder")
    return Path(text).resolve()


def _port(text: str) -> int:
    """Above 1023: a port 80 would not show in the Host header, and needs rights that the daemon must not have."""
    if not text.isascii() or not text.isdigit() or not 1024 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError("must be a number from 1024 to 65535")
    return int(text)
