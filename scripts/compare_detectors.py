"""Finds and time of the two face detectors on a folder of photos, and a picture of each photo where they differ.

    .venv/bin/python scripts/compare_detectors.py PHOTOS_FOLDER [--out out/detectors]

Red boxes are YuNet's, green ones MTCNN's. Whether a find that only one of them made is a face, a person must say.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from pmask.faces import load_detector

COLOURS = {"yunet": "red", "mtcnn": "lime"}


def main() -> None:
    """Counts, times and draws."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("out/detectors"))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    detectors = {name: load_detector(name) for name in COLOURS}
    total = dict.fromkeys(COLOURS, 0.0)
    print("| photo | size | YuNet | s | MTCNN | s |\n|---|---|---|---|---|---|")
    for path in sorted(options.folder.iterdir()):
        with Image.open(path) as stored:
            image = ImageOps.exif_transpose(stored).convert("RGB")
        cells, counts = [f"{image.width} x {image.height}"], []
        pixels, pen = np.array(image), ImageDraw.Draw(image)
        for name, detect in detectors.items():
            start = time.perf_counter()
            faces = detect(pixels)
            taken = time.perf_counter() - start
            total[name] += taken
            counts.append(len(faces))
            cells += [str(len(faces)), f"{taken:.2f}"]
            for x, y, width, height in (face.box for face in faces):
                pen.rectangle((x, y, x + width, y + height), outline=COLOURS[name], width=max(2, image.width // 400))
        print(f"| {path.name} | {' | '.join(cells)} |")
        if counts[0] != counts[1]:
            image.save(options.out / f"{path.stem}.png")
    times = ", ".join(f"{name} {taken:.1f}" for name, taken in total.items())
    print(f"\nseconds in all: {times}; pictures in {options.out}")


if __name__ == "__main__":
    main()
