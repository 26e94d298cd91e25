"""Measures, on photos of this machine, what a recogniser lacks that comes without figures: the angle under which two
faces are one person, how often the nearest photo is of the same person, and how embeddings of many people spread.

Nobody's embedding is kept with them: the population is a mean and main directions over all people (pmask.population).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from pmask import files, validation
from pmask.degradations import BARE
from pmask.errors import BadOption
from pmask.evaluation.matching import Shots, match_cosine, outranked
from pmask.population import Embeddings, decoys, summarise
from pmask.recognisers import calibration
from pmask.recognisers.specs import SPECS

FEW_PEOPLE = 100
"""With fewer, there are under 5,000 pairs of strangers to find one false match in a thousand among, and the population
would be those people rather than people."""


def calibrate(
    folder: validation.Folder,
    names: Sequence[str],
    *,
    device: str = "auto",
    on_photo: validation.OnPhoto = lambda done, total: None,
) -> dict[str, calibration.Figures]:
    """Measures the named recognisers and keeps the figures. Raises BadOption for the registry's, which come with
    theirs, and for a folder of fewer than FEW_PEOPLE people; UnknownRecogniser or WeightsUnavailable."""
    measured = [name for name in names if SPECS[name].source == "registry"]
    if measured:
        raise BadOption(f"{', '.join(measured)} came with figures that were measured on many people; nothing to do")
    people = len(set(folder.people.tolist()))
    if people < FEW_PEOPLE:
        raise BadOption(f"{people} people are too few to calibrate by; a folder of at least {FEW_PEOPLE} is needed")
    found = validation.embeddings(folder, names, device=device, on_photo=on_photo)
    return {name: _measure(folder, name, found[name, BARE]) for name in names}


def _measure(folder: validation.Folder, name: str, vectors: Embeddings) -> calibration.Figures:
    shots = Shots(vectors, folder.people)
    probes = np.flatnonzero(shots.found & folder.probes)
    itself = probes[:, None] == np.arange(len(folder.people))[None]
    right = outranked(Shots(vectors[probes], folder.people[probes]), shots, itself) == 0
    faces = shots.where(shots.found)
    figures = calibration.Figures(
        match_angle=round(math.degrees(math.acos(match_cosine(faces))), 1),
        rank_one=round(100 * float(right.mean()), 1),
        faces=len(faces.people),
        people=len(set(faces.people.tolist())),
        mark=SPECS[name].mark,
    )
    with files.replacing(calibration.population_path(name)) as stream:
        np.savez(stream, allow_pickle=False, **summarise(faces.vectors, faces.people))
    calibration.keep(name, figures)
    decoys.cache_clear()
    return figures
