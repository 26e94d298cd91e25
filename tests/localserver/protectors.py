"""Protectors for a real worker process, each with its own way to misbehave. Named on its command line by the tests."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from pmask.errors import Cancelled, DeviceUnavailable, OutOfMemory
from pmask.report import Distance, FaceReport, Progress, Report


class _Result:
    def __init__(self, data: bytes, status: str, device: str) -> None:
        face = FaceReport(
            box=(1.0, 2.0, 30.0, 20.0),
            landmarks=((5.0, 5.0),) * 5,
            hidden=True,
            converged=True,
            iterations=7,
            seconds=0.1,
            ssim=0.97,
            psnr=float("inf"),
            distances={"sface": Distance(before=1.0, after=80.0, other=40.0, goal=75.0)},
        )
        faces = (face,) if status == "protected" else ()
        self.data = data
        self.report = Report(status=status, faces=faces, seconds=0.2, width=40, height=30, format="jpeg", device=device)


class Good:
    """Gives the photo back with a mark. Prints, as libraries do, where it must not harm."""

    def __init__(self, device: str, gallery: Path | None = None) -> None:
        self.device, self.gallery = device, gallery

    def warm(self, options):
        pass

    def protect(self, data, options, on_progress, cancelled):
        print("a stray print")
        os.write(1, b"a stray write, as from a library in C\n")
        sys.stdout.flush()
        on_progress(Progress(stage="masking", fraction=0.5, faces=1))
        return _Result(data + b" protected", "protected", self.device)


class NoFace(Good):
    """Finds no face."""

    def protect(self, data, options, on_progress, cancelled):
        return _Result(data, "no_face", self.device)


class Patient(Good):
    """Masks until it is cancelled, looking every hundredth of a second."""

    def protect(self, data, options, on_progress, cancelled):
        on_progress(Progress(stage="masking", fraction=0.1, faces=1))
        while not cancelled():
            time.sleep(0.01)
        raise Cancelled("cancelled")


class Deaf(Good):
    """Never looks whether it is cancelled."""

    def protect(self, data, options, on_progress, cancelled):
        on_progress(Progress(stage="masking", fraction=0.1, faces=1))
        time.sleep(600)


class Choosy(Good):
    """Does by the seed what the test asks for."""

    def protect(self, data, options, on_progress, cancelled):
        if options.seed == 1:
            os._exit(11)  # as after a segmentation fault
        if options.seed == 2:
            raise MemoryError
        if options.seed == 3:
            raise RuntimeError(f"secret.jpg of {len(data)} bytes")
        return super().protect(data, options, on_progress, cancelled)


class Galleried(Good):
    """Gives back the folder that it was told."""

    def protect(self, data, options, on_progress, cancelled):
        return _Result(str(self.gallery).encode(), "protected", self.device)


class Looker(Good):
    """Only looks for the faces."""

    def protect(self, data, options, on_progress, cancelled):
        return _Result(data, "looked", self.device)


class Before(Good):
    """Has protected every photo before."""

    def protect(self, data, options, on_progress, cancelled):
        return _Result(data, "already_protected", self.device)


class Gpu(Good):
    """Runs on a graphics card unless told otherwise, which fails in the way that the seed says."""

    def __init__(self, device: str, gallery: Path | None = None) -> None:
        super().__init__("cpu" if device == "cpu" else "cuda")

    def protect(self, data, options, on_progress, cancelled):
        if self.device == "cuda" and options.seed == 1:
            raise OutOfMemory("CUDA out of memory")
        if self.device == "cuda" and options.seed == 2:
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        if self.device == "cuda" and options.seed == 3:
            os.kill(os.getpid(), 9)
        return _Result(data + f" by {self.device}".encode(), "protected", self.device)


class Slow(Good):
    """Takes a while to get warm."""

    def warm(self, options):
        time.sleep(2)


class Dies(Good):
    """Dies of warming up and of photos."""

    def warm(self, options):
        os._exit(11)

    def protect(self, data, options, on_progress, cancelled):
        os._exit(11)


class Stages(Good):
    """Tells of its progress, and never asks whether it is cancelled."""

    def protect(self, data, options, on_progress, cancelled):
        while True:
            on_progress(Progress(stage="checking", fraction=0.9, faces=1))
            time.sleep(0.05)


def no_device(device: str, gallery: Path | None = None):
    """Cannot be made."""
    raise DeviceUnavailable(f"there is no {device}")
