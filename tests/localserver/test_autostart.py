"""Start at login: what is written, what the systems' own validators say of it, and a real `systemd --user`."""

from __future__ import annotations

import codecs
import json
import os
import plistlib
import re
import shutil
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest

from localserver import autostart, login_managers
from localserver.lock import single_instance
from localserver.login_managers import ARGUMENTS, Command, LaunchAgent, Systemd, TaskScheduler, XdgAutostart
from pmask.folders import cache_dir, state_dir

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "scripts"))

import user_manager  # noqa: E402

posix = pytest.mark.skipif(sys.platform == "win32", reason="the stand-ins are shell scripts")
MANAGERS = [Systemd, XdgAutostart, LaunchAgent, TaskScheduler]
FILES = [Systemd, XdgAutostart]
ODD = Command(
    python='/opt/a b/50% "of" $HOME/Käthe\'s \\ `id`/python',
    folder="/srv/50% $HOME/ü \\n",
    environment={"PMASK_HOME": '/home/x y/50% "q" \\ $A', "PMASK_SERVER_PORT": "28800"},
)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """A home of the test's own, and none of this machine's variables."""
    for name in [name for name in os.environ if name.startswith(("PMASK_", "XDG_"))]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    return tmp_path


@pytest.fixture
def state(home):
    return home / "state"


@pytest.mark.parametrize("kind", MANAGERS)
def test_what_is_written_is_read_back(kind):
    """Staleness is judged by what an entry would start, so every odd path must survive the way there and back."""
    manager = kind()
    expected = ODD if manager.carries_environment else replace(ODD, environment={})
    assert expected == manager.parse(manager.render(expected))


@pytest.mark.parametrize("kind", MANAGERS)
def test_it_starts_this_python_and_this_pmask(kind):
    """By absolute paths: at login there is no shell, no PATH of the person's and no activated environment."""
    command = kind().wanted()
    assert (sys.executable, str(ROOT)) == (command.python, command.folder)
    assert ("-m", "localserver", "run") == ARGUMENTS


@pytest.mark.parametrize("kind", [Systemd, XdgAutostart, LaunchAgent])
def test_the_daemon_gets_the_folders_and_settings_of_the_command_line(kind, home, monkeypatch):
    """With another state folder the daemon would not know the codes that `pmask-server pair` makes."""
    monkeypatch.chdir(home)
    monkeypatch.setenv("PMASK_HOME", "elsewhere")
    monkeypatch.setenv("PMASK_SERVER_PORT", "28800")
    environment = kind().parse(kind().render(kind().wanted())).environment
    expected = {"PMASK_CACHE": str(cache_dir()), "PMASK_HOME": str(home / "elsewhere"), "PMASK_SERVER_PORT": "28800"}
    assert expected == environment


