"""`pmask-server` as a person runs it: in processes of its own."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import pytest

from localserver.cli import main

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGTERM that a process can handle")


@pytest.fixture
def port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return free.getsockname()[1]


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Starts `pmask-server` with a state folder of its own."""
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(HERE)]))

    def run(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run([sys.executable, "-m", "localserver", *args], capture_output=True, text=True, timeout=30)

    return run


@pytest.fixture
def start(command, tmp_path):
    """Starts daemons that end with the test; returns once they listen. Their log is in log.txt."""
    running: list[subprocess.Popen[str]] = []

    def go(port: int, *args: str, before: Sequence[str] = ()) -> subprocess.Popen[str]:
        with open(tmp_path / "log.txt", "a") as log:
            process = subprocess.Popen(
                [*before, sys.executable, "-m", "localserver", "run", "--port", str(port), *args],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )
        running.append(process)
        assert f"listens on http://127.0.0.1:{port}" in process.stdout.readline()
        return process

    yield go
    for process in running:
        process.kill()
        process.communicate()


def call(port: int, method: str, path: str, data: bytes | None = None, **headers: str):
    """Status, headers and body of an answer."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}", data, headers, method=method)
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=20) as answer:
            return answer.status, answer.headers, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.headers, error.read()


def paired(port: int, command) -> str:
    """A token, got the way that a browser gets it."""
    code = json.loads(command("pair", "--json", "--port", str(port)).stdout)["code"]
    status, _, body = call(port, "POST", "/v1/pair", json.dumps({"code": code, "name": "Secretive name"}).encode())
    assert 200 == status
    return json.loads(body)["token"]


def test_a_photo_is_protected_by_a_daemon_that_was_started_by_hand(start, command, port, photo, tmp_path):
    """Pairing across processes, the worker and the stop, all real; and a log that gives nothing away."""
    daemon = start(port, "--protector", "protectors:Good")
    token = paired(port, command)
    bearer = {"Authorization": f"Bearer {token}"}
    _, _, body = call(port, "POST", "/v1/jobs", photo, **bearer)
    job = json.loads(body)["id"]
    while json.loads(call(port, "GET", f"/v1/jobs/{job}?wait=5", **bearer)[2])["state"] != "done":
        pass
    assert photo + b" protected" == call(port, "GET", f"/v1/jobs/{job}/result", **bearer)[2]
    call(port, "GET", "/v1/options", Authorization=f"Bearer {token[:-1]}", **{"X-Photo": "secret.jpg"})
    send_nonsense(port, f"Bearer {token}")
    daemon.send_signal(signal.SIGTERM)
    assert 0 == daemon.wait(10)
    log = (tmp_path / "log.txt").read_text()
    assert "a job ended" in log
    assert "aiohttp" in log
    for secret in (token, token[:-1], job, "Secretive", "secret.jpg", "Traceback"):
        assert secret not in log


def send_nonsense(port: int, value: str) -> None:
    """A header that aiohttp cannot parse, and would quote in its log."""
    with socket.create_connection(("127.0.0.1", port)) as connection:
        connection.sendall(f"GET / HTTP/1.1\r\nAuthorization: {value}\0\r\n\r\n".encode())
        assert b" 400 " in connection.recv(100)


@posix
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_it_in_order_and_at_once(start, command, port, photo, number):
    """A service manager kills what dawdles. A mask and a long poll under way do not hold it up."""
    daemon = start(port, "--protector", "protectors:Patient")
    bearer = {"Authorization": f"Bearer {paired(port, command)}"}
    job = json.loads(call(port, "POST", "/v1/jobs", photo, **bearer)[2])["id"]
    path = f"/v1/jobs/{job}?wait=20&seen=999"
    poll = threading.Thread(target=lambda: call(port, "GET", path, **bearer))
    poll.start()
    time.sleep(1)
    began = time.monotonic()
    daemon.send_signal(number)
    assert 0 == daemon.wait(10)
    poll.join(5)
    assert 4 > time.monotonic() - began


def test_only_one_runs_on_a_port(start, command, port):
    """Two daemons would fight over pairing codes; who starts a second one is told plainly."""
    first = start(port)
    second = command("run", "--port", str(port))
    assert (1, f"A PMask daemon (version 0.1.0) is already running on port {port} (process {first.pid}).\n") == (
        second.returncode,
        second.stderr,
    )


def test_only_one_runs_for_one_account(start, command, port):
    """On another port too: both would take the same codes, and each would know half of the clients."""
    first = start(port)
    second = command("run", "--port", str(port + 1))
    assert 1 == second.returncode
    assert f"already running on port {port} (process {first.pid})" in second.stderr


UNUSABLE = """
import os, sys
for number in range(3):
    os.dup2(os.open("/", os.O_PATH), number)
def fstat(number, real=os.fstat):
    if os.readlink(f"/proc/self/fd/{number}") == "/":
        raise OSError(6, "The handle is invalid")
    return real(number)
os.fstat, sys.stdin, sys.stdout, sys.stderr = fstat, None, None, None
from localserver import cli
sys.exit(cli.main(sys.argv[1:]))
"""
"""Standard streams as pythonw.exe has them: their numbers are not free, but no file can be used through them."""
linux = pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="reads Linux's /proc")


@pytest.mark.parametrize(
    "starter",
    [
        pytest.param(["sh", "-c", 'exec "$@" <&- >&- 2>&-', "sh", sys.executable, "-m", "localserver"], marks=posix),
        pytest.param([sys.executable, "-c", UNUSABLE], marks=linux),
    ],
    ids=["closed", "unusable"],
)
def test_it_runs_without_standard_streams(command, port, photo, starter):
    """A starter may close them, and Windows' pythonw.exe has none: the daemon must start all the same, and its first
    socket must not take the place of standard error."""
    daemon = subprocess.Popen([*starter, "run", "--port", str(port), "--protector", "protectors:Good"])
    try:
        wait_for(port, daemon)
        bearer = {"Authorization": f"Bearer {paired(port, command)}"}
        job = json.loads(call(port, "POST", "/v1/jobs", photo, **bearer)[2])["id"]
        while (state := json.loads(call(port, "GET", f"/v1/jobs/{job}?wait=5", **bearer)[2])["state"]) != "done":
            assert state != "failed"
        assert photo + b" protected" == call(port, "GET", f"/v1/jobs/{job}/result", **bearer)[2]
    finally:
        daemon.kill()
        daemon.wait()


def wait_for(port: int, daemon: subprocess.Popen) -> None:
    """Until the daemon listens on the port."""
    for _ in range(300):
        assert daemon.poll() is None, "the daemon has ended"
        try:
            socket.create_connection(("127.0.0.1", port)).close()
            return
        except OSError:
            time.sleep(0.1)
    raise AssertionError(f"nothing listens on port {port}")


@posix
def test_it_runs_on_a_full_disk(command, port, tmp_path):
    """Of all that it cannot write, its own words among it, a photo needs nothing."""
    full = "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0)); from localserver import cli\n"
    arguments = [sys.executable, "-c", full + "sys.exit(cli.main(sys.argv[1:]))", "run", "--port", str(port)]
    with open(tmp_path / "log.txt", "w") as log:
        daemon = subprocess.Popen(arguments, stdout=log, stderr=log)
    try:
        wait_for(port, daemon)
        assert 200 == call(port, "GET", "/v1/health")[0]
    finally:
        daemon.kill()
        daemon.wait()


@posix
@pytest.mark.parametrize(("limit", "most"), [("-Sn 256", 256), ("-n 500", 52)])
def test_few_descriptors_keep_no_client_out(start, command, port, tmp_path, limit, most):
    """256 are what macOS gives: before strangers' connections use them up, the daemon asks for more, or takes fewer."""
    start(port, before=["sh", "-c", f'ulimit {limit}; exec "$@"', "sh"])
    bearer = {"Authorization": f"Bearer {paired(port, command)}"}
    strangers = [socket.create_connection(("127.0.0.1", port)) for _ in range(300)]
    status, _, body = call(port, "GET", "/v1/metrics", **bearer)
    assert (200, f"pmask_connections {most}.0") == (status, re.search(r"pmask_connections \d.*", body.decode())[0])
    for one in strangers:
        one.close()
    assert "out of system resource" not in (tmp_path / "log.txt").read_text()


def test_a_port_that_another_program_has_is_named_as_such(command):
    """Starting the daemon once more would not help; another port does."""

    class Other(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b'["hello"]')

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Other) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        result = command("run", "--port", str(server.server_port))
        server.shutdown()
        thread.join()
    assert 1 == result.returncode
    assert "another program" in result.stderr


