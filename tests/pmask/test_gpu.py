"""What runs on an NVIDIA card only."""

from __future__ import annotations

import gc
import statistics
from collections.abc import Callable

import pytest
import torch

from pmask import recording
from pmask.geometry import FRAME_SIZE
from pmask.options import MaskOptions
from pmask.protect import Protector
from pmask.recognisers.replay import MOST_FACES, Replayed
from pmask.recording import SWITCH
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
def test_masks_of_a_card_are_as_good_as_the_processors(protector, astronaut, encoded, monkeypatch, kind, recorded):
    """Rounding leads elsewhere, but no worse, whether the work is recorded or not."""
    data = encoded(astronaut, kind)
    monkeypatch.setenv(SWITCH, recorded)
    card = Protector(device="cuda", judges=())
    wanted, found = protector.protect(data, MaskOptions()).report, card.protect(data, MaskOptions()).report
    assert "cuda" == found.device
    assert abs(reached(wanted) - reached(found)) < 0.05
    assert (1 - found.faces[0].ssim) / 2 <= 0.0171


def test_garbage_does_not_spoil_a_recording(card, astronaut, encoded, monkeypatch):
    """A recording that is found to be garbage while another is made would end that one, and the photo with it."""
    record, there = recording.record, torch.zeros(1, device="cuda")

    def amid_garbage(work: Callable[[], None], purpose: str) -> Callable[[], None]:
        ring: list[object] = [record(lambda: there.add_(1), purpose)]
        ring.append(ring)
        del ring

        def watched() -> None:
            gc.set_threshold(1)
            work()
            gc.set_threshold(0)

        return record(watched, purpose)

    monkeypatch.setattr(recording, "record", amid_garbage)
    thresholds = gc.get_threshold()
    gc.set_threshold(0)
    try:
        report = card.protect(encoded(astronaut, "JPEG"), MaskOptions()).report
    finally:
        gc.set_threshold(*thresholds)
    assert "protected" == report.status


def test_photo_after_photo_takes_no_more_of_the_card(card, astronaut, encoded):
    """Recordings are made for each photo; their memory is used again."""
    photos = [encoded(astronaut[:, : 512 - 8 * cut], kind) for cut in range(4) for kind in ("PNG", "JPEG")]
    for data in photos:
        card.protect(data, MaskOptions())
    held = torch.cuda.memory_reserved()
    for data in photos * 2:
        card.protect(data, MaskOptions())
    assert torch.cuda.memory_reserved() <= 1.05 * held
