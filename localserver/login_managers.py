"""What starts programs at login, and how each writes it: systemd's user manager, the desktop's autostart folder (XDG),
launchd on macOS, the Task Scheduler on Windows. An entry has absolute paths: a Python, and the folder that it imports
PMask from. systemd.unit(5), systemd.service(5); specifications.freedesktop.org/autostart-spec; launchd.plist(5);
[MS-TSCH] 2.5.
"""

from __future__ import annotations

import abc
import codecs
import contextlib
import getpass
import os
import plistlib
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from pmask.folders import cache_dir, state_dir

_TITLE = "PMask daemon"
_PURPOSE = "Protects photos before they are uploaded"
SAME_FOLDERS = {"PMASK_HOME": state_dir, "PMASK_CACHE": cache_dir}
"""Where these differ, the daemon does not see the codes and weights that the command line makes."""
_PATHS = ("PMASK_SERVER_CONFIG", "PMASK_SERVER_GALLERY", "PMASK_SERVER_LOG_DIR")
"""Variables that may be relative to the folder of this process, which is not the daemon's."""
_ENV = "/usr/bin/env"
_COMMAND_S = 60.0
_BOOTOUT_S = 15.0
"""Seconds for launchd to let go of an agent: the daemon may take 5 to end, and launchd as long afterwards."""
_BOOTOUT_PAUSE_S = 0.2


class AutostartFailed(Exception):
    """The system refused; the message says what and quotes it."""


@dataclass(frozen=True, kw_only=True)
class Command:
    """What is started: ``python -m localserver run`` in ``folder``, the one that PMask is imported from, for `-m` looks
    there first. environment: what is set beside the session's own."""

    python: str
    folder: str
    environment: Mapping[str, str] = field(default_factory=dict)

    @property
    def argv(self) -> tuple[str, ...]:
        """The program and its arguments."""
        return (self.python, *ARGUMENTS)


ARGUMENTS = ("-m", "localserver", "run")


def here() -> Command:
    """The command that starts this very PMask, with the PMASK_* variables of this process and its folders: what else
    names these (XDG_CONFIG_HOME), what starts the daemon may not know."""
    folders = {name: str(folder().absolute()) for name, folder in SAME_FOLDERS.items()}
    environment = {name: value for name, value in os.environ.items() if name.startswith("PMASK_")} | folders
    for name in _PATHS:
        if environment.get(name):
            environment[name] = str(Path(environment[name]).expanduser().absolute())
    folder = str(Path(__file__).resolve().parent.parent)
    return Command(python=sys.executable, folder=folder, environment=dict(sorted(environment.items())))


class Manager(abc.ABC):
    """What starts programs at login. Entries are bytes, as they lie in the file."""

    title: str
    place: Path
    carries_environment = True
    keeps_the_text = True

    @abc.abstractmethod
    def render(self, command: Command) -> bytes:
        """The entry."""

    @abc.abstractmethod
    def parse(self, entry: bytes) -> Command:
        """What an entry starts. Raises ValueError, or a LookupError, for what render cannot have written."""

    @abc.abstractmethod
    def is_enabled(self) -> bool:
        """Whether the system will start the entry that `read` finds."""

    @abc.abstractmethod
    def register(self) -> None:
        """Makes the system know the entry that was just written."""

    @abc.abstractmethod
    def start(self) -> None:
        """Starts the daemon now; anew if it runs, unless `register` has done so."""

    def runs(self) -> bool:
        """Whether the daemon that runs is known to be the manager's own."""
        return False

    @abc.abstractmethod
    def remove(self) -> None:
        """Ends the daemon if the manager runs it, and removes every trace of the entry, whatever state it is in."""

    def wanted(self) -> Command:
        """What the entry should start."""
        command = here()
        return command if self.carries_environment else replace(command, environment={})

    def read(self) -> bytes | None:
        """The entry that is there."""
        try:
            return self.place.read_bytes()
        except FileNotFoundError:
            return None

    def write(self, entry: bytes) -> None:
        """Puts an entry in place, whole or not at all."""
        self.place.parent.mkdir(parents=True, exist_ok=True)
        temporary = self.place.with_name(f".{self.place.name}.{os.getpid()}")
        temporary.write_bytes(entry)
        temporary.replace(self.place)