def test_pair_says_how_to_start_a_daemon_that_is_not_there(command, port):
    """A code would leave a person in front of an extension that finds nothing."""
    result = command("pair", "--port", str(port))
    assert (1, "") == (result.returncode, result.stdout)
    assert "it does not run. Run: pmask-server run" in result.stderr


def test_pair_leads_nobody_to_another_persons_program(start, command, port, tmp_path, monkeypatch):
    """It has the port while one's own daemon does not run, and would be given the code, then the photos."""
    start(port)
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "mine"))
    with socket.create_server(("127.0.0.1", 0)) as other:
        there = other.getsockname()[1]
        results = [command("pair", "--port", str(port)), command("pair", "--json", "--port", str(there))]
    assert [(1, "")] * 2 == [(result.returncode, result.stdout) for result in results]
    assert f"a PMask daemon that is not yours answers on port {port}" in results[0].stderr
    assert f"port {there} is taken by another program" in results[1].stderr


def test_pair_leads_to_no_other_port_than_the_daemons(start, command, port):
    """A port that was mistyped may be anybody's."""
    start(port)
    result = command("pair", "--port", str(port + 1))
    assert (1, "", f"Your PMask daemon runs on port {port}, not {port + 1}.\n") == (
        *(result.returncode, result.stdout, result.stderr),
    )


