"""Kill -9 at random moments during a batch: ``.venv/bin/python scripts/kill_daemon.py``. Linux, as root, with systemd.

A daemon that `pmask-server autostart enable` has set up runs under a real user manager of its own (user_manager.py) and
masks a folder of photos for a client that writes each result to a file. The daemon is killed again and again. Then
`pmask protect` does the same folder, and is killed itself. Afterwards every original must be as it was, every file that
was written must be whole, and the daemon must have been back in time. Prints figures; exit 1 if any of that failed.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import http.client
import io
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image
from user_manager import Unavailable, running

from localserver.clients import Clients
from localserver.config import DEFAULT_PORT
from pmask import files
from pmask.folders import cache_dir
from pmask.options import MaskOptions
from pmask.report import Progress, Report

UNIT = "pmask-server.service"
BACK_WITHIN_S = 2.0
GIVE_UP_S = 60.0
BATCH_S = 900.0
QUICK = {"delta": 0.1, "team": ["sface"], "again": True}
"""Masks that take seconds, so that many moments of a photo's way are hit."""
PART = ".pmask-"


def main(argv: Sequence[str]) -> int:
    """Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=50, help="of the daemon (default: %(default)s)")
    parser.add_argument("--protect-kills", type=int, default=5, help="of pmask protect (default: %(default)s)")
    parser.add_argument("--photos", type=int, default=8, help="in the folder (default: %(default)s)")
    parser.add_argument(
        "--pause", type=float, default=5.0, help="most seconds between two kills (default: %(default)s)"
    )
    parser.add_argument("--stand-in", action="store_true", help="photos take a second and no torch: for a busy machine")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # in order: the manager's cgroup must not stay behind
    if args.inside:
        return inside(args)
    with tempfile.TemporaryDirectory(prefix="pmask-kill-") as name:
        home = Path(name)
        environment = {"PMASK_HOME": str(home / "state"), "PMASK_CACHE": str(cache_dir())}
        paths = os.pathsep.join([str(Path(__file__).resolve().parent), os.environ.get("PYTHONPATH", "")])
        environment |= {"PYTHONPATH": paths, "PMASK_SERVER_DEVICE": "cpu"}
        try:
            with running(home, environment) as manager:
                command = [sys.executable, __file__, *argv, "--inside", str(home)]
                return manager.popen(*command, env=environment).wait()
        except Unavailable as error:
            print(f"Not run: {error}", file=sys.stderr)
            return 1


def inside(args: argparse.Namespace) -> int:
    """Where the manager lives: the same processes, the same loopback."""
    chance, home = random.Random(args.seed), args.inside
    originals, hashes = make_photos(home / "photos", args.photos)
    call("autostart", "enable")
    if args.stand_in:
        use_stand_in(home / ".config" / "systemd" / "user" / UNIT)
    client = Client(home / "state")
    batch = Batch(client, originals, home / "results")
    batch.start()
    back = []
    for _ in range(args.kills):
        back.append(kill_daemon(client, chance.uniform(0, args.pause)))
        print(f"back after {back[-1]:.2f} s; {batch.done} results so far; last failure: {batch.last}", flush=True)
    finished = batch.finish()
    workers = [line for line in run("ps", "ax", "-o", "args").splitlines() if "localserver.worker" in line]
    parts = kill_protect(originals, home / "protected", chance, args.protect_kills)
    late = [seconds for seconds in back if seconds > BACK_WITHIN_S]
    faults: dict[str, Sequence[object]] = {
        "originals that changed": changed(hashes),
        "results that are not whole": broken(home / "results") + broken(home / "protected"),
        "files that nobody knows": strangers(home / "results", originals),
        "photos of the batch without a result": [] if finished else batch.missing(),
        "pairings lost": [] if Clients(home / "state").paired() else ["the client"],
        "restarts that took too long": [f"{seconds:.2f} s" for seconds in late],
        "workers beyond the daemon's own": workers[1:],
    }
    if back:
        back.sort()
        spread = f"back after {back[len(back) // 2]:.2f} s (median), {back[-1]:.2f} s (most)"
        figures = f"{spread}, at a load of {os.getloadavg()[0]:.0f}"
        print(f"daemon killed {len(back)} times: {figures}")
        print(f"batch: {batch.done} results of {batch.tries} tries, {args.photos} photos round after round")
    print(f"pmask protect killed {args.protect_kills} times: {parts} unfinished files under a hidden name left behind")
    for what, found in faults.items():
        print(f"{what}: {', '.join(map(str, found)) or 'none'}")
    return int(any(faults.values()))


# --- the folder


def make_photos(folder: Path, count: int) -> tuple[list[Path], dict[Path, str]]:
    """NASA's astronaut, cut a little differently each time, and the hashes of the files."""
    from skimage import data

    folder.mkdir()
    for number in range(count):
        image = Image.fromarray(data.astronaut()).crop((100 + number, 0, 356 + number, 256))
        image.save(folder / f"photo{number}.jpg", quality=90)
    originals = sorted(folder.iterdir())
    return originals, {path: sha256(path) for path in originals}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def changed(hashes: dict[Path, str]) -> list[Path]:
    return [path for path, digest in hashes.items() if not path.exists() or sha256(path) != digest]


