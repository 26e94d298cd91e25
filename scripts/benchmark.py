"""Speed and memory of the engine and the daemon, in one run on this machine.

    .venv/bin/python scripts/benchmark.py [--device cuda] [--rounds 3]

Prints Markdown: seconds for each recogniser's iteration, for photos of the astronaut from bytes to bytes, and the
memory of the daemon at rest and of its worker once warm. On an NVIDIA card the photos are timed twice, the second time
with nothing recorded (pmask.recording). Machines are noisy: compare figures of one run, not of two machines.
"""

from __future__ import annotations

import argparse
import io
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pmask  # isort: skip  # before torch: it says how OpenMP waits
import numpy as np
import skimage.data
import torch
from PIL import Image

from pmask.geometry import FRAME_SIZE
from pmask.options import MaskOptions
from pmask.protect import Protector
from pmask.recognisers.specs import REGISTRY
from pmask.recording import SWITCH, records

STATUS = Path("/proc/self/status")
IMPORTS = ("localserver.cli", "localserver.app", "pmask.cli")


def seconds(work: Callable[[], object], rounds: int) -> float:
    """The median time of ``work`` over ``rounds``, after one round that is not counted."""
    times = []
    for _ in range(rounds + 1):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times[1:])


def iteration(protector: Protector, name: str, faces: int) -> Callable[[], None]:
    """One forward and backward pass of a recogniser over a batch of face frames."""
    recogniser = protector.recogniser(name)
    frames = torch.rand(faces, 3, FRAME_SIZE, FRAME_SIZE, device=protector.device)

    def work() -> None:
        pixels = frames.clone().requires_grad_()
        recogniser(pixels).sum().backward()
        if protector.device == "cuda":
            torch.cuda.synchronize()

    return work


def resident_megabytes(code: str) -> float:
    """Peak resident memory of a fresh Python that runs ``code``; Linux says it, elsewhere NaN.

    Not getrusage: its peak is handed down from the process that started this one.
    """
    report = "\nprint([line.split()[1] for line in open('/proc/self/status') if line.startswith('VmHWM')][0])"
    if not STATUS.exists():
        return float("nan")
    run = subprocess.run([sys.executable, "-c", code + report], capture_output=True, text=True, check=True)
    return int(run.stdout.split()[-1]) * 1024 / 1e6


def photo(kind: str, times: int = 1) -> bytes:
    """The astronaut as a file, so many times beside herself."""
    out = io.BytesIO()
    Image.fromarray(np.tile(skimage.data.astronaut(), (1, times, 1))).save(out, kind)
    return out.getvalue()


def photos(protector: Protector, rounds: int) -> None:
    """Prints a table of whole photos: how long they take, and whether the masks are what they should be."""
    print("| astronaut, 512 x 512, warm | s | s for the first | iterations | of the goals | SSIM | MB of the card |")
    print("|---|---|---|---|---|---|---|")
    for kind, times, delta in (("PNG", 1, 1.0), ("JPEG", 1, 1.0), ("PNG", 1, 0.4), ("PNG", 2, 1.0), ("JPEG", 6, 1.0)):
        data, mask = photo(kind, times), MaskOptions(delta=delta)
        if protector.device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        faces = protector.protect(data, mask).report.faces
        first = time.perf_counter() - start
        taken = seconds(lambda data=data, mask=mask: protector.protect(data, mask), rounds)  # type: ignore[misc]
        card = torch.cuda.max_memory_reserved() / 1e6 if protector.device == "cuda" else float("nan")
        reached = statistics.mean(min(1, d.after / d.goal) for face in faces for d in face.distances.values())
        worst, most = min(face.ssim for face in faces), max(face.iterations for face in faces)
        name = f"{kind}, {times} of her, delta {delta}"
        print(f"| {name} | {taken:.2f} | {first:.2f} | {most} | {reached:.0%} | {worst:.4f} | {card:.0f} |")


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="auto")
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()
    protector = Protector(device=options.device)
    threads = torch.get_num_threads()
    where = torch.cuda.get_device_name() if protector.device == "cuda" else protector.device
    print(f"PMask {pmask.__version__}, torch {torch.__version__}, {where}, {threads} threads\n")
    print("| recogniser | s per iteration, 1 face | 4 faces |\n|---|---|---|")
    for name in REGISTRY:
        one, four = (seconds(iteration(protector, name, faces), 5 * options.rounds) for faces in (1, 4))
        print(f"| {name} | {one:.3f} | {four:.3f} |")
    print()
    photos(protector, options.rounds)
    if records(torch.device(protector.device)):
        os.environ[SWITCH] = "0"
        print("\nThe same with nothing recorded:\n")
        photos(Protector(device=options.device), options.rounds)
        del os.environ[SWITCH]
    print("\n| import | s | MB at its end |\n|---|---|---|")
    for module in IMPORTS:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", f"import {module}"], check=True)
        taken = time.perf_counter() - start
        print(f"| {module}, the interpreter included | {taken:.2f} | {resident_megabytes(f'import {module}'):.0f} |")
    warm = (
        "import io, skimage.data; from PIL import Image; from pmask.protect import Protector; out = io.BytesIO();"
        "Image.fromarray(skimage.data.astronaut()).save(out, 'PNG'); Protector().protect(out.getvalue())"
    )
    print(f"\nworker once warm, at its peak: {resident_megabytes(warm):.0f} MB")


if __name__ == "__main__":
    main()
