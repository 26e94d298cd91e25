"""What the worker's protector remembers from photo to photo, on the real recognisers with a short search."""

from __future__ import annotations

import functools
import io

import numpy as np
import pytest
import skimage.data
from PIL import Image

from localserver import resident
from localserver.resident import Resident
from pmask import gallery
from pmask.errors import Cancelled
from pmask.mask import Search
from pmask.options import MaskOptions
from pmask.protect import Protector


def png(rgb) -> bytes:
    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG")
    return out.getvalue()


ASTRONAUT = np.array(skimage.data.astronaut())
FACE, MIRRORED = png(ASTRONAUT), png(np.ascontiguousarray(ASTRONAUT[:, ::-1]))


@pytest.fixture(autouse=True)
def _short(monkeypatch, tmp_path):
    """Strength is tested elsewhere. State and galleries are the test's."""
    monkeypatch.setattr(resident, "Protector", functools.partial(Protector, search=Search(iterations=2)))
    monkeypatch.setenv("PMASK_HOME", str(tmp_path / "state"))
    monkeypatch.setattr(gallery, "cache_dir", lambda: tmp_path / "cache")


@pytest.fixture
def people(tmp_path):
    """A gallery folder with another photo of the person."""
    folder = tmp_path / "people"
    folder.mkdir()
    (folder / "mirror.png").write_bytes(MIRRORED)
    return folder


def protect(engine, data, cancelled=lambda: False):
    return engine.protect(data, MaskOptions(), lambda progress: None, cancelled)


def test_it_remembers_its_last_photos_and_its_own_work():
    """Photos of one upload come one by one; a photo that was protected comes back when it is posted elsewhere."""
    engine = Resident("cpu")
    first = protect(engine, FACE)
    assert 1 == first.report.faces[0].references
    assert 2 == protect(engine, MIRRORED).report.faces[0].references
    again = protect(Resident("cpu"), first.data)
    assert ("already_protected", first.data) == (again.report.status, again.data)


def test_warming_up_loads_the_team_and_the_judges():
    """The first photo then finds all in memory that it needs; which device it will be is known."""
    engine = Resident("cpu")
    engine.warm(MaskOptions(team=("sface",)))
    loaded = set(engine._protector._recognisers)
    assert "cpu" == engine.device
    assert {"sface"} < loaded
    protect(engine, FACE)
    assert loaded <= set(engine._protector._recognisers)


def test_it_reads_the_gallery_and_sees_when_that_changes(people):
    """The owner adds photos while the daemon runs."""
    engine = Resident("cpu", people)
    assert 2 == protect(engine, FACE).report.faces[0].references
    (people / "mirror.png").unlink()
    assert 1 == protect(engine, FACE).report.faces[0].references


def test_a_gallery_that_is_gone_costs_a_warning(people):
    """A disk that is not plugged in must not hold photos back."""
    (people / "mirror.png").unlink()
    people.rmdir()
    report = protect(Resident("cpu", people), FACE).report
    assert ("protected", True) == (report.status, report.passing)
    assert any("without it" in warning for warning in report.warnings)


def test_a_cancel_is_heard_while_the_gallery_is_read(people):
    """The first look at thousands of photos takes minutes."""
    with pytest.raises(Cancelled):
        protect(Resident("cpu", people), FACE, lambda: True)