def broken(folder: Path) -> list[Path]:
    """Files under a final name that do not decode to the end."""
    found = []
    for path in folder.glob("*"):
        if path.name.startswith(PART):
            continue
        try:
            with Image.open(path) as image:
                image.load()
        except OSError:
            found.append(path)
    return found


def strangers(folder: Path, originals: Sequence[Path]) -> list[Path]:
    return [path for path in folder.glob("*") if path.name not in {original.name for original in originals}]


# --- the daemon and its client


def call(*args: str) -> str:
    return run(sys.executable, "-m", "localserver", *args)


def run(*command: str) -> str:
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=GIVE_UP_S).stdout


def kill_daemon(client: Client, pause: float) -> float:
    """Kills the daemon after ``pause`` seconds; returns how long it took to answer again, with its proof."""
    time.sleep(pause)
    # Nobody is killed fifty times in a row but here: systemd would think that the daemon cannot live.
    run("systemctl", "--user", "reset-failed", UNIT)
    os.kill(int(run("systemctl", "--user", "show", "-p", "MainPID", "--value", UNIT)), signal.SIGKILL)
    began = time.monotonic()
    while not client.proves_itself():
        if time.monotonic() - began > GIVE_UP_S:
            return GIVE_UP_S
        time.sleep(0.01)
    return time.monotonic() - began


def use_stand_in(unit: Path) -> None:
    """Adds to the unit what is made instead of masks."""
    started = unit.read_text(encoding="utf-8")
    command = next(line for line in started.splitlines() if line.startswith("ExecStart="))
    more = f"{command} --protector kill_daemon:StandIn\nEnvironment=PYTHONPATH={os.environ['PYTHONPATH']}"
    unit.write_text(started.replace(command, more), encoding="utf-8")
    run("systemctl", "--user", "daemon-reload")
    run("systemctl", "--user", "restart", UNIT)


@dataclass(frozen=True)
class Made:
    """As `pmask.protect.Protection`, which would load torch."""

    data: bytes
    report: Report


