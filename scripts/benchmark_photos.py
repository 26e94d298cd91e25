"""What the way of a photo costs beside the search: time, memory, crowds.

    .venv/bin/python scripts/benchmark_photos.py [--part overhead,memory,crowd] [--photos FOLDER]

Prints Markdown. overhead: a 12-megapixel JPEG, decoded, looked through for faces, pasted into and encoded. memory: the
peak of a process that protects a photo of 100 megapixels. crowd: one photo of many faces, tiled from the photos of
FOLDER (or from the astronaut), with few iterations, on canvases of two sizes: do time and memory grow with the faces
alone? Machines are noisy: compare figures of one run, and processor seconds where others work beside it.
"""

from __future__ import annotations

import argparse
import io
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pmask  # isort: skip  # before torch: it says how OpenMP waits
import cv2
import numpy as np
import skimage.data
import torch
from PIL import Image

from pmask.faces import Face, load_detector
from pmask.geometry import FRAME_SIZE
from pmask.images import RGB, decode, encode
from pmask.mask import Mask, Search
from pmask.options import MaskOptions
from pmask.protect import Protector
from pmask.views import View, paste

PARTS = ("overhead", "memory", "crowd")
ROUNDS = 3
CROWDS = (25, 50, 100, 200)
CELL = 120
"""Pixels. A face of a crowd fills about half of a cell of this side."""
CANVASES = ((2400, 1200), (4800, 2400))
"""Width and height in pixels: 200 cells, and four times as many pixels around them."""
CROWD_ITERATIONS = 3
LARGE = (11600, 8620)
"""100 megapixels."""


def seconds(work: Callable[[], object]) -> tuple[float, float]:
    """The median time of ROUNDS, after one that is not counted: on the clock, and of the processor in all threads."""
    times, busy = [], []
    for _ in range(ROUNDS + 1):
        start, busy_start = time.perf_counter(), time.process_time()
        work()
        times.append(time.perf_counter() - start)
        busy.append(time.process_time() - busy_start)
    return statistics.median(times[1:]), statistics.median(busy[1:])


def jpeg(rgb: RGB) -> bytes:
    """As phones write it: 4:2:0, quality 92."""
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=92)
    return out.getvalue()


def portrait(width: int, height: int) -> RGB:
    """The astronaut in a photo of that size."""
    picture = Image.fromarray(skimage.data.astronaut())
    return np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))


def overhead() -> None:
    """Prints the time of each step beside the search."""
    data, device = jpeg(portrait(4000, 3000)), torch.device("cpu")
    photo, detect = decode(data), load_detector()
    faces = detect(photo.rgb)
    views = [View(photo.rgb, face, device) for face in faces]
    values = torch.rand(1, 3, FRAME_SIZE, FRAME_SIZE) / 20
    masks = [Mask(values=values, layers=(), iterations=0, seconds=0.0) for _ in faces]
    steps: dict[str, Callable[[], object]] = {
        "decoding": lambda: decode(data),
        "detecting": lambda: detect(photo.rgb),
        "pasting": lambda: paste(photo.rgb, views, masks),
        "encoding": lambda: encode(photo, photo.rgb),
    }
    print(f"| a 12-megapixel JPEG, {len(faces)} faces | s | of the processor, s |\n|---|---|---|")
    times = {name: seconds(work) for name, work in steps.items()}
    times["all"] = sum(taken for taken, _ in times.values()), sum(busy for _, busy in times.values())
    for name, (taken, busy) in times.items():
        print(f"| {name} | {taken:.2f} | {busy:.2f} |", flush=True)


def memory() -> None:
    """Prints the peak of processes that protect a small and a very large photo."""
    print("\n| protecting | pixels | s | peak, MB |\n|---|---|---|---|")
    for width, height in ((512, 512), (4000, 3000), LARGE):
        said = measured("portrait", width, height, 1)
        print(f"| a portrait | {width} x {height} | {said['seconds']:.0f} | {said['megabytes']:.0f} |", flush=True)


