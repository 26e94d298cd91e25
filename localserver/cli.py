"""`pmask-server`: runs the daemon; pairs, lists, renames and revokes clients."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime
import errno
import http.client
import json
import logging
import os
import secrets
import signal
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from localserver import lock
from localserver.clients import CODE_LIFETIME, Clients
from localserver.config import HOST, Config, ConfigError, add_flags, given, load
from localserver.errors import BadRequest
from pmask import __version__

_PROBE_TIMEOUT = 2.0
"""Seconds for whatever listens on the port to say what it is."""


def main(argv: Sequence[str] | None = None) -> int:
    """The console script; returns the exit code."""
    args = _parser().parse_args(argv)
    try:
        code: int = args.act(args)
    except ConfigError as error:
        print(f"pmask-server: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"pmask-server: {error}", file=sys.stderr)
        return 1
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="pmask-server", description="The PMask daemon, for the browser extension.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="run the daemon until Ctrl-C")
    add_flags(run)
    run.add_argument("--protector", help=argparse.SUPPRESS)  # module:callable instead of pmask, for tests
    run.set_defaults(act=_run)
    pair = commands.add_parser("pair", help="make a code that pairs one browser or program")
    pair.add_argument("--port", type=int)
    pair.add_argument("--json", action="store_true", help="print code, expires_s and port as JSON")
    pair.set_defaults(act=_pair)
    clients = commands.add_parser("clients", help="list, rename or revoke what is paired").add_subparsers(required=True)
    clients.add_parser("list", help="show id, date, name and origin").set_defaults(act=_list)
    rename = clients.add_parser("rename", help="give one client another name")
    rename.add_argument("id")
    rename.add_argument("name")
    rename.set_defaults(act=_rename)
    revoke = clients.add_parser("revoke", help="forget one client, at once")
    revoke.add_argument("id")
    revoke.set_defaults(act=_revoke)
    login = commands.add_parser("autostart", help="start the daemon at login")
    login.add_argument("act_on", choices=["enable", "disable", "status"])
    login.add_argument("--json", action="store_true", help="print what is set up as JSON")
    login.set_defaults(act=_autostart)
    doctor = commands.add_parser("doctor", help="say what is wrong, and how to mend it")
    doctor.add_argument("--config", type=Path, metavar="FILE", help="the settings to look at")
    doctor.add_argument("--json", action="store_true", help="print subject, level, words and cure as JSON")
    doctor.set_defaults(act=_doctor)
    return parser


def _run(args: argparse.Namespace) -> int:
    config = load(given(args), path=args.config)
    _fill_stdio()
    try:
        with lock.single_instance(config.state_dir, config.port):
            return _run_alone(config, args.protector)
    except lock.AlreadyRunning as taken:
        return _say_running(taken.holder)


def _run_alone(config: Config, protector: str | None) -> int:
    try:
        listener = _listen(config.port)
    except OSError as error:
        if error.errno not in (errno.EADDRINUSE, errno.EACCES):  # EACCES: Windows, taken exclusively
            raise
        return _say_taken(config.port)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(config, listener, protector))
    return 0


async def _serve(config: Config, listener: socket.socket, protector: str | None) -> None:
    """Serves until SIGINT or SIGTERM. aiohttp is imported here, for the other commands to be quick."""
    from localserver import log
    from localserver.app import DOORMAN, create_app
    from localserver.engine import PROTECTOR, WorkerEngine
    from localserver.serving import most_connections

    log.configure(config)
    if config.gallery is not None and not os.path.isdir(config.gallery):
        words = "the gallery %s is not there; until it is, photos are protected without it"
        logging.getLogger(__name__).warning(words, config.gallery)
    config = replace(config, connections=most_connections(config.connections))
    engine = WorkerEngine(config, protector or PROTECTOR)
    app, stop = create_app(config, engine, Clients(config.state_dir)), _stop_signal()
    async with app[DOORMAN].serve(app, listener):
        with contextlib.suppress(OSError):  # into a file, on a disk that is full
            print(f"PMask {__version__} listens on http://{HOST}:{config.port}/ (open it in a browser)", flush=True)
        await stop.wait()


def _fill_stdio() -> None:
    """Puts the null device where a standard stream has no file: else the first socket would be given the number of
    standard error, and the log. Whether one has is asked of each: where the starter left them closed they are free, but
    under pythonw.exe Windows' runtime counts them as open."""
    null = os.open(os.devnull, os.O_RDWR)
    os.set_inheritable(null, null <= 2)
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.dup2(null, number)
    if null > 2:
        os.close(null)
    sys.stdout, sys.stderr = sys.stdout or os.fdopen(1, "w"), sys.stderr or os.fdopen(2, "w")


