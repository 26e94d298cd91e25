"""How much memory this machine has left, and what a process holds, where the system tells without a library."""

from __future__ import annotations

import ctypes
import re
import sys
from pathlib import Path


def free_bytes() -> int | None:
    """Memory that programs can still get without swapping; None where the system does not tell (macOS)."""
    if sys.platform == "win32":
        return _windows_free_bytes()
    try:
        match = re.search(r"^MemAvailable:\s+(\d+) kB", Path("/proc/meminfo").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def resident_bytes(pid: int) -> int | None:
    """Memory that a process holds; None where the system does not tell, or the process is gone."""
    try:
        match = re.search(r"^VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(), re.MULTILINE)
    except OSError:
        return None
    return int(match[1]) * 1024 if match else None


def open_descriptors() -> int | None:
    """Files, pipes and sockets that this process holds open; None where the system does not tell."""
    try:
        return len(list(Path("/proc/self/fd").iterdir())) - 1  # without the one that lists them
    except OSError:
        return None


if sys.platform == "win32":

    class _MemoryStatus(ctypes.Structure):
        """https://learn.microsoft.com/windows/win32/api/sysinfoapi/ns-sysinfoapi-memorystatusex"""

        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("total", "free", "c", "d", "e", "f", "g")),
        )

    def _windows_free_bytes() -> int | None:
        status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
        return int(status.free) if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)) else None