@posix
@pytest.mark.parametrize("kind", FILES)
def test_the_daemon_gets_folders_that_only_the_shell_names(kind, home, monkeypatch):
    """A user manager, or a desktop, knows nothing of what a shell's start-up file exports."""
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.setenv(name, str(home / name))
    here = (state_dir(), cache_dir())
    environment = kind().parse(kind().render(kind().wanted())).environment
    for name in ("XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name)
    assert here != (state_dir(), cache_dir())
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert here == (state_dir(), cache_dir())


@pytest.mark.parametrize("kind", FILES)
def test_a_line_break_cannot_add_a_line(kind):
    """A folder's name could else bring another program to be started."""
    with pytest.raises(login_managers.AutostartFailed, match="line break"):
        kind().render(replace(ODD, folder="/tmp/x\nExecStart=/bin/evil"))


@posix
@pytest.mark.parametrize("kind", FILES)
def test_a_path_that_is_not_utf_8_is_refused_in_words(kind):
    """An old disk's folder names: no traceback."""
    with pytest.raises(login_managers.AutostartFailed, match="not UTF-8"):
        kind().render(replace(ODD, python=os.fsdecode(b"/home/k\xe4the/python")))


# --- the files, by the systems' own validators


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze here (apt-get install systemd)")
@pytest.mark.parametrize("odd", [False, True])
def test_systemd_finds_no_fault_with_the_unit(home, odd):
    """A misspelt setting is ignored with a warning that nobody reads."""
    command = login_managers.here()
    if odd:
        python = home / '50% "of" $HOME' / "Käthe's \\ python"
        python.parent.mkdir()
        python.symlink_to(sys.executable)
        command = replace(ODD, python=str(python), folder=str(home))
    unit = home / "pmask-server.service"
    unit.write_bytes(Systemd().render(command))
    runtime = {"XDG_RUNTIME_DIR": str(home)}
    verify = ["systemd-analyze", "verify", "--user", "--man=no", str(unit)]
    done = subprocess.run(verify, capture_output=True, text=True, env={**os.environ, **runtime}, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)


def test_the_unit_restarts_and_stays_out_of_the_engines_way():
    """Back at once after a kill, given up when it never lives; the worker's lack of memory must not stop the unit."""
    text = Systemd().render(login_managers.here()).decode()
    for line in ("WantedBy=default.target", "Restart=on-failure", "RestartSec=100ms", "OOMPolicy=continue"):
        assert line in text.splitlines()
    assert re.search(r"^StartLimitBurst=\d+$", text, re.MULTILINE)
    assert "MemoryDenyWriteExecute" not in text  # torch compiles code


@pytest.mark.skipif(
    shutil.which("desktop-file-validate") is None,
    reason="no desktop-file-validate (apt-get install desktop-file-utils)",
)
@pytest.mark.parametrize("command", [ODD, login_managers.here()], ids=["odd", "here"])
def test_the_desktop_finds_no_fault_with_the_entry(home, command):
    """A desktop skips an entry that breaks the specification, without a word."""
    entry = home / "pmask-server.desktop"
    entry.write_bytes(XdgAutostart().render(command))
    done = subprocess.run(["desktop-file-validate", str(entry)], capture_output=True, text=True, timeout=60)
    assert (0, "", "") == (done.returncode, done.stdout, done.stderr)


def test_the_entrys_quoting_is_the_specifications():
    """The examples of desktop-entry-spec, "The Exec key": $ and \\ are escaped inside quotes, then every \\ again."""
    text = XdgAutostart().render(Command(python="/a $b/py\\th", folder="/f")).decode()
    assert 'Exec="/a \\\\$b/py\\\\\\\\th" -m localserver run' in text.splitlines()


def test_the_launch_agent_is_a_property_list_with_a_locale():
    """launchd's environment has none, and without UTF-8 a name with an umlaut ends in a traceback. It must also be told
    that a person waits for what the processor does, and that a daemon which cannot start is not tried each second."""
    agent = plistlib.loads(LaunchAgent().render(ODD))
    assert [ODD.python, *ARGUMENTS] == agent["ProgramArguments"]
    assert ("en_US.UTF-8", "1") == tuple(agent["EnvironmentVariables"][name] for name in ("LANG", "PYTHONUTF8"))
    assert (True, {"SuccessfulExit": False}) == (agent["RunAtLoad"], agent["KeepAlive"])
    assert ("Interactive", 30) == (agent["ProcessType"], agent["ThrottleInterval"])
    assert "pmask.server" == agent["Label"] == LaunchAgent().place.stem


TASK = {
    "Task": {"RegistrationInfo", "Triggers", "Settings", "Data", "Principals", "Actions"},
    "RegistrationInfo": {
        "URI",
        "SecurityDescriptor",
        "Source",
        "Date",
        "Author",
        "Version",
        "Description",
        "Documentation",
    },
    "Triggers": {"LogonTrigger"},
    "LogonTrigger": ["Enabled", "StartBoundary", "EndBoundary", "Repetition", "ExecutionTimeLimit", "UserId", "Delay"],
    "Principals": {"Principal"},
    "Principal": {"UserId", "LogonType", "GroupId", "DisplayName", "RunLevel"},
    "Settings": {
        *("AllowStartOnDemand", "RestartOnFailure", "MultipleInstancesPolicy", "DisallowStartIfOnBatteries"),
        *(
            "StopIfGoingOnBatteries",
            "AllowHardTerminate",
            "StartWhenAvailable",
            "RunOnlyIfNetworkAvailable",
            "WakeToRun",
        ),
        *(
            "Enabled",
            "Hidden",
            "DeleteExpiredTaskAfter",
            "IdleSettings",
            "ExecutionTimeLimit",
            "Priority",
            "RunOnlyIfIdle",
        ),
    },
    "IdleSettings": {"Duration", "WaitTimeout", "StopOnIdleEnd", "RestartOnIdle"},
    "RestartOnFailure": {"Interval", "Count"},
    "Actions": {"Exec"},
    "Exec": {"Command", "Arguments", "WorkingDirectory"},
}
"""[MS-TSCH] 2.5: children in any order but each once (xs:all), those of the trigger in this order (xs:sequence)."""


def test_the_task_keeps_to_the_published_schema(monkeypatch):
    """Windows refuses a task with a misplaced element, and says no more than where."""
    monkeypatch.setenv("USERDOMAIN", "LAPTOP & CO")
    monkeypatch.setenv("USERNAME", "käthe")
    monkeypatch.setenv("LOGNAME", "käthe")
    entry = TaskScheduler().render(ODD)
    text = entry.decode("utf-16")
    assert entry.startswith(b"\xff\xfe")
    assert text.startswith('<?xml version="1.0" encoding="UTF-16"?>')
    task = ElementTree.fromstring(entry)
    space = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
    assert (f"{space}Task", {"version": "1.2"}) == (task.tag, task.attrib)
    for element in task.iter():
        assert element.tag.startswith(space)
        allowed = TASK.get(name := element.tag.removeprefix(space))
        children = [child.tag.removeprefix(space) for child in element]
        assert len(set(children)) == len(children), name
        assert set(children) <= set(allowed or ()), name
        assert (allowed is None) == (not children), name
        if isinstance(allowed, list):
            assert sorted(children, key=allowed.index) == children
    actions, principal = task.find(f"{space}Actions"), task.find(f"{space}Principals/{space}Principal")
    assert principal.get("id") == actions.get("Context")
    assert {"LAPTOP & CO\\käthe"} == {element.text for element in task.iter(f"{space}UserId")}


@pytest.mark.skipif(shutil.which("xmllint") is None, reason="no xmllint here (apt-get install libxml2-utils)")
def test_another_parser_reads_the_task_too(home):
    """The declared encoding and the bytes must agree, whoever reads them."""
    path = home / "task.xml"
    path.write_bytes(TaskScheduler().render(ODD))
    done = subprocess.run(["xmllint", "--noout", str(path)], capture_output=True, text=True, timeout=60)
    assert (0, "") == (done.returncode, done.stderr)


# --- stale entries


def faults(manager, **changed) -> tuple[str, ...]:
    """What status says of an entry that differs from what enable would write."""
    manager.place.parent.mkdir(parents=True, exist_ok=True)
    manager.place.write_bytes(manager.render(replace(manager.wanted(), **changed)))
    return autostart.status(manager, Path("/nonexistent")).stale


@pytest.mark.parametrize("kind", [*FILES, pytest.param(LaunchAgent, marks=posix)])
def test_stale_entries_say_why(kind, home, monkeypatch):
    """An entry that starts yesterday's Python fails at each login, where nobody sees it."""
    monkeypatch.setenv("PATH", str(home))  # no launchctl, no systemctl
    manager, other = kind(), home / "other"
    other.mkdir()
    (other / "python").touch()
    assert () == faults(manager)
    assert (f"its Python, {home}/gone/python, is no longer there",) == faults(manager, python=f"{home}/gone/python")
    assert (f"it starts another Python, {other}/python",) == faults(manager, python=f"{other}/python")
    assert (f"it starts the PMask of another folder, {other}",) == faults(manager, folder=str(other))
    assert (f"its folder, {home}/gone, is no longer there",) == faults(manager, folder=f"{home}/gone")
    here = manager.wanted().environment
    assert (f"PMASK_HOME is {other} there, and {state_dir()} here",) == faults(
        manager, environment={**here, "PMASK_HOME": str(other)}
    )
    assert 2 == len(faults(manager, environment={}))
    manager.place.write_bytes(manager.render(manager.wanted()) + b"\n")
    assert ("it was written by another version of PMask, or changed by hand",) == autostart.status(manager, other).stale
    manager.place.write_bytes(b"[Unit]\n")
    assert ("it was not written by PMask, or was damaged",) == autostart.status(manager, other).stale


# --- the desktop's folder, for real


@posix
def test_the_desktops_entry_comes_and_goes(home, state, monkeypatch):
    """Enabled twice, disabled twice: each time the same, and nothing left behind."""
    (home / "bin").mkdir()
    manager = XdgAutostart()
    monkeypatch.setattr(XdgAutostart, "start", lambda self: None)
    monkeypatch.setattr(autostart, "_START_S", 0)
    assert not autostart.status(manager, state).enabled
    for _ in range(2):
        assert autostart.enable(manager, state).enabled
        written = manager.place.stat()
    assert written.st_ino == manager.place.stat().st_ino
    assert [manager.place] == list(manager.place.parent.iterdir())
    for _ in range(2):
        assert not autostart.disable(manager, state).enabled
    assert [] == list(manager.place.parent.iterdir())


@posix
def test_the_desktops_entry_is_off_when_the_desktop_says_so(home):
    """Desktops do not delete an entry that a person switches off; they write into it."""
    manager = XdgAutostart()
    faults(manager)
    text = manager.place.read_text()
    assert manager.is_enabled()
    manager.place.write_text(text.replace("X-GNOME-Autostart-enabled=true", "X-GNOME-Autostart-enabled=false"))
    assert not manager.is_enabled()
    manager.place.write_text(text + "Hidden=true\n")
    assert not manager.is_enabled()


@posix
def test_enable_leaves_a_daemon_alone_that_runs_already(home, state, monkeypatch):
    """Started by hand, perhaps with a photo under way: it goes on, and the entry counts from the next login."""

    def start(self):
        raise AssertionError("a second daemon was started")

    monkeypatch.setattr(XdgAutostart, "start", start)
    with single_instance(state, 4711):
        status = autostart.enable(XdgAutostart(), state)
    assert (True, ()) == (status.enabled, status.stale)


# --- launchd and the Task Scheduler, with programs in their place that write down what they are asked


@pytest.fixture
def stand_in(home, monkeypatch):
    """Puts a shell script in the place of a system's program; returns the file where its calls are written down."""
    (home / "bin").mkdir()
    monkeypatch.setenv("PATH", f"{home / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setattr(autostart, "_START_S", 0)

    def make(name: str, script: str) -> Path:
        calls = home / f"{name}.calls"
        path = home / "bin" / name
        path.write_text(f'#!/bin/sh\necho "$*" >> "{calls}"\n{script}\n')
        path.chmod(0o755)
        return calls

    return make


@posix
def test_launchd_is_asked_in_its_own_words(home, state, stand_in):
    """bootstrap refuses an agent that is loaded, so it is thrown out first; disable leaves no file."""
    loaded = home / "loaded"
    calls = stand_in(
        "launchctl",
        f'case "$1" in bootstrap) [ -f "$3" ] && touch {loaded};; bootout) rm {loaded};; print) [ -f {loaded} ];; esac',
    )
    manager = LaunchAgent()
    assert not autostart.status(manager, state).enabled
    assert autostart.enable(manager, state).enabled
    target = f"gui/{os.getuid()}/pmask.server"
    asked = [line for line in calls.read_text().splitlines() if not line.startswith("print")]
    bootstrap = f"bootstrap gui/{os.getuid()} {home}/Library/LaunchAgents/pmask.server.plist"
    assert [f"bootout {target}", f"enable {target}", bootstrap, f"kickstart {target}"] == asked
    assert not autostart.disable(manager, state).enabled
    assert not manager.place.exists()


@posix
def test_launchd_is_not_told_to_start_what_loading_has_started(home, state, stand_in):
    """A daemon that is killed right after its start comes back half a minute later only."""
    loaded = home / "loaded"
    calls = stand_in(
        "launchctl",
        f'case "$1" in bootstrap) touch {loaded};; print) [ -f {loaded} ] && echo "state = running";; esac',
    )
    autostart.enable(LaunchAgent(), state)
    assert "kickstart" not in calls.read_text()


@posix
def test_launchd_is_asked_again_while_it_lets_go_of_a_stale_agent(home, state, stand_in, monkeypatch):
    """bootout does not wait for the end, and bootstrap fails until then; what always fails is told in its own words."""
    refused = 'echo "Bootstrap failed: 5: Input/output error" >&2; exit 5'
    loaded, going = home / "loaded", home / "going"
    calls = stand_in(
        "launchctl",
        f'case "$1" in bootout) touch {going};; print) [ -f {loaded} ];;'
        f"bootstrap) [ ! -f {going} ] || {{ rm {going}; {refused}; }}; touch {loaded};; esac",
    )
    faults(LaunchAgent(), folder=str(home))
    assert (True, ()) == ((status := autostart.enable(LaunchAgent(), state)).enabled, status.stale)
    assert 2 == calls.read_text().count("bootstrap")
    stand_in("launchctl", f'case "$1" in bootstrap) {refused};; esac')
    monkeypatch.setattr(login_managers, "_BOOTOUT_S", 0)
    faults(LaunchAgent(), folder=str(home))
    with pytest.raises(login_managers.AutostartFailed, match="Bootstrap failed: 5"):
        autostart.enable(LaunchAgent(), state)


@posix
def test_the_task_scheduler_is_asked_in_its_own_words(home, state, stand_in, monkeypatch):
    """The task goes to Windows by a file, and comes back by a query in another encoding, which is not stale."""
    task = home / "task"
    calls = stand_in(
        "schtasks",
        f'case "$1" in /Create) cp "$5" {task};; /Delete) rm {task};; '
        f"/Query) iconv -f UTF-16 -t UTF-8 {task} 2>/dev/null;; esac",
    )
    manager = TaskScheduler()
    assert not autostart.status(manager, state).enabled
    status = autostart.enable(manager, state)
    assert (True, ()) == (status.enabled, status.stale)
    asked = [line.split(" /XML ")[0] for line in calls.read_text().splitlines() if not line.startswith("/Query")]
    assert ["/Create /TN PMask", "/Run /TN PMask"] == asked
    text = task.read_bytes().decode("utf-16")
    task.write_bytes(text.replace(sys.executable, "C:\\gone\\python.exe").encode("utf-16"))
    assert ("its Python, C:\\gone\\python.exe, is no longer there",) == autostart.status(manager, state).stale
    off = text.replace("<Priority>", "<Enabled>false</Enabled><Priority>")
    task.write_bytes(off.encode("utf-16"))
    assert not autostart.status(manager, state).enabled
    assert not autostart.disable(manager, state).enabled


@posix
@pytest.mark.parametrize(("name", "page"), [("Jörg", "cp850"), ("Иван", "cp866")])
def test_a_task_with_a_name_in_the_consoles_code_page_is_not_stale(home, state, stand_in, monkeypatch, name, page):
    """schtasks does not print UTF-8 into a pipe, whatever its document says; `enable` could not mend such an entry."""
    python = home / name / "python"
    python.parent.mkdir()
    python.symlink_to(sys.executable)
    monkeypatch.setattr(login_managers, "here", lambda: Command(python=str(python), folder=str(python.parent)))
    task = home / "task"
    stand_in("schtasks", f'case "$1" in /Create) cp "$5" {task};; /Query) iconv -f UTF-16 -t {page} {task};; esac')

    def oem(asked: str) -> codecs.CodecInfo | None:
        return codecs.lookup(page) if asked == "oem" else None

    codecs.register(oem)
    try:
        status = autostart.enable(TaskScheduler(), state)
    finally:
        codecs.unregister(oem)
    assert (True, ()) == (status.enabled, status.stale)


@posix
def test_a_refusal_is_quoted(home, state, stand_in):
    """What the system says is the only clue."""
    stand_in("schtasks", 'case "$1" in /Query) exit 1;; *) echo "ERROR: Access is denied." >&2; exit 1;; esac')
    with pytest.raises(login_managers.AutostartFailed, match="Access is denied"):
        autostart.enable(TaskScheduler(), state)


# --- a real systemd --user


@pytest.fixture
def manager(home):
    """A user manager of the test's own, apart from the machine's."""
    try:
        with user_manager.running(home) as manager:
            yield manager
    except user_manager.Unavailable as error:
        pytest.skip(str(error))


def server(manager, *args: str) -> subprocess.CompletedProcess[str]:
    return manager.run(sys.executable, "-m", "localserver", *args)


def health(manager) -> str:
    """What answers on the daemon's port, asked from beside it."""
    code = "import urllib.request; print(urllib.request.urlopen('http://127.0.0.1:28737/v1/health').read().decode())"
    return manager.run(sys.executable, "-c", code).stdout


def main_pid(manager) -> int:
    return int(manager.show("pmask-server.service", "MainPID") or 0)


def wait_for(condition, seconds: float = 30):
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it did not happen in time"
        time.sleep(0.1)
    return value


def test_systemd_runs_it_restarts_it_and_forgets_it(manager, home, monkeypatch):
    """The whole life under the real thing: enabled twice, killed, disabled twice."""
    monkeypatch.chdir(ROOT)
    for _ in range(2):
        done = server(manager, "autostart", "enable")
        assert (0, "") == (done.returncode, done.stderr)
        assert "Start at login: on, by systemd" in done.stdout
        assert "The daemon runs now." in done.stdout
    pid = main_pid(manager)
    assert "pmask" in wait_for(lambda: health(manager))
    server(manager, "autostart", "enable")
    assert pid == main_pid(manager), "what is well is left alone"
    manager.run("kill", "-9", str(pid))
    wait_for(lambda: main_pid(manager) not in (0, pid))
    assert "pmask" in wait_for(lambda: health(manager))
    second = server(manager, "run", "--port", "28900")
    assert (1, True) == (second.returncode, f"(process {main_pid(manager)})" in second.stderr)
    for _ in range(2):
        done = server(manager, "autostart", "disable")
        assert (0, "") == (done.returncode, done.stderr)
        assert "Start at login: off" in done.stdout
    assert "" == health(manager)
    assert [] == [path for path in (home / ".config" / "systemd").rglob("*pmask*")]
    assert 1 == server(manager, "autostart", "status").returncode


def test_systemd_starts_it_at_the_next_login(home, monkeypatch):
    """What all this is for: a new manager, as after a new login, and nobody types anything."""
    monkeypatch.chdir(ROOT)
    try:
        with user_manager.running(home) as manager:
            server(manager, "autostart", "enable")
        with user_manager.running(home) as manager:
            assert "pmask" in wait_for(lambda: health(manager))
    except user_manager.Unavailable as error:
        pytest.skip(str(error))


def test_systemd_gets_a_stale_entry_anew(manager, home, monkeypatch):
    """After a move of PMask, `enable` mends what the old place left, also when systemd has given up on it."""
    monkeypatch.chdir(ROOT)
    unit = home / ".config/systemd/user/pmask-server.service"
    server(manager, "autostart", "enable")
    unit.write_text(unit.read_text().replace(sys.executable, "/gone/python"))
    manager.run("systemctl", "--user", "daemon-reload")
    manager.run("systemctl", "--user", "restart", "pmask-server")
    status = json.loads(server(manager, "autostart", "status", "--json").stdout)
    assert (["its Python, /gone/python, is no longer there"], False) == (status["stale"], status["running"])
    done = server(manager, "autostart", "enable")
    assert (0, "The daemon runs now.") == (done.returncode, done.stdout.splitlines()[1])


def test_systemd_hands_over_odd_paths_as_they_are(manager, home):
    """Spaces, percent signs, dollars and quotes are all special to systemd, and all legal in a folder's name."""
    folder = home / '50% "of" $HOME' / "Käthe's \\ ordner"
    folder.mkdir(parents=True)
    python = folder / "python"
    python.write_text('#!/bin/sh\nprintf "%s|" "$0" "$@" "$PWD" "$PMASK_HOME" > "$PMASK_OUT"\nexec sleep 60\n')
    python.chmod(0o755)
    environment = {"PMASK_HOME": '/home/x y/50% "q" \\ $A', "PMASK_OUT": str(home / "out")}
    unit = home / ".config/systemd/user/pmask-server.service"
    unit.parent.mkdir(parents=True)
    unit.write_bytes(Systemd().render(Command(python=str(python), folder=str(folder), environment=environment)))
    manager.run("systemctl", "--user", "daemon-reload")
    done = manager.run("systemctl", "--user", "start", "pmask-server")
    assert (0, "") == (done.returncode, done.stderr)
    got = wait_for(lambda: (home / "out").exists() and (home / "out").read_text())
    assert f"{python}|-m|localserver|run|{folder}|{environment['PMASK_HOME']}|" == got