class StandIn:
    """A protector that takes its time without torch: the photo encoded anew, a second later."""

    def __init__(self, device: str, gallery: Path | None = None) -> None:
        self.device = device

    def warm(self, options: MaskOptions) -> None:
        """There is nothing to load."""

    def protect(
        self,
        data: bytes,
        options: MaskOptions,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> Made:
        """Never looks at ``cancelled``: here, the daemon is killed instead."""
        for step in range(10):
            on_progress(Progress(stage="masking", fraction=step / 10, faces=0))
            time.sleep(0.1)
        out = io.BytesIO()
        with Image.open(io.BytesIO(data)) as image:
            image.save(out, "JPEG")
            width, height = image.size
        done = Report(
            status="protected", faces=(), seconds=1.0, width=width, height=height, format="jpeg", device=self.device
        )
        return Made(data=out.getvalue(), report=done)


class Client:
    """A paired program. One connection a request, as after a crash none can be trusted."""

    def __init__(self, state_dir: Path) -> None:
        clients = Clients(state_dir)
        self._token, client = clients.pair(clients.new_code(), "kill_daemon.py", None)
        self._id = client.id
        self._clients = clients

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, bytes]:
        """Status and body. Raises OSError or HTTPException when the daemon is gone."""
        connection = http.client.HTTPConnection("127.0.0.1", DEFAULT_PORT, timeout=GIVE_UP_S)
        try:
            connection.request(method, path, body, {"Authorization": f"Bearer {self._token}", **headers})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def proves_itself(self) -> bool:
        """Whether a daemon answers that knows this client."""
        challenge = secrets.token_urlsafe(16)
        with contextlib.suppress(OSError, http.client.HTTPException, ValueError):
            _, body = self.request("GET", f"/v1/health?client={self._id}&challenge={challenge}")
            return bool(json.loads(body).get("proof") == self._clients.proof(self._id, challenge, DEFAULT_PORT))
        return False

    def protect(self, photo: bytes, seed: int) -> bytes:
        """One photo's way, with a new seed so that no cache answers. Raises like request, or RuntimeError."""
        options = json.dumps({**QUICK, "seed": seed})
        status, body = self.request("POST", "/v1/jobs", photo, **{"X-PMask-Options": options})
        if status != 202:
            raise RuntimeError(body)
        path, job = f"/v1/jobs/{json.loads(body)['id']}", {"state": "queued", "revision": 0}
        while job["state"] in ("queued", "running"):
            _, body = self.request("GET", f"{path}?wait=15&seen={job['revision']}")
            job = json.loads(body)
            if "error" in job and job.get("state") is None:
                raise RuntimeError(job["error"])  # a new daemon, which knows no such job
        status, result = self.request("GET", f"{path}/result")
        if status != 200:
            raise RuntimeError(job)
        return result


class Batch(threading.Thread):
    """Protects the folder round after round until it is told to finish the current one, come what may."""

    def __init__(self, client: Client, originals: Sequence[Path], results: Path) -> None:
        super().__init__(daemon=True)
        self._client = client
        self._originals = originals
        self._results = results
        self._last_round = threading.Event()
        self.tries = self.done = 0
        self.last = "nothing yet"

    def run(self) -> None:
        """Every photo, again when the daemon was killed below it."""
        while True:
            last = self._last_round.is_set()
            for original in self._originals:
                while not self._one(original):
                    time.sleep(0.2)
            if last:
                return

    def _one(self, original: Path) -> bool:
        self.tries += 1
        try:
            result = self._client.protect(original.read_bytes(), self.tries)
        except (OSError, http.client.HTTPException, RuntimeError, ValueError) as error:
            self.last = f"{type(error).__name__}: {error}"
            return False
        files.write(self._results / original.name, result, original)
        self.done += 1
        return True

    def finish(self) -> bool:
        """One whole round more; whether it came to its end."""
        self._last_round.set()
        self.join(BATCH_S)
        return not self.is_alive()

    def missing(self) -> list[str]:
        """Photos without a result."""
        return [path.name for path in self._originals if not (self._results / path.name).exists()]


# --- pmask protect


def kill_protect(originals: Sequence[Path], out: Path, chance: random.Random, kills: int) -> int:
    """Starts `pmask protect` on the folder and kills it, that often; returns how many unfinished files lie about."""
    out.mkdir()
    photos = [str(path) for path in originals]
    command = [sys.executable, "-m", "pmask.cli", "protect", *photos, "--out", str(out), "--delta", "0.1", "--again"]
    for _ in range(kills):
        process: subprocess.Popen[Any] = subprocess.Popen(
            [*command, "--team", "sface", "--json"], stdout=subprocess.PIPE
        )
        wait_for(lambda one=process: one.stdout.readline())  # type: ignore[misc]  # the first photo is done
        time.sleep(chance.uniform(0, 4))
        process.kill()
        process.communicate()
    return len(list(out.glob(f"{PART}*")))


def wait_for(read: Callable[[], object]) -> None:
    if not read():
        raise RuntimeError("pmask protect ended before its first photo was done")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
