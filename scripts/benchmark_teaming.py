"""How long ranking takes once the embeddings are kept: all teams of a pool, on made-up embeddings of validation photos.

    .venv/bin/python scripts/benchmark_teaming.py [--recognisers 9] [--photos 2000] [--people 200] [--size 3]

Made-up, since it is the counting that is timed: people are directions drawn at random, photos lie around them, and each
recogniser sees them with noise of its own. Times the search for negative samples (every photo against all others), the
ranking, and the intervals.
"""

from __future__ import annotations

import argparse
import time

import numpy as np

from pmask.evaluation.matching import Shots, outranked
from pmask.teaming import intervals, rank_teams

DIM = 512
NOISE = 0.12
"""Standard deviation of a photo around its person, in each of DIM directions: some photos are misrecognised."""


def main() -> None:
    """Prints the seconds of each part."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--recognisers", type=int, default=9)
    parser.add_argument("--photos", type=int, default=2000)
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--size", type=int, default=3)
    options = parser.parse_args()
    chance = np.random.default_rng(0)
    whose = chance.integers(0, options.people, options.photos)
    pool = {f"r{i}": _made_up(chance, whose, options.people) for i in range(options.recognisers)}
    names = whose.astype(str)
    start = time.perf_counter()
    itself = np.eye(options.photos, dtype=bool)
    wrong = {name: outranked(Shots(rows, names), Shots(rows, names), itself) > 0 for name, rows in pool.items()}
    searched = time.perf_counter()
    teams = rank_teams(wrong, options.size)
    ranked = time.perf_counter()
    intervals(wrong, teams, names)
    done = time.perf_counter()
    shares = ", ".join(f"{100 * fails.mean():.0f}" for fails in wrong.values())
    print(f"{options.recognisers} recognisers, {options.photos} photos of {options.people} people: {len(teams)} teams")
    print(f"misrecognised, %: {shares}")
    print(
        f"negative samples {searched - start:.2f} s, ranking {ranked - searched:.2f} s, intervals {done - ranked:.2f} s"
    )
    print(f"together {done - start:.2f} s")


def _made_up(chance: np.random.Generator, whose: np.ndarray, people: int) -> np.ndarray:
    """Unit embeddings (photos, DIM)."""
    centres = chance.standard_normal((people, DIM)) / np.sqrt(DIM)
    rows = centres[whose] + NOISE * chance.standard_normal((len(whose), DIM))
    unit: np.ndarray = (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)
    return unit


if __name__ == "__main__":
    main()
