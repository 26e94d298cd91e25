"""Other people, as each recogniser sees them: what "the nearest other person" N(x) of Eq. 5 is looked for among.

PMask ships nobody's embedding. It ships, for each recogniser, the mean and the main directions of many people's unit
embeddings, and draws *decoys* from that Gaussian with a fixed seed. Angles from real faces to their nearest decoy match
those to their nearest real other person (see scripts/make_populations.py, which makes and compares them). Of
recognisers that it does not ship, the summary is made on this machine (pmask models calibrate).
"""

from __future__ import annotations

from functools import cache
from importlib import resources

import numpy as np
import numpy.typing as npt

from pmask.recognisers.calibration import population_path
from pmask.recognisers.specs import SPECS, require_known

Embeddings = npt.NDArray[np.float32]
"""Shape (people or photos, dim), each row of length one."""

DECOYS = 1000
"""As many as a small town's worth of profiles; 5,000 bring the nearest 2 degrees closer."""
COMPONENTS = 64
"""Main directions kept; what is left of the variance is spread evenly. 32 put mobilefacenet's 2 degrees too far."""
_SEED = 20240701


def summarise(embeddings: Embeddings, people: npt.NDArray[np.str_]) -> dict[str, npt.NDArray[np.float16]]:
    """Mean (dim), components (COMPONENTS, dim; scaled by their standard deviation) and rest (the standard deviation of
    every other direction) of the population. people: one name per row; each person weighs the same."""
    _, person, counts = np.unique(people, return_inverse=True, return_counts=True)
    weights = 1.0 / counts[person] / len(counts)
    mean = weights @ embeddings
    centred = (embeddings - mean) * np.sqrt(weights)[:, None]
    _, deviations, directions = np.linalg.svd(centred, full_matrices=False)
    rest = np.sqrt((deviations[COMPONENTS:] ** 2).sum() / max(1, embeddings.shape[1] - COMPONENTS))
    components = deviations[:COMPONENTS, None] * directions[:COMPONENTS]
    return {
        "mean": mean.astype(np.float16),
        "components": components.astype(np.float16),
        "rest": np.array(rest).astype(np.float16),
    }


def draw(summary: dict[str, npt.NDArray[np.float16]], count: int, seed: int = _SEED) -> Embeddings:
    """``count`` decoys (count, dim) from a summary; the same for the same seed."""
    mean, components = summary["mean"].astype(np.float64), summary["components"].astype(np.float64)
    rng = np.random.default_rng(seed)
    along = rng.standard_normal((count, len(components))) @ components
    across = rng.standard_normal((count, len(mean))) * float(summary["rest"])
    lengths = np.linalg.norm(components, axis=1, keepdims=True)
    directions = (components / np.where(lengths > 0, lengths, 1))[lengths[:, 0] > 0]  # few people span few directions
    across -= (across @ directions.T) @ directions
    people = mean + along + across
    unit: Embeddings = (people / np.linalg.norm(people, axis=1, keepdims=True)).astype(np.float32)
    return unit


def evenly(dim: int) -> dict[str, npt.NDArray[np.float16]]:
    """The summary of people who are spread evenly over all directions: for a recogniser of which nothing is known."""
    mean, components = np.zeros(dim, np.float16), np.zeros((0, dim), np.float16)
    return {"mean": mean, "components": components, "rest": np.array(1 / np.sqrt(dim)).astype(np.float16)}


@cache
def decoys(recogniser: str, count: int = DECOYS) -> Embeddings:
    """The decoys (count, dim) of a recogniser of the pool: of its population as it was measured for PMask or on this
    machine, else of people who are spread evenly. Raises UnknownRecogniser."""
    require_known([recogniser])
    spec = SPECS[recogniser]
    if not spec.calibrated:
        return draw(evenly(spec.dim), count)
    shipped = resources.files("pmask") / "data" / "populations" / f"{recogniser}.npz"
    path = shipped if spec.source == "registry" else population_path(recogniser)
    with path.open("rb") as stream, np.load(stream) as summary:
        return draw(dict(summary), count)
