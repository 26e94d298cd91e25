"""Starts the daemon at login, by what the system has for that (login_managers.py).

One entry, always of the same name: the Python that ran `pmask-server autostart enable` and the folder that it imports
PMask from. Both may move or vanish later; `status` says so and `enable` writes the entry anew.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path

from localserver import lock
from localserver.login_managers import SAME_FOLDERS, AutostartFailed, Manager

_START_S = 10.0
"""Seconds for a daemon that was just started to take its lock."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """manager: in words. place: where the entry is or would be. stale: why the entry does not start this PMask."""

    manager: str
    place: str
    enabled: bool
    running: bool
    stale: tuple[str, ...] = ()


def enable(manager: Manager, folder: Path) -> Status:
    """Writes the entry if it is missing or stale, and starts the daemon. One that was started by hand goes on.

    Raises AutostartFailed or OSError."""
    before = status(manager, folder)
    if not before.enabled or before.stale:
        manager.write(manager.render(manager.wanted()))
        manager.register()
    if not before.running or (before.stale and manager.runs()):
        try:
            manager.start()
        except AutostartFailed as error:
            raise AutostartFailed(f"The daemon will start at your next login, but not now: {error}") from error
        _wait_for(folder)
    return status(manager, folder)


def disable(manager: Manager, folder: Path) -> Status:
    """Removes the entry, if there is one."""
    if manager.read() is not None or manager.is_enabled():
        manager.remove()
    return status(manager, folder)


def status(manager: Manager, folder: Path) -> Status:
    """What is set up now, and whether any daemon runs, however it was started."""
    entry = manager.read()
    return Status(
        manager=manager.title,
        place=str(manager.place),
        enabled=entry is not None and manager.is_enabled(),
        running=lock.is_held(folder),
        stale=tuple(_faults(manager, entry)) if entry is not None else (),
    )


def words(status: Status) -> list[str]:
    """A status for people, a line each."""
    lines = [
        f"Start at login: {'on' if status.enabled else 'off'}, by {status.manager} ({status.place})",
        f"The daemon {'runs' if status.running else 'does not run'} now.",
        *(f"The entry is stale: {fault}." for fault in status.stale),
    ]
    if status.stale or not status.enabled:
        lines.append(f"{'To write it anew' if status.stale else 'To switch it on'}: pmask-server autostart enable")
    return lines


def _faults(manager: Manager, entry: bytes) -> list[str]:
    """Why the entry does not start what `wanted` names."""
    wanted = manager.wanted()
    try:
        found = manager.parse(entry)
    except (ValueError, LookupError):
        return ["it was not written by PMask, or was damaged"]
    faults = []
    if not Path(found.python).exists():
        faults.append(f"its Python, {found.python}, is no longer there")
    elif found.python != wanted.python:
        faults.append(f"it starts another Python, {found.python}")
    if not Path(found.folder).is_dir():
        faults.append(f"its folder, {found.folder}, is no longer there")
    elif found.folder != wanted.folder:
        faults.append(f"it starts the PMask of another folder, {found.folder}")
    for name in SAME_FOLDERS if manager.carries_environment else ():
        there, own = found.environment.get(name), wanted.environment.get(name)
        if there != own:
            faults.append(f"{name} is {there or 'not set'} there, and {own} here")
    as_now = manager.render(replace(wanted, environment=found.environment))
    if not faults and manager.keeps_the_text and entry != as_now:
        faults.append("it was written by another version of PMask, or changed by hand")
    return faults


def _wait_for(folder: Path) -> None:
    end = time.monotonic() + _START_S
    while not lock.is_held(folder) and time.monotonic() < end:
        time.sleep(0.1)