def crowd(folder: Path | None) -> None:
    """Prints time and memory for crowds of several sizes, on a small and a large canvas."""
    print(f"\n| faces tiled | found and masked | canvas | s, {CROWD_ITERATIONS} iterations | processor, s | peak, MB |")
    print("|---|---|---|---|---|---|")
    for width, height in CANVASES:
        for faces in CROWDS:
            said = measured("crowd", width, height, faces, folder)
            found = f"{said['found']} and {said['masked']}"
            row = [
                faces,
                found,
                f"{width} x {height}",
                *(f"{said[name]:.0f}" for name in ("seconds", "busy", "megabytes")),
            ]
            print(f"| {' | '.join(map(str, row))} |", flush=True)


def measured(what: str, width: int, height: int, faces: int, folder: Path | None = None) -> dict[str, float]:
    """Seconds, peak memory and faces of one protection, in a process of its own."""
    command = [sys.executable, __file__, "--child", json.dumps([what, width, height, faces, str(folder or "")])]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, float] = json.loads(run.stdout.splitlines()[-1])
    return found


def child(what: str, width: int, height: int, faces: int, folder: str) -> None:
    """Protects one photo and prints what it took."""
    rgb = portrait(width, height) if what == "portrait" else gathering(width, height, faces, folder)
    data = jpeg(rgb)
    del rgb  # it is no part of what protecting takes
    protector = Protector(device="cpu", search=Search(iterations=CROWD_ITERATIONS), judges=())
    protector.panel(MaskOptions().team)
    start, busy = time.perf_counter(), time.process_time()
    result = protector.protect(data)
    taken, busy = time.perf_counter() - start, time.process_time() - busy
    status = Path("/proc/self/status")  # Linux says the peak; elsewhere it stays unknown
    lines = status.read_text().splitlines() if status.exists() else []
    peak = next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0) * 1024 / 1e6
    masked = len(result.report.faces)
    found = len(result.report.found or result.report.faces)
    print(json.dumps({"seconds": taken, "busy": busy, "megabytes": peak, "found": found, "masked": masked}))


def gathering(width: int, height: int, faces: int, folder: str) -> RGB:
    """So many faces in rows and columns from the left top of a grey canvas."""
    canvas, heads = np.full((height, width, 3), 128, np.uint8), sorted_heads(folder)
    across = width // CELL
    if faces > across * (height // CELL):
        raise ValueError(f"{faces} faces do not fit into {width} x {height}")
    for number in range(faces):
        row, column = divmod(number, across)
        head = heads[number % len(heads)]
        canvas[row * CELL : (row + 1) * CELL, column * CELL : (column + 1) * CELL] = head
    return canvas


def sorted_heads(folder: str) -> list[RGB]:
    """Cells with one face each, cut out of the photos of a folder."""
    detect, heads = load_detector(), []
    photos = [np.asarray(Image.open(path).convert("RGB")) for path in sorted(Path(folder).iterdir())] if folder else []
    for rgb in photos or [skimage.data.astronaut()]:
        heads += [cell(rgb, face) for face in detect(rgb) if min(face.box[2:]) >= CELL / 4]
    return [head for head in heads if len(detect(head)) == 1]


def cell(rgb: RGB, face: Face) -> RGB:
    """A square around a face, CELL pixels wide."""
    x, y, width, height = face.box
    side = round(1.8 * max(width, height))
    left, top = round(x + width / 2 - side / 2), round(y + height / 2 - side / 2)
    padded = np.pad(rgb, ((side, side), (side, side), (0, 0)), mode="edge")
    square = padded[top + side : top + 2 * side, left + side : left + 2 * side]
    return np.asarray(cv2.resize(square, (CELL, CELL), interpolation=cv2.INTER_AREA))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", default=",".join(PARTS), help="which of %(default)s")
    parser.add_argument("--photos", type=Path, help="folder of photos with faces, for the crowd")
    parser.add_argument("--child", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        child(*json.loads(options.child))
        return
    parts = options.part.split(",")
    print(f"PMask {pmask.__version__}, torch {torch.__version__}, {torch.get_num_threads()} threads\n")
    if "overhead" in parts:
        overhead()
    if "memory" in parts:
        memory()
    if "crowd" in parts:
        crowd(options.photos)


if __name__ == "__main__":
    main()
