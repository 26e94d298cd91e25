"""Teams ranked by focal diversity on people of the gallery, none of whom is under protection.

Recognisers hardly ever fail on the photos as they are, so the photo that is searched with is made worse (HARDER); the
others stay as they are. A recogniser fails on a photo when the nearest of all other photos is of somebody else.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

import cv2
import numpy as np
from plan import Plan

from pmask.evaluation.people import Photo, find_people, split
from pmask.faces import Box, Face
from pmask.images import RGB, decode
from pmask.protect import Protector
from pmask.teaming import Team, few, rank_teams, telling

PHOTOS_EACH = 4
"""Of one person, so that people with many photos do not count for more."""
SMALL_FACE = 16
"""Pixels of a face's shorter side."""
BLUR = 0.045
"""Sigma of a Gaussian, as a share of the face's shorter side."""
NOISE = 45.0
"""Sigma in grey levels."""


def _small(rgb: RGB, box: Box) -> RGB:
    scale = min(1.0, SMALL_FACE / min(box[2:]))
    size = max(1, round(rgb.shape[1] * scale)), max(1, round(rgb.shape[0] * scale))
    small = cv2.resize(rgb, size, interpolation=cv2.INTER_AREA)
    return np.asarray(cv2.resize(small, (rgb.shape[1], rgb.shape[0]), interpolation=cv2.INTER_CUBIC), np.uint8)


def _blurred(rgb: RGB, box: Box) -> RGB:
    return np.asarray(cv2.GaussianBlur(rgb, (0, 0), BLUR * min(box[2:])), np.uint8)


def _noisy(rgb: RGB, box: Box) -> RGB:
    noise = np.random.default_rng(0).normal(0, NOISE, rgb.shape)
    return np.clip(rgb + noise, 0, 255).astype(np.uint8)


HARDER: dict[str, Callable[[RGB, Box], RGB]] = {
    f"shrunk until the face has {SMALL_FACE} px": _small,
    f"a Gaussian blur of {BLUR:.1%} of the face": _blurred,
    f"noise of {NOISE:.0f} levels": _noisy,
}
"""What makes a photo worse, in words; the face is known from the photo as it is."""


@dataclass(frozen=True)
class Ranking:
    """teams, the most diverse first. words: what it rests on."""

    teams: list[Team]
    words: list[str]


def ranking(plan: Plan, size: int) -> Ranking:
    """All teams of so many members. What the recognisers fail on is kept in the work folder."""
    wrong = _wrong(plan)
    teams = rank_teams(wrong, size)
    photos = len(next(iter(wrong.values())))
    counts = ", ".join(f"{name} {int(fails.sum())}" for name, fails in wrong.items())
    left = len(telling(np.column_stack(list(wrong.values()))))
    words = [
        f"Diversity (Eq. 10) rests on {photos} searches with photos of people who are not under protection, made "
        f"worse: {'; '.join(HARDER)}. The recognisers fail on {counts} of them; {left} are left "
        "without those that all fail."
    ]
    if few(teams):
        words.append(f"That is few for {', '.join(few(teams))}: take the diversity of their teams as a hint.")
    return Ranking(teams, words)


def _wrong(plan: Plan) -> dict[str, np.ndarray]:
    """For each recogniser of the pool, where it fails."""
    parts = split(
        find_people(plan.faces, plan.same),
        count=plan.size.people,
        probes=plan.size.probes,
        source=plan.source,
        others=plan.size.gallery_people,
        seed=plan.seed,
    )
    photos = [(person.name, photo) for person in parts.others for photo in person.photos[:PHOTOS_EACH]]
    kept = plan.work / "negatives.json"
    key = json.dumps([[photo.digest for _, photo in photos], list(plan.pool), list(HARDER)])
    if kept.exists() and (known := json.loads(kept.read_text()))["key"] == key:
        return {name: np.array(fails) for name, fails in known["wrong"].items()}
    wrong = _searched(plan, photos)
    kept.parent.mkdir(parents=True, exist_ok=True)
    kept.write_text(json.dumps({"key": key, "wrong": {name: fails.tolist() for name, fails in wrong.items()}}))
    return wrong


def _searched(plan: Plan, photos: list[tuple[str, Photo]]) -> dict[str, np.ndarray]:
    """For each recogniser of the pool, where it fails (searches)."""
    engine = Protector(device=plan.device, judges=())
    people: list[str] = []
    bare = []
    searches: list[int] = []  # places in the gallery whose photos are searched with
    worse = []
    counts = Counter(name for name, _ in photos)
    for name, photo in photos:
        rgb = decode(photo.path.read_bytes()).rgb
        faces: list[Face] = engine.detect(rgb)
        if not faces:
            continue
        if counts[name] > 1:
            searches.append(len(people))
            worse.append([_embedded(engine, plan, change(rgb, faces[0].box), faces[0]) for change in HARDER.values()])
        people.append(name)
        bare.append(_embedded(engine, plan, rgb, faces[0]))
    names, places = np.array(people), np.array(searches)
    wrong = {}
    for recogniser in plan.pool:
        gallery = np.array([row[recogniser] for row in bare])
        fails = []
        for change in range(len(HARDER)):
            scores = np.array([rows[change][recogniser] for rows in worse]) @ gallery.T
            scores[np.arange(len(places)), places] = -np.inf
            fails.append(names[scores.argmax(1)] != names[places])
        wrong[recogniser] = np.concatenate(fails)
    return wrong


def _embedded(engine: Protector, plan: Plan, rgb: RGB, face: Face) -> dict[str, np.ndarray]:
    return {name: rows[0].cpu().numpy() for name, rows in engine.embed(rgb, [face], plan.pool).items()}


if __name__ == "__main__":
    raise SystemExit("this ranks teams for figure_11_diversity.py and table_5_ablation.py; run one of them")
