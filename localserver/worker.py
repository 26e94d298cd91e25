"""The process that makes masks: `python -m localserver.worker`, started and spoken to by `localserver.engine`.

Frames come on stdin and go on what was stdout when it started. It leaves at once when its stdin is closed, so that no
worker outlives its daemon, however that ends.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import math
import os
import queue
import re
import signal
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO, Protocol

from localserver.errors import EngineFailed
from localserver.frames import CorruptStream, Frame, pack, read_frame
from localserver.log import describe
from pmask.errors import Cancelled, OutOfMemory, PMaskError
from pmask.options import MaskOptions
from pmask.report import UNTOUCHED, Progress, Report

_GPU_TEXT = re.compile(r"CUDA|cuDNN|CUDNN|cuBLAS|CUBLAS|NVML|MPS|HIP")
_PROGRESS_EVERY = 0.1
"""Seconds: an optimiser's steps are faster than anyone looks."""


class Protection(Protocol):
    """What `pmask.protect.Protector.protect` returns."""

    data: bytes
    report: Report


class Protector(Protocol):
    """What `localserver.resident.Resident` is. device: "cpu", "cuda" or "mps"."""

    @property
    def device(self) -> str:
        """What it runs on."""

    def warm(self, options: MaskOptions) -> None:
        """Loads what a photo with these options will need."""

    def protect(
        self,
        data: bytes,
        options: MaskOptions,
        on_progress: Callable[[Progress], None],
        cancelled: Callable[[], bool],
    ) -> Protection:
        """Protects one photo."""


class Worker:
    """Takes photos from ``inbox``, one at a time; ``make`` loads the protector, at the first photo at the latest."""

    def __init__(self, inbox: BinaryIO, outbox: BinaryIO, make: Callable[[], Protector]) -> None:
        self._inbox = inbox
        self._outbox = outbox
        self._make = make
        self._protector: Protector | None = None
        self._photos: queue.SimpleQueue[Frame] = queue.SimpleQueue()
        self._cancelled = threading.Event()
        self._said: tuple[float, str, int | None] = (0.0, "", None)

    def run(self) -> None:
        """Works until a photo fails unexpectedly or for lack of memory: nobody knows what state that leaves, and going
        gives all memory back. The daemon starts another worker."""
        threading.Thread(target=self._read, daemon=True).start()
        while self._answer(self._photos.get()):
            pass
        os._exit(1)  # an ordered exit would wait for the thread that is reading

    def _read(self) -> None:
        """In its own thread, so that a cancel is heard while a mask is being made."""
        try:
            while (frame := read_frame(self._inbox)) is not None:
                if frame.header.get("do") in ("protect", "warm"):
                    self._cancelled.clear()
                    self._photos.put(frame)
                else:
                    self._cancelled.set()
        except (OSError, CorruptStream):
            pass
        os._exit(0)  # in the middle of a mask too: there is nobody left to make it for

    def _answer(self, frame: Frame) -> bool:
        """Makes one photo's mask, or gets warm, and says how it went; False if the worker should not go on."""
        self._said = (0.0, "", None)  # the last photo's progress says nothing of this one's
        try:
            if frame.header["do"] == "warm":
                self._warm(frame)
                return True
            protection = self._protect(frame)
        except PMaskError as error:
            self._fail(error)
            return not isinstance(error, OutOfMemory)
        except Exception as error:
            self._fail(_expected(error), describe(error), gpu=_is_gpus(error))
            return False
        else:
            body = b"" if protection.report.status in UNTOUCHED else protection.data
            self._say({"event": "done", "report": _finite(protection.report.to_json())}, body)
            return True

    def _protect(self, frame: Frame) -> Protection:
        options = MaskOptions.from_mapping(frame.header["options"])
        return self._loaded().protect(frame.body, options, self._progress, self._cancelled.is_set)

    def _warm(self, frame: Frame) -> None:
        self._loaded().warm(MaskOptions.from_mapping(frame.header["options"]))
        self._say({"event": "done", "report": {}})

    def _loaded(self) -> Protector:
        if self._protector is None:
            self._progress(Progress(stage="loading", fraction=0.0))
            self._protector = self._make()
            self._say({"event": "devices", "devices": _devices(), "device": self._protector.device})
        return self._protector

    def _progress(self, progress: Progress) -> None:
        if self._cancelled.is_set():  # between the stages too, not in the search alone
            raise Cancelled("the job was cancelled")
        now, stage, faces = time.monotonic(), progress.stage, progress.faces
        if (stage, faces) != self._said[1:] or now - self._said[0] >= _PROGRESS_EVERY:
            self._said = (now, stage, faces)
            self._say({"event": "progress", "stage": stage, "fraction": progress.fraction, "faces": faces})

    def _fail(self, error: PMaskError, where: str = "", *, gpu: bool = False) -> None:
        self._say({"event": "failed", "code": error.code, "message": str(error), "where": where, "gpu": gpu})

    def _say(self, header: dict[str, Any], body: bytes = b"") -> None:
        try:
            for part in pack(header, body):
                self._outbox.write(part)
            self._outbox.flush()
        except OSError:
            os._exit(0)  # the daemon is gone


def _expected(error: Exception) -> PMaskError:
    """What to report. torch tells a GPU's lack of memory by a type, the CPU's by its allocator's name in a text."""
    names = {kind.__name__ for kind in type(error).__mro__}
    if names & {"MemoryError", "OutOfMemoryError"} or "DefaultCPUAllocator" in str(error):
        return OutOfMemory("not enough memory for this photo; try a smaller one, or another device")
    return EngineFailed(f"making the mask failed unexpectedly ({type(error).__name__})")


def _is_gpus(error: Exception) -> bool:
    """Whether a graphics card, its driver or its libraries failed. torch tells by a type of its own or in a text."""
    return type(error).__name__ == "AcceleratorError" or _GPU_TEXT.search(str(error)) is not None


def _be_the_first_to_go() -> None:
    """When memory runs out, Linux shall end this process, which can be started again, and no program of a person's."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text("700")


def _devices() -> list[str]:
    """What torch sees, if the protector has loaded it."""
    torch: Any = sys.modules.get("torch")
    names = ["cpu"]
    if torch is not None and torch.cuda.is_available():
        names.append("cuda")
    if torch is not None and torch.backends.mps.is_available():
        names.append("mps")
    return names


def _finite(value: Any) -> Any:  # noqa: ANN401 (any JSON value)
    """JSON knows no infinity, which is the PSNR of what did not change: null stands for it."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def _take_stdio() -> tuple[BinaryIO, BinaryIO]:
    """The two pipes, out of reach of stray prints (libraries' in C too), which go to stderr from now on."""
    inbox, outbox = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    with open(os.devnull, "rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(2, 1)
    return inbox, outbox


def main() -> None:
    """Runs one worker on this process's stdin and stdout."""
    parser = argparse.ArgumentParser(description="For the daemon only: it makes the masks.")
    parser.add_argument("--device", required=True)
    parser.add_argument("--gallery", type=Path)
    parser.add_argument("--protector", required=True, help="module:callable; the callable takes device= and gallery=")
    args = parser.parse_args()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the daemon ends us in order
    _be_the_first_to_go()
    module, _, name = args.protector.partition(":")

    def make() -> Protector:
        kind: Callable[..., Protector] = getattr(importlib.import_module(module), name)
        return kind(device=args.device, gallery=args.gallery)

    Worker(*_take_stdio(), make).run()


if __name__ == "__main__":
    main()
