"""Makes pmask/data/populations/*.npz: how each recogniser's embeddings of many people spread, without anybody's own.

    .venv/bin/python scripts/make_populations.py --faces ../shared/faces [--models dlib,...] [--out DIR]

FACES holds people/NAME/*.jpg and distractors/*.jpg, one person in the middle of each photo. Prints, for each
recogniser, the match angle and the rank-one rate that pmask/recognisers/specs.py holds, and the median angle from a
face to the nearest of the decoys and to the nearest of as many real strangers.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image

from pmask.evaluation.matching import Shots, match_cosine
from pmask.job import FACES_AT_ONCE
from pmask.population import Embeddings, draw, summarise
from pmask.protect import Protector
from pmask.recognisers.specs import REGISTRY
from pmask.views import View

ROOT = Path(__file__).resolve().parent.parent


def frames_of(folder: Path, protector: Protector) -> tuple[torch.Tensor, npt.NDArray[np.str_]]:
    """The frame (photos, 3, FRAME_SIZE, FRAME_SIZE; bytes) of the face in the middle of each photo, and who it is."""
    people = [(path, path.parent.name) for path in sorted(folder.glob("people/*/*.jpg"))]
    strangers = [(path, path.name) for path in sorted(folder.glob("distractors/*.jpg"))]
    frames, names = [], []
    for path, name in people + strangers:
        with Image.open(path) as image:
            rgb = np.array(image.convert("RGB"))
        middle = np.array(rgb.shape[1::-1]) / 2
        faces = protector.detect(rgb)
        if faces:
            face = min(faces, key=lambda face: float(np.abs(face.landmarks[2] - middle).sum()))
            frames.append((View(rgb, face, torch.device("cpu")).frame(rgb) * 255).round().byte())
            names.append(name)
    return torch.cat(frames), np.array(names)


def embed(frames: torch.Tensor, protector: Protector, name: str) -> Embeddings:
    """Embeddings (photos, dim)."""
    recogniser = protector.recogniser(name)
    with torch.no_grad():
        parts = [
            recogniser(frames[i : i + FACES_AT_ONCE].float().to(protector.device) / 255).cpu()
            for i in range(0, len(frames), FACES_AT_ONCE)
        ]
    return torch.cat(parts).numpy()


def nearest(probes: Embeddings, others: Embeddings) -> float:
    """Median angle in degrees from a probe to the nearest of the others."""
    return float(np.median(np.degrees(np.arccos(np.clip((probes @ others.T).max(1), -1, 1)))))


def figures(embeddings: Embeddings, names: npt.NDArray[np.str_]) -> tuple[float, float]:
    """The match angle in degrees, and the percent of photos of people with several whose nearest is of the same."""
    faces = Shots(embeddings, names)
    likeness = embeddings @ embeddings.T
    np.fill_diagonal(likeness, -np.inf)
    _, person, counts = np.unique(names, return_inverse=True, return_counts=True)
    several = counts[person] > 1
    right = names[likeness.argmax(1)] == names
    return float(np.degrees(np.arccos(match_cosine(faces)))), 100 * float(right[several].mean())


def main() -> None:
    """Makes, writes and compares."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faces", type=Path, required=True)
    parser.add_argument("--models", type=lambda names: names.split(","), default=list(REGISTRY))
    parser.add_argument("--out", type=Path, default=ROOT / "pmask/data/populations")
    options = parser.parse_args()
    protector = Protector()
    frames, names = frames_of(options.faces, protector)
    print(f"{len(frames)} faces of {len(set(names))} people\n")
    print(
        "| recogniser | match angle | rank one | real strangers | as many decoys, from the other half of the people |"
    )
    print("|---|---|---|---|---|")
    half = np.isin(names, np.unique(names)[::2])
    for name in options.models:
        embeddings = embed(frames, protector, name)
        np.savez(options.out / f"{name}.npz", allow_pickle=False, **summarise(embeddings, names))
        _, first = np.unique(names[half], return_index=True)
        strangers = embeddings[half][first]
        decoys = draw(summarise(embeddings[half], names[half]), len(strangers))
        apart, right = figures(embeddings, names)
        real, drawn = nearest(embeddings[~half], strangers), nearest(embeddings[~half], decoys)
        print(f"| {name} | {apart:.1f} | {right:.1f} | {real:.1f} | {drawn:.1f} |", flush=True)


if __name__ == "__main__":
    main()
