"""Decoys stand for other people: they decide how far a face must be pushed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image

from pmask.population import decoys, draw, summarise
from pmask.recognisers.specs import REGISTRY
from pmask.views import View

SHIFT = 5.0
"""Degrees that the median angle to the nearest decoy may differ from that to the nearest real other person."""


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_decoys_are_unit_embeddings_and_always_the_same(name):
    """Another draw would give another goal for the same photo."""
    people = decoys(name)
    assert (1000, REGISTRY[name].dim) == people.shape
    assert np.allclose(1, np.linalg.norm(people, axis=1), atol=1e-5)
    decoys.cache_clear()
    assert np.array_equal(people, decoys(name))


def test_a_summary_gives_back_its_population():
    """Mean and spread of the decoys are those of the people they stand for."""
    rng = np.random.default_rng(1)
    real = np.array([1.0, 0, 0, 0]) + rng.standard_normal((4000, 4)) * (0.05, 0.3, 0.1, 0.1)
    real = (real / np.linalg.norm(real, axis=1, keepdims=True)).astype(np.float32)
    people = draw(summarise(real, np.arange(4000).astype(str)), 4000, seed=2)
    assert np.allclose(real.mean(0), people.mean(0), atol=0.02)
    assert np.allclose(real.std(0), people.std(0), atol=0.03)


@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_the_nearest_decoy_is_as_far_as_the_nearest_stranger(name, protector, shared):
    """Decoys too far ask for masks that scar, too near for masks that fail."""
    frames = []
    for path in sorted((shared / "faces/distractors").iterdir())[:120]:
        with Image.open(path) as image:
            rgb = np.array(image.convert("RGB"))
        if faces := protector.detect(rgb):
            frames.append(View(rgb, faces[0], torch.device("cpu")).frame(rgb))
    recogniser = protector.recogniser(name)
    with torch.no_grad():
        people = torch.cat([recogniser(torch.cat(frames[i : i + 16])) for i in range(0, len(frames), 16)]).numpy()
    probes, gallery = people[:40], people[40:]
    stranger, decoy = (
        np.degrees(np.arccos((probes @ others.T).max(1))) for others in (gallery, decoys(name)[: len(gallery)])
    )
    assert abs(float(np.median(stranger) - np.median(decoy))) < SHIFT
