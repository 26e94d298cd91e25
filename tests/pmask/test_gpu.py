"""What runs on an NVIDIA card only."""

from __future__ import annotations

import statistics

import pytest
import torch

from pmask.geometry import FRAME_SIZE
from pmask.options import MaskOptions
from pmask.protect import Protector
from pmask.recognisers.replay import MOST_FACES, Replayed
from pmask.recording import ASKED_FOR
from pmask.report import Report
from pmask.teams import default_team

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no NVIDIA card here")


@pytest.fixture(scope="module")
def card() -> Protector:
    return Protector(device="cuda", judges=())


def reached(report: Report) -> float:
    """The mean share of the goals that a photo's faces reached."""
    return statistics.mean(min(1, d.after / d.goal) for face in report.faces for d in face.distances.values())


@pytest.mark.parametrize("name", default_team())
@pytest.mark.parametrize("faces", range(1, MOST_FACES + 2))
def test_a_replay_is_what_was_recorded(card, name, faces):
    """Embeddings and gradients, of other pixels than those that were there when it was recorded."""
    plain = card.recogniser(name)
    replayed = Replayed(plain)
    for _ in range(3):
        frames = torch.rand(faces, 3, FRAME_SIZE, FRAME_SIZE, device="cuda")
        rows, gradients = [], []
        for embed in (plain, replayed):
            leaf = frames.clone().requires_grad_()
            rows.append(embed(leaf))
            gradients.append(torch.autograd.grad(rows[-1][:, :8].sum(), leaf)[0])
        assert torch.allclose(rows[0], rows[1], atol=1e-4)
        assert float((gradients[0] - gradients[1]).norm()) < 1e-3 * float(gradients[0].norm())


@pytest.mark.parametrize("recorded", ["0", "1"])
@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_masks_of_a_card_are_as_good_as_the_processors(
    card, protector, astronaut, encoded, monkeypatch, kind, recorded
):
    """Rounding leads elsewhere, but no worse; with all of the search recorded, too."""
    data = encoded(astronaut, kind)
    monkeypatch.setenv(ASKED_FOR, recorded)
    wanted, found = protector.protect(data, MaskOptions()).report, card.protect(data, MaskOptions()).report
    assert "cuda" == found.device
    assert abs(reached(wanted) - reached(found)) < 0.05
    assert (1 - found.faces[0].ssim) / 2 <= 0.0171