def test_pair_shows_the_page_with_its_code(start, command, port):
    """One click pairs the local page; the code stands behind the #, which browsers send nowhere."""
    start(port)
    result = command("pair", "--port", str(port))
    [shown] = re.findall(r"Pairing code: +([A-Z2-9]{4} [A-Z2-9]{4})\n", result.stdout)
    address = rf"http://127\.0\.0\.1:{port}/\?[0-9a-f]{{8}}#pair={shown.replace(' ', '')}\n"
    assert re.search(address, result.stdout), "always another, so that no browser has it in its cache"


def test_pair_leads_to_the_daemon_that_runs(start, command, port):
    """It was started with a port of its own, which the settings do not know; a page at theirs would find nothing."""
    start(port)
    result = command("pair")
    assert f"http://127.0.0.1:{port}/?" in result.stdout
    assert "" == result.stderr


def test_settings_that_are_wrong_for_now_hold_up_neither_the_daemon_nor_pair(start, command, port, tmp_path):
    """At login the gallery's disk may not be mounted yet; the day's uploads would be without protection. And whoever
    edits the settings can pair with the daemon that runs all the while."""
    settings, gallery = tmp_path / "home" / "server.toml", tmp_path / "usb"
    settings.parent.mkdir()
    settings.write_text(f"gallery = {str(gallery)!r}")
    start(port)
    assert f"the gallery {gallery} is not there" in (tmp_path / "log.txt").read_text()
    settings.write_text("prot = ")
    result = command("pair", "--json")
    assert (0, port) == (result.returncode, json.loads(result.stdout)["port"])


def test_pair_speaks_json(start, command, port):
    """For scripts and tests; nothing else on stdout or stderr."""
    start(port)
    result = command("pair", "--port", str(port), "--json")
    assert (0, "") == (result.returncode, result.stderr)
    body = json.loads(result.stdout)
    assert {"code", "expires_s", "port"} == set(body)
    assert (120, port) == (body["expires_s"], body["port"])


def test_clients_are_listed_renamed_and_revoked(start, command, port):
    """A person sees who may send photos, and can end it while the daemon runs."""
    start(port)
    bearer = {"Authorization": f"Bearer {paired(port, command)}"}
    assert 200 == call(port, "GET", "/v1/options", **bearer)[0]
    [line] = command("clients", "list").stdout.splitlines()
    client_id = line.split()[0]
    assert "Secretive name" in line
    assert 0 == command("clients", "rename", client_id, "The laptop").returncode
    assert "The laptop" in command("clients", "list").stdout
    assert 1 == command("clients", "rename", "nobody", "x").returncode
    assert 2 == command("clients", "rename", client_id, "\x1b[31m").returncode
    assert 0 == command("clients", "revoke", client_id).returncode
    assert 401 == call(port, "GET", "/v1/options", **bearer)[0]
    again = command("clients", "revoke", client_id)
    assert (1, "") == (again.returncode, again.stdout)
    assert "" == command("clients", "list").stdout