def _stop_signal() -> asyncio.Event:
    """Set by SIGINT or SIGTERM; by the signal module, since Windows' event loop takes no handlers."""
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop.set))
    return stop


def _listen(port: int) -> socket.socket:
    """The daemon's socket. Nobody can share the port."""
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


def _say_running(holder: lock.Holder | None) -> int:
    if holder is None:
        print("A PMask daemon is already running.", file=sys.stderr)
    else:
        what = f"A PMask daemon (version {holder.version}) is already running on port {holder.port}"
        print(f"{what} (process {holder.pid}).", file=sys.stderr)
    return 1


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
    """The code goes to whatever has the port, so there is none unless that is this person's own daemon."""
    folder = Config().state_dir
    if not lock.is_held(folder):
        return _say_none_runs(load({"port": args.port}))
    running = lock.holder(folder)
    if running and args.port not in (None, running.port):
        print(f"Your PMask daemon runs on port {running.port}, not {args.port}.", file=sys.stderr)
        return 1
    port = running.port if running else load({"port": args.port}).port
    code = Clients(folder).new_code()
    if args.json:
        print(json.dumps({"code": code, "expires_s": int(CODE_LIFETIME), "port": port}))
    else:
        fresh = secrets.token_hex(4)  # an address that no browser has a page for, of another program that had the port
        print(
            f"\n    Pairing code:   {code[:4]} {code[4:]}\n\n"
            "Open the PMask extension's settings in your browser and type it there,\n"
            f"or open PMask's own page with it: http://{HOST}:{port}/?{fresh}#pair={code}\n"
            f"It works once, within {int(CODE_LIFETIME) // 60} minutes, for one browser."
        )
    if _probe(port) is None:
        print(f"Your PMask daemon does not answer on port {port} yet.", file=sys.stderr)
    return 0


def _say_none_runs(config: Config) -> int:
    from localserver import doctor

    found = doctor.daemon(config, _probe)
    print(f"No code is made without a daemon of yours: {found.words}. {found.cure}", file=sys.stderr)
    return 1


def _list(args: argparse.Namespace) -> int:
    for client in Clients(Config().state_dir).paired():
        day = datetime.datetime.fromtimestamp(client.created).strftime("%Y-%m-%d %H:%M")
        print(f"{client.id}  {day}  {client.name}  {client.origin or '-'}")
    return 0


def _rename(args: argparse.Namespace) -> int:
    try:
        known = Clients(Config().state_dir).rename(args.id, args.name)
    except BadRequest as error:
        print(f"pmask-server: {error}", file=sys.stderr)
        return 2
    if not known:
        return _say_unknown(args.id)
    print(f"Client {args.id} is now called {args.name}.")
    return 0


def _revoke(args: argparse.Namespace) -> int:
    if not Clients(Config().state_dir).revoke(args.id):
        return _say_unknown(args.id)
    print(f"Client {args.id} is revoked.")
    return 0


def _say_unknown(client_id: str) -> int:
    print(f"No client {client_id} is paired; see: pmask-server clients list", file=sys.stderr)
    return 1


def _autostart(args: argparse.Namespace) -> int:
    from localserver import autostart
    from localserver.login_managers import AutostartFailed, manager_of

    act = {"enable": autostart.enable, "disable": autostart.disable, "status": autostart.status}[args.act_on]
    try:
        status = act(manager_of(), Config().state_dir)
    except AutostartFailed as error:
        print(f"pmask-server: {error}", file=sys.stderr)
        return 1
    if args.json:
        print(json.dumps(asdict(status)))
    else:
        print("\n".join(autostart.words(status)))
    return int(args.act_on != "disable" and (not status.enabled or bool(status.stale)))


def _doctor(args: argparse.Namespace) -> int:
    from localserver import doctor

    findings = doctor.examine(_probe, args.config)
    print(json.dumps([asdict(found) for found in findings]) if args.json else "\n".join(doctor.words(findings)))
    return int(any(found.level == "problem" for found in findings))
