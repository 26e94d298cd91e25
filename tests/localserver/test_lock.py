"""The lock that lets one daemon run: between real processes, with real deaths."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from localserver.lock import AlreadyRunning, Holder, holder, is_held, single_instance
from pmask import __version__

ROOT = Path(__file__).resolve().parents[2]
HOLD = (
    "import subprocess, sys, time; from pathlib import Path; from localserver.lock import single_instance\n"
    "with single_instance(Path(sys.argv[1]), 4711):\n"
    "    worker = subprocess.Popen([sys.executable, '-c', 'import sys; sys.stdin.read()'], stdin=subprocess.PIPE)\n"
    "    print(worker.pid, flush=True); time.sleep(600)\n"
)


@pytest.fixture
def other(tmp_path):
    """Another process that has the lock, and a worker of its own."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=ROOT)
    process.worker = int(process.stdout.readline())
    yield process
    process.kill()
    process.communicate()


def test_a_second_daemon_learns_who_runs(other, tmp_path):
    """The person must find the one that runs: its process and its port."""
    expected = Holder(pid=other.pid, port=4711, version=__version__)
    with pytest.raises(AlreadyRunning) as refused, single_instance(tmp_path, 4712):
        pass
    assert expected == refused.value.holder == holder(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGKILL")
def test_a_killed_holder_leaves_the_lock_although_its_worker_lives(other, tmp_path):
    """After kill -9 the service manager's next daemon must start at once; a worker goes a moment later."""
    os.kill(other.pid, signal.SIGSTOP)  # so that its end of the worker's pipe stays open until the kill
    os.kill(other.pid, signal.SIGKILL)
    other.wait()
    with single_instance(tmp_path, 4712):
        assert os.getpid() == holder_pid(tmp_path)


def holder_pid(folder: Path) -> int:
    """As another process sees it: one's own lock does not stand in one's way everywhere."""
    code = "import sys, pathlib, localserver.lock; print(localserver.lock.holder(pathlib.Path(sys.argv[1])).pid)"
    done = subprocess.run(
        [sys.executable, "-c", code, str(folder)], capture_output=True, text=True, cwd=ROOT, check=True
    )
    return int(done.stdout)


def test_the_lock_is_free_afterwards(tmp_path):
    """An orderly end needs no clean-up, and the file that stays says nothing of a daemon that is gone."""
    for port in (1, 2):
        with single_instance(tmp_path, port):
            pass
    assert (None, False) == (holder(tmp_path), is_held(tmp_path))


def test_nobody_runs_where_nothing_is(tmp_path):
    """Looking makes no file and no folder."""
    assert (None, False) == (holder(tmp_path / "none"), is_held(tmp_path / "none"))
    assert [] == list(tmp_path.iterdir())


def test_a_look_at_the_lock_does_not_keep_a_daemon_from_starting(tmp_path):
    """`doctor` and `status` take the lock for an instant; a daemon that starts just then must wait for them."""
    code = (
        "import sys; from pathlib import Path; from localserver.lock import holder\n"
        "while True: holder(Path(sys.argv[1]))\n"
    )
    with single_instance(tmp_path, 1):
        pass
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], cwd=ROOT) as looker:
        time.sleep(0.5)
        for _ in range(50):
            with single_instance(tmp_path, 2):
                pass
        assert looker.poll() is None, "it must have looked all the while"
        looker.kill()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such modes")
def test_the_lock_is_private(tmp_path):
    """Another user must not be able to hold it, which would keep the daemon from starting."""
    folder = tmp_path / "state"
    with single_instance(folder, 1):
        assert (0o700, 0o600) == (folder.stat().st_mode & 0o777, (folder / "daemon.lock").stat().st_mode & 0o777)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such limits")
def test_a_full_disk_does_not_keep_the_daemon_from_starting(tmp_path):
    """It protects photos without writing anything; what the lock's file says is for people alone."""
    full = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))\n"
    hold = full + HOLD.replace("time.sleep(600)", "sys.exit(0)")
    done = subprocess.run([sys.executable, "-c", hold, str(tmp_path)], capture_output=True, text=True, cwd=ROOT)
    assert (0, "") == (done.returncode, done.stderr)


def test_a_damaged_file_is_a_holder_without_a_name(other, tmp_path):
    """What cannot be read must not end in a traceback."""
    (tmp_path / "daemon.lock").write_bytes(b"[1")
    with pytest.raises(AlreadyRunning) as refused, single_instance(tmp_path, 4712):
        pass
    assert refused.value.holder is None
    assert is_held(tmp_path)