@pytest.mark.parametrize("args", [[], ["run", "--port", "80"], ["run", "--port", "x"], ["run", "--device", "tpu"]])
def test_wrong_usage_exits_with_2(args, capsys):
    """As every command line does."""
    with pytest.raises(SystemExit) as stopped:
        main(args)
    assert 2 == stopped.value.code
    assert "usage: pmask-server" in capsys.readouterr().err


def test_a_state_folder_that_cannot_be_written_is_named(tmp_path, monkeypatch, capsys):
    """A sentence, not a traceback."""
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "file"))
    assert 1 == main(["run"])
    assert re.match(r"pmask-server: .+file", capsys.readouterr().err)


def test_importing_the_daemon_loads_nothing_heavy():
    """It starts at login and rests in memory: torch and OpenCV belong to the worker."""
    code = (
        "import sys, localserver.app, localserver.cli; print(sorted({'torch', 'torchvision', 'cv2'} & {*sys.modules}))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=True)
    assert "[]" == result.stdout.strip()


def test_the_command_line_loads_nothing_heavy():
    """A command such as `status` or `pair` answers at once: what takes seconds to load is left to those who need it."""
    code = "import sys, localserver.cli; print(*{'torch', 'aiohttp', 'numpy', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True, capture_output=True, text=True)
    assert "" == done.stdout.strip()


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads Linux's /proc")
def test_the_daemon_at_rest_is_small(start, port):
    """It is there all day, for a few photos a week."""
    daemon = start(port)
    [kilobytes] = re.findall(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{daemon.pid}/status").read_text())
    assert 150_000 > int(kilobytes)


def test_a_whole_session_leaves_no_secret_in_any_log(start, command, port, photo, tmp_path):
    """Jobs that end well, are refused, fail and take the worker with them: no line on stderr or in the files holds a
    photo, a file's name, a token, a pairing code, or an id that could fetch a photo."""
    start(port, "--protector", "protectors:Choosy", "--log-level", "info")
    code = json.loads(command("pair", "--json", "--port", str(port)).stdout)["code"]
    body = json.dumps({"code": code, "name": "Secretive name"}).encode()
    token = json.loads(call(port, "POST", "/v1/pair", body)[2])["token"]
    bearer = {"Authorization": f"Bearer {token}"}
    secrets, outcomes = [token, token[:20], code, "Secretive", "secret", "X-PMask", "Traceback"], []
    for seed in (0, 1, 2, 3):  # see protectors.Choosy
        options = {"X-PMask-Options": json.dumps({"seed": seed}), "X-File-Name": "secret.jpg"}
        job = json.loads(call(port, "POST", "/v1/jobs?name=secret.jpg", photo, **bearer, **options)[2])["id"]
        while (state := json.loads(call(port, "GET", f"/v1/jobs/{job}?wait=5", **bearer)[2]))["state"] in (
            *("queued", "running"),
        ):
            pass
        outcomes.append(state["error"]["code"] if state["error"] else state["state"])
        secrets.append(job)
    assert ["done", "engine_failed", "out_of_memory", "engine_failed"] == outcomes
    refused = [
        call(port, "POST", "/v1/jobs", photo[:-200] + b"secret.jpg", **bearer),
        call(port, "POST", "/v1/jobs", b"secret.jpg", **bearer),
        call(port, "POST", "/v1/jobs", photo, **bearer, **{"X-PMask-Options": '{"secret.jpg": 1}'}),
        call(port, "POST", "/v1/pair", body),
        call(port, "GET", "/v1/jobs/secret.jpg/result", **bearer),
        call(port, "GET", "/secret.jpg", **bearer),
        call(port, "GET", "/v1/options", Authorization=f"Bearer {token[:-1]}"),
    ]
    assert {400, 401, 403, 404, 415} >= {status for status, _, _ in refused[1:]}
    send_nonsense(port, f"Bearer {token}")
    kept = [path.read_bytes() for path in (tmp_path / "home").rglob("*") if path.is_file()]
    assert [] == [data for data in kept if photo[100:120] in data], "photos and results are in memory only"
    files = [tmp_path / "log.txt", *(tmp_path / "home" / "log").iterdir()]
    assert ["log.txt", "server.log"] == [path.name for path in files]
    for path in files:
        said = path.read_text(encoding="utf-8")
        assert "out_of_memory" in said
        assert "protectors.py" in said  # where it failed
        assert "aiohttp" in said  # of the nonsense
        for secret in [*secrets, photo[100:120].hex(), repr(photo[100:120])[2:-1]]:
            assert secret not in said, (path.name, secret)