def manager_of(platform: str = sys.platform) -> Manager:
    """What this system starts programs with."""
    if platform == "win32":
        return TaskScheduler()
    if platform == "darwin":
        return LaunchAgent()
    return Systemd() if Path("/run/systemd/system").is_dir() else XdgAutostart()  # the test of sd_booted(3)


def _run(*command: str) -> str:
    """A command's output. Raises AutostartFailed."""
    try:
        done = subprocess.run(command, capture_output=True, timeout=_COMMAND_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise AutostartFailed(f"`{' '.join(command)}` could not be run: {error}") from error
    if done.returncode:
        said = _text(done.stderr or done.stdout).strip()
        raise AutostartFailed(f"`{' '.join(command)}` failed: {said[-500:]}")
    return _text(done.stdout)


def _text(said: bytes) -> str:
    """What a program of the system printed. Windows' own write into a pipe in the console's code page."""
    if said[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        return said.decode("utf-16", errors="replace")
    for encoding in ("utf-8", "oem"):
        with contextlib.suppress(UnicodeDecodeError, LookupError):  # there is an oem on Windows only
            return said.decode(encoding)
    return said.decode(errors="replace")


def _succeeds(*command: str) -> bool:
    try:
        _run(*command)
    except AutostartFailed:
        return False
    return True


def _config_home() -> Path:
    """$XDG_CONFIG_HOME, which has to be absolute to count."""
    given = Path(os.environ.get("XDG_CONFIG_HOME", ""))
    return given if given.is_absolute() else Path.home() / ".config"


_QUOTED = re.compile(r'"((?:[^"\\]|\\.)*)"|([^\s"]+)')


def _words(line: str) -> list[str]:
    """The words of a line, with double quotes and backslashes as systemd and desktop entries have them."""
    return [bare or re.sub(r"\\(.)", r"\1", quoted) for quoted, bare in _QUOTED.findall(line)]


def _values(entry: bytes, key: str) -> list[str]:
    return re.findall(rf"^{key}=(.*)$", entry.decode("utf-8"), re.MULTILINE)


def _environment(assignments: Sequence[str]) -> dict[str, str]:
    return dict(assignment.split("=", 1) for assignment in assignments)


def _check_texts(command: Command) -> None:
    """Raises AutostartFailed for what a file of lines in UTF-8 cannot hold."""
    texts = (*command.argv, command.folder, *command.environment.values())
    if any("\n" in text or "\r" in text for text in texts):
        raise AutostartFailed("a path or a PMASK_ variable holds a line break; that cannot be started at login")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise AutostartFailed("a path or a PMASK_ variable is not UTF-8; that cannot be started at login") from None


class Systemd(Manager):
    """A unit of the user manager, which restarts the daemon at once when it dies. Its worker dies with it."""

    title = "systemd, as a user service"
    name = "pmask-server.service"

    def __init__(self) -> None:
        self.place = _config_home() / "systemd" / "user" / self.name

    def render(self, command: Command) -> bytes:
        """See systemd.syntax(7) for the quoting. OOMPolicy: the worker's lack of memory is no end of the daemon. No
        MemoryDenyWriteExecute: torch compiles code."""
        _check_texts(command)
        environment = [f"{name}={value}" for name, value in command.environment.items()]
        lines = [
            "# Written by `pmask-server autostart enable`; `pmask-server autostart disable` removes it.",
            "[Unit]",
            f"Description={_TITLE}: {_PURPOSE[0].lower()}{_PURPOSE[1:]}",
            "StartLimitIntervalSec=60",
            "StartLimitBurst=10",
            "",
            "[Service]",
            "Type=exec",
            f"ExecStart={self._program(command.python)} {' '.join(ARGUMENTS)}",
            f"WorkingDirectory={command.folder.replace('%', '%%')}",
            *(f"Environment={self._quoted(text)}" for text in environment),
            "Restart=on-failure",
            "RestartSec=100ms",
            "OOMPolicy=continue",
            "NoNewPrivileges=yes",
            "UMask=0077",
            "",
            "[Install]",
            "WantedBy=default.target",
            "",
        ]
        return "\n".join(lines).encode()

    def _program(self, python: str) -> str:
        """systemd takes no program with quotes or backslashes in its name, but env(1) does. $ is special but there."""
        quoted = self._quoted(python)
        return f"{_ENV} {quoted.replace('$', '$$')}" if re.search(r"""["'\\]""", python) else quoted

    @staticmethod
    def _quoted(text: str) -> str:
        escaped = text.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
        return f'"{escaped}"'

    def parse(self, entry: bytes) -> Command:
        """The inverse of render."""
        words = [word.replace("%%", "%") for word in _words(_values(entry, "ExecStart")[0])]
        words = [word.replace("$$", "$") for word in words[1:]] if words[0] == _ENV else words
        assigned = [word.replace("%%", "%") for line in _values(entry, "Environment") for word in _words(line)]
        folder = _values(entry, "WorkingDirectory")[0].replace("%%", "%")
        return Command(python=words[0], folder=folder, environment=_environment(assigned))

    def is_enabled(self) -> bool:
        """Whether default.target pulls it in: by its link, so that the answer needs no running manager."""
        return self._link.is_symlink()

    @property
    def _link(self) -> Path:
        return self.place.parent / "default.target.wants" / self.name

    def register(self) -> None:
        """Makes the link by hand if no manager runs, as over ssh or in a container: it counts at the next login."""
        if not _succeeds("systemctl", "--user", "daemon-reload"):
            self._link.parent.mkdir(parents=True, exist_ok=True)
            self._link.unlink(missing_ok=True)
            self._link.symlink_to(self.place)
        else:
            _run("systemctl", "--user", "enable", self.name)

    def start(self) -> None:
        """Also after it has failed too often."""
        _succeeds("systemctl", "--user", "reset-failed", self.name)
        _run("systemctl", "--user", "restart", self.name)

    def runs(self) -> bool:
        """See Manager."""
        return _succeeds("systemctl", "--user", "is-active", self.name)

    def remove(self) -> None:
        """Works without a manager too."""
        _succeeds("systemctl", "--user", "disable", "--now", self.name)
        self._link.unlink(missing_ok=True)
        self.place.unlink(missing_ok=True)
        _succeeds("systemctl", "--user", "daemon-reload")


class XdgAutostart(Manager):
    """An entry of the desktop's autostart folder, for systems without systemd. Nothing restarts the daemon there."""

    title = "the desktop's autostart folder (XDG)"

    def __init__(self) -> None:
        self.place = _config_home() / "autostart" / "pmask-server.desktop"

    def render(self, command: Command) -> bytes:
        """Exec is quoted twice: as arguments, then as a value of the file."""
        _check_texts(command)
        assigned = [f"{name}={value}" for name, value in command.environment.items()]
        argv = [*(["env", *assigned] if assigned else []), *command.argv]
        lines = [
            "[Desktop Entry]",
            "Type=Application",
            "Version=1.0",
            f"Name={_TITLE}",
            f"Comment={_PURPOSE}",
            f"Exec={self._escaped(' '.join(self._quoted(word) for word in argv))}",
            f"Path={self._escaped(command.folder)}",
            "Terminal=false",
            "NoDisplay=true",
            "X-GNOME-Autostart-enabled=true",
            "",
        ]
        return "\n".join(lines).encode()

    @staticmethod
    def _quoted(word: str) -> str:
        escaped = re.sub(r'(["`$\\])', r"\\\1", word).replace("%", "%%")
        return escaped if re.fullmatch(r"[\w@+=:,./-]+", word, re.ASCII) else f'"{escaped}"'

    @staticmethod
    def _escaped(value: str) -> str:
        return value.replace("\\", "\\\\")

    def parse(self, entry: bytes) -> Command:
        """The inverse of render."""
        command, folder = (_values(entry, key)[0].replace("\\\\", "\\") for key in ("Exec", "Path"))
        words = [word.replace("%%", "%") for word in _words(command)]
        python = len(words) - 1 - len(ARGUMENTS)
        if python < 0:
            raise ValueError("Exec has too few words")
        return Command(python=words[python], folder=folder, environment=_environment(words[1:python]))

    def is_enabled(self) -> bool:
        """Desktops switch an entry off by a line in it."""
        entry = self.read() or b""
        off = ("Hidden", "true") if _values(entry, "Hidden") else ("X-GNOME-Autostart-enabled", "false")
        return bool(entry) and off[1] not in _values(entry, off[0])

    def register(self) -> None:
        """The file is all."""

    def start(self) -> None:
        """As the desktop would, and as independent of this terminal. A daemon that runs already keeps the lock."""
        command = here()
        nothing = subprocess.DEVNULL
        subprocess.Popen(
            command.argv, cwd=command.folder, stdin=nothing, stdout=nothing, stderr=nothing, start_new_session=True
        )

    def remove(self) -> None:
        """A daemon that runs goes on until the session ends."""
        self.place.unlink(missing_ok=True)


class LaunchAgent(Manager):
    """A property list for the person's own launchd."""

    title = "launchd, as a launch agent"
    label = "pmask.server"

    def __init__(self) -> None:
        self.place = Path.home() / "Library" / "LaunchAgents" / f"{self.label}.plist"
        self._domain = "gui"
        if sys.platform != "win32":
            self._domain = f"gui/{os.getuid()}"

    def render(self, command: Command) -> bytes:
        """UTF-8 is set because launchd's own environment has no locale. KeepAlive: again unless it ended in order.
        ThrottleInterval: one that ran for longer comes back at once; launchd never gives up, and one that cannot start,
        beside a daemon that was started by hand or with wrong settings, must not be tried each second.
        ProcessType: without it launchd holds back a job's processor and disk, and masks take longer; an Adaptive job is
        one of the background, unless others speak to it by XPC."""
        utf8 = {"LANG": "en_US.UTF-8", "PYTHONUTF8": "1"}
        return plistlib.dumps(
            {
                "Label": self.label,
                "ProgramArguments": list(command.argv),
                "WorkingDirectory": command.folder,
                "EnvironmentVariables": {**utf8, **command.environment},
                "RunAtLoad": True,
                "KeepAlive": {"SuccessfulExit": False},
                "ThrottleInterval": 30,
                "ProcessType": "Interactive",
                "Umask": 0o077,
            }
        )

    def parse(self, entry: bytes) -> Command:
        """The inverse of render."""
        try:
            agent: dict[str, Any] = plistlib.loads(entry)
            environment = {
                name: str(value)
                for name, value in agent.get("EnvironmentVariables", {}).items()
                if name not in ("LANG", "PYTHONUTF8")
            }
            return Command(
                python=str(agent["ProgramArguments"][0]), folder=agent["WorkingDirectory"], environment=environment
            )
        except (plistlib.InvalidFileException, AttributeError, TypeError) as error:
            raise ValueError("not a launch agent") from error

    def is_enabled(self) -> bool:
        """Whether launchd knows it."""
        return _succeeds("launchctl", "print", f"{self._domain}/{self.label}")

    def register(self) -> None:
        """bootstrap refuses what a person once disabled, and what launchd knows already ("Bootstrap failed: 5:
        Input/output error"): for seconds after bootout too, which does not wait for the end."""
        _succeeds("launchctl", "bootout", f"{self._domain}/{self.label}")
        _succeeds("launchctl", "enable", f"{self._domain}/{self.label}")
        end = time.monotonic() + _BOOTOUT_S
        while True:
            try:
                _run("launchctl", "bootstrap", self._domain, str(self.place))
                return
            except AutostartFailed:
                if time.monotonic() > end:
                    raise
            time.sleep(_BOOTOUT_PAUSE_S)

    def start(self) -> None:
        """What `register` has loaded was started by that; killed for a new start (-k), it would be throttled."""
        if not self.runs():
            _run("launchctl", "kickstart", f"{self._domain}/{self.label}")

    def runs(self) -> bool:
        """See Manager."""
        with contextlib.suppress(AutostartFailed):
            return "state = running" in _run("launchctl", "print", f"{self._domain}/{self.label}")
        return False

    def remove(self) -> None:
        """bootout ends the daemon."""
        _succeeds("launchctl", "bootout", f"{self._domain}/{self.label}")
        self.place.unlink(missing_ok=True)


class TaskScheduler(Manager):
    """A task that starts half a minute after this person's logon. A task has no environment of its own."""

    title = "the Task Scheduler"
    name = "PMask"
    namespace = "http://schemas.microsoft.com/windows/2004/02/mit/task"
    carries_environment = False
    keeps_the_text = False  # Windows gives it back in its own way

    def __init__(self) -> None:
        self.place = Path(rf"\{self.name}")

    def wanted(self) -> Command:
        """With the Python that opens no console window, where there is one."""
        command = super().wanted()
        silent = Path(command.python).with_name("pythonw.exe")
        return replace(command, python=str(silent)) if silent.exists() else command

    def render(self, command: Command) -> bytes:
        """UTF-16, as schtasks wants it. The elements stand in the order in which Windows itself writes them."""
        user = "\\".join(filter(None, (os.environ.get("USERDOMAIN"), getpass.getuser())))
        task = ElementTree.Element("Task", {"version": "1.2", "xmlns": self.namespace})
        _fill(
            task,
            {
                "RegistrationInfo": {"Description": f"{_TITLE}: {_PURPOSE}", "URI": rf"\{self.name}"},
                "Triggers": {"LogonTrigger": {"Enabled": "true", "UserId": user, "Delay": "PT30S"}},
                "Principals": {
                    "Principal": {"UserId": user, "LogonType": "InteractiveToken", "RunLevel": "LeastPrivilege"}
                },
                "Settings": {
                    "MultipleInstancesPolicy": "IgnoreNew",
                    "DisallowStartIfOnBatteries": "false",
                    "StopIfGoingOnBatteries": "false",
                    "StartWhenAvailable": "true",
                    "IdleSettings": {"StopOnIdleEnd": "false", "RestartOnIdle": "false"},
                    "ExecutionTimeLimit": "PT0S",
                    "Priority": "5",
                    "RestartOnFailure": {"Interval": "PT1M", "Count": "10"},
                },
                "Actions": {
                    "Exec": {
                        "Command": command.python,
                        "Arguments": " ".join(ARGUMENTS),
                        "WorkingDirectory": command.folder,
                    }
                },
            },
        )
        task[2][0].set("id", "Author")
        task[4].set("Context", "Author")
        ElementTree.indent(task)
        text = '<?xml version="1.0" encoding="UTF-16"?>\n' + ElementTree.tostring(task, encoding="unicode")
        return text.encode("utf-16")

    def parse(self, entry: bytes) -> Command:
        """Of what schtasks prints too, whatever encoding it claims."""
        try:
            task = ElementTree.fromstring(re.sub(r"^\s*<\?xml[^>]*\?>", "", _text(entry)))
        except ElementTree.ParseError as error:
            raise ValueError("not a task") from error
        inside = f"{{{self.namespace}}}Actions/{{{self.namespace}}}Exec/{{{self.namespace}}}"
        python, folder = (task.findtext(f"{inside}{name}") for name in ("Command", "WorkingDirectory"))
        if python is None or folder is None:
            raise ValueError("the task starts no program in a folder")
        return Command(python=python.strip('"'), folder=folder.strip('"'))

    def read(self) -> bytes | None:
        """The task as Windows has it."""
        with contextlib.suppress(AutostartFailed):
            return _run("schtasks", "/Query", "/TN", self.name, "/XML", "ONE").encode()
        return None

    def write(self, entry: bytes) -> None:
        """schtasks takes a file; writing and registering are one."""
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "task.xml"
            path.write_bytes(entry)
            _run("schtasks", "/Create", "/TN", self.name, "/XML", str(path), "/F")

    def is_enabled(self) -> bool:
        """A person may have switched the task off in Windows' own window."""
        entry = self.read()
        return (
            entry is not None
            and re.search(rb"<Settings>.*?<Enabled>false</Enabled>.*?</Settings>", entry, re.S) is None
        )

    def register(self) -> None:
        """Done by write."""

    def start(self) -> None:
        """IgnoreNew: nothing happens if it runs."""
        _run("schtasks", "/Run", "/TN", self.name)

    def remove(self) -> None:
        """Ends the daemon, then the task."""
        _succeeds("schtasks", "/End", "/TN", self.name)
        _run("schtasks", "/Delete", "/TN", self.name, "/F")


def _fill(element: ElementTree.Element, content: Mapping[str, Any]) -> None:
    """Adds children, texts and grandchildren, in order."""
    for name, value in content.items():
        child = ElementTree.SubElement(element, name)
        if isinstance(value, str):
            child.text = value
        else:
            _fill(child, value)
