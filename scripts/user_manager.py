"""A real ``systemd --user`` apart from the machine's own, for tests and for kill_daemon.py: Linux, as root.

It lives in namespaces of its own (mounts, processes, network) and, above all, in a cgroup of its own: a user manager
takes the root of the cgroup tree that it sees for its own, and moves every process of it into a group that it likes.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

SYSTEMD = Path("/usr/lib/systemd/systemd")
START_S = 30
BOOT = """
mount --make-rprivate / && mount -t tmpfs -o mode=755 tmpfs /run &&
mkdir -p /run/systemd/system "$XDG_RUNTIME_DIR" && chmod 700 "$XDG_RUNTIME_DIR" &&
{ umount -l /sys/fs/cgroup || true; } && mount -t cgroup2 none /sys/fs/cgroup && ip link set lo up || exit 3
grep -qx 0::/ /proc/self/cgroup || exit 4
[ "$(wc -l < /sys/fs/cgroup/cgroup.procs)" -le 4 ] || exit 4
"$0" --user --log-target=console &
wait $!
"""
"""0::/ and a handful of processes: this shell's own cgroup, never the machine's."""


class Unavailable(Exception):
    """No user manager can run here; the message says why."""


class UserManager:
    """The manager that `running` started."""

    def __init__(self, process: subprocess.Popen[bytes], environment: dict[str, str]) -> None:
        self._process = process
        self._environment = environment

    def popen(self, *command: str, **more: Any) -> subprocess.Popen[Any]:  # noqa: ANN401 (Popen's own arguments)
        """Starts a command where the manager lives, with its home and its network."""
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            raise Unavailable("the user manager has ended")
        enter = ["nsenter", "-t", children[0], "-m", "-n", "-p", "-C", f"--wd={os.getcwd()}"]
        return subprocess.Popen([*enter, *command], env=self._environment | more.pop("env", {}), **more)

    def run(self, *command: str, timeout: float = 120) -> subprocess.CompletedProcess[str]:
        """Runs a command there to its end."""
        with self.popen(*command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
            try:
                out, error = process.communicate(timeout=timeout)
            except subprocess.TimeoutExpired:
                process.kill()
                raise
        return subprocess.CompletedProcess(command, process.returncode, out, error)

    def show(self, unit: str, prop: str) -> str:
        """A unit's property, as `systemctl show` has it."""
        return self.run("systemctl", "--user", "show", "-p", prop, "--value", unit).stdout.strip()


@contextlib.contextmanager
def running(home: Path, environment: dict[str, str] | None = None) -> Iterator[UserManager]:
    """A user manager whose home is this folder, as after a login; it ends with everything that it started.

    Raises Unavailable.
    """
    _check()
    own = {"HOME": str(home), "XDG_RUNTIME_DIR": "/run/user/pmask", "XDG_CONFIG_HOME": str(home / ".config")}
    passed = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    everything = {**passed, **own, **(environment or {})}
    with _cgroup() as group, (home / "manager.log").open("wb") as log:
        process = subprocess.Popen(
            ["unshare", "-m", "-n", "-p", "-C", "--fork", "--kill-child", "--mount-proc", "bash", "-c", BOOT, SYSTEMD],
            env=everything,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            preexec_fn=lambda: _enter(group),
        )
        try:
            manager = UserManager(process, everything)
            _wait(manager, process, home / "manager.log")
            yield manager
        finally:
            process.kill()  # unshare itself heeds nothing less, and takes all with it (--kill-child)
            process.wait()


def _check() -> None:
    if sys.platform != "linux" or not SYSTEMD.exists():
        raise Unavailable("there is no systemd on this machine")
    missing = [tool for tool in ("unshare", "nsenter", "systemctl", "ip", "bash") if shutil.which(tool) is None]
    if missing:
        raise Unavailable(f"a user manager of one's own needs {', '.join(missing)}")
    if os.geteuid() != 0:
        raise Unavailable("a user manager of one's own needs root, for namespaces and a cgroup")


def _wait(manager: UserManager, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if process.poll() is not None:
            raise Unavailable(f"systemd --user ended with {process.returncode}: {log.read_text()[-500:]}")
        with contextlib.suppress(Unavailable):
            if manager.run("systemctl", "--user", "is-system-running").stdout.strip() in ("running", "degraded"):
                return
        time.sleep(0.1)
    raise Unavailable(f"systemd --user did not start in {START_S} s: {log.read_text()[-500:]}")


@contextlib.contextmanager
def _cgroup() -> Iterator[Path]:
    """A new leaf of the cgroup tree, below the one that we are in; removed once it is empty."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    roots = [Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"]
    own = [line[4:] for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::/")]
    if not roots or not own:
        raise Unavailable("no cgroup2 tree is mounted here")
    group = roots[0] / own[0] / f"pmask-{os.getpid()}-{time.monotonic_ns()}"
    try:
        group.mkdir()
    except OSError as error:
        raise Unavailable(f"no cgroup can be made here: {error}") from error
    try:
        yield group
    finally:
        _remove([path for path in sorted(group.rglob("*"), reverse=True) if path.is_dir()] + [group])


def _remove(groups: Sequence[Path]) -> None:
    for group in groups:
        for _ in range(50):  # the last processes take a moment to be gone
            with contextlib.suppress(OSError):
                group.rmdir()
                break
            time.sleep(0.1)


def _enter(group: Path) -> None:
    (group / "cgroup.procs").write_text(str(os.getpid()))
