"""Recorded work, on a stand-in for a graphics card: what a card would replay is written down, operation by operation,
and done again on the same tensors. What a card refuses while it records, the stand-in refuses."""

from __future__ import annotations

import gc
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_mask import TEAM, Tiny, target
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pmask import recording
from pmask.geometry import FRAME_SIZE
from pmask.mask import PAPER_SEARCH, Mask, Search, search_masks
from pmask.protect import Protector
from pmask.recognisers.pool import Recogniser
from pmask.recognisers.replay import MOST_FACES, Replayed
from pmask.recording import Recordings

CPU = torch.device("cpu")
aten = torch.ops.aten
REFUSED = {
    *(aten._local_scalar_dense.default, aten.is_nonzero.default, aten.equal.default),  # wait for a result
    *(aten.lift_fresh.default, aten.lift_fresh_copy.default),  # bring numbers from Python
}


class Written(TorchDispatchMode):
    """Writes down what is done on tensors. As on a card, what is there already is not changed while this goes on."""

    def __init__(self) -> None:
        super().__init__()
        self.done: list[tuple[Any, tuple[Any, ...], dict[str, Any], list[Tensor]]] = []
        self.own: set[int] = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func in REFUSED:
            raise RuntimeError(f"a card that is recording refuses {func}")
        if func._schema.is_mutable and _place(args[0]) not in self.own:
            result = args[0]
        else:
            result = func(*args, **(kwargs or {}))
        results = _tensors(result)
        if not (func.is_view or func._schema.is_mutable):
            self.own |= {_place(made) for made in results}
        self.done.append((func, args, kwargs or {}, results))
        return result

    def spoil(self) -> None:
        """A card has worked out nothing yet: nobody may live on what this stand-in has."""
        for *_, results in self.done:
            for made in results:
                if _place(made) in self.own and made.is_floating_point():
                    made.data.fill_(math.nan)

    def replay(self) -> None:
        """Does all of it again, into the very tensors that it went to before."""
        with torch.no_grad():
            for func, args, kwargs, results in self.done:
                if func.is_view:
                    continue
                again = func(*args, **kwargs)
                if not func._schema.is_mutable:
                    for before, now in zip(results, _tensors(again), strict=True):
                        before.data.copy_(now)  # past autograd, which would take it for a change of what it has saved


def _tensors(result: Any) -> list[Tensor]:
    return [leaf for leaf in tree_leaves(result) if isinstance(leaf, Tensor)]


def _place(tensor: Tensor) -> int:
    return tensor.untyped_storage().data_ptr()


class Studio:
    """Stands in for pmask.recording.record on the processor. Recordings of one purpose share memory: replaying one
    overwrites what those after it hold."""

    def __init__(self) -> None:
        self.made: dict[str, list[Written]] = {}

    def record(self, work: Callable[[], None], purpose: str = "") -> Callable[[], None]:
        """As pmask.recording.record."""
        with Written() as down:
            work()
        down.spoil()
        beside = self.made.setdefault(purpose, [])
        beside.append(down)

        def replay() -> None:
            for later in beside[beside.index(down) + 1 :]:
                later.spoil()
            down.replay()

        return replay

    def count(self) -> int:
        """How many recordings there are."""
        return sum(map(len, self.made.values()))


@pytest.fixture
def studio(monkeypatch: pytest.MonkeyPatch) -> Studio:
    """Has work on the processor recorded."""
    there = Studio()
    monkeypatch.setattr(recording, "records", lambda device: True)
    monkeypatch.setattr(recording, "record", there.record)
    return there


def masks(**search: Any) -> list[Mask]:
    """Of three faces: a large one, a compressed one, and one with another photo of the person, which is done early."""

    def coarse(patch):
        return torch.round(patch * 31) / 31

    faces = [
        target(seed=1, reach=2.0, side=200),
        target(seed=2, reach=2.0, budget=0.03, encoded=coarse),
        target(seed=3),
    ]
    more = {name: torch.cat([rows, rows.flip(1)]) for name, rows in faces[2].references.items()}
    faces[2] = replace(faces[2], references=more, goals=dict.fromkeys(TEAM, 0.5))
    return search_masks(faces, TEAM, search=Search(**{"iterations": 16} | search))


@pytest.mark.parametrize("search", [{}, {"sights": None}, vars(PAPER_SEARCH) | {"iterations": 12}])
def test_recorded_searches_make_the_masks_that_others_make(search, studio):
    """What a recording does not see again, such as a number that Python works out, would stay as it was."""
    recorded = masks(**search)
    assert studio.count() >= 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "records", lambda device: False)
        plain = masks(**search)
    assert float(plain[0].values.abs().max()) > 0.02
    assert [mask.iterations for mask in plain] == [mask.iterations for mask in recorded]
    for one, other in zip(plain, recorded, strict=True):
        assert torch.equal(one.values, other.values)


def test_a_face_that_leaves_has_the_others_recorded_anew(studio):
    """The batch is another then."""
    made = masks(**vars(PAPER_SEARCH) | {"iterations": 12})
    assert 2 < made[2].iterations < made[0].iterations == 12
    assert studio.count() >= 9


def test_a_search_leaves_no_recordings_behind(studio):
    """They hold a card's memory, and must not wait for a garbage collection, which may come while another is made."""
    gone = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "record", lambda *work: _Watched(studio.record(*work), gone))
        gc.disable()
        try:
            masks()
        finally:
            gc.enable()
    assert len(gone) == studio.count() >= 5


class _Watched:
    """A replay, which says when it goes."""

    def __init__(self, replay: Callable[[], None], gone: list[int]) -> None:
        self._replay, self._gone = replay, gone

    def __call__(self) -> None:
        self._replay()

    def __del__(self) -> None:
        self._gone.append(1)


def test_recognisers_are_replayed_as_they_are(studio):
    """Embeddings and gradients of new pixels, for batches of several sizes, of two recognisers in turn, which share
    their memory."""
    both = [(network, Replayed(network)) for network in TEAM.values()]
    for faces in (1, 3, 1, 1, 3):
        frames = torch.rand(faces, 3, FRAME_SIZE, FRAME_SIZE)
        for plain, replayed in both:
            assert torch.equal(plain(frames), replayed(frames))
            leaf, again = frames.clone().requires_grad_(), frames.clone().requires_grad_()
            wanted, found = plain(leaf), replayed(again)
            assert torch.equal(wanted, found)
            pairs = ((wanted, leaf), (found, again))
            (wanted,), (found,) = (torch.autograd.grad(rows[:, :5].sum(), pixels) for rows, pixels in pairs)
            assert float(wanted.norm()) > 0
            assert torch.equal(wanted, found)
    assert {"recognisers": 12} == {purpose: len(made) for purpose, made in studio.made.items()}


def test_what_a_recogniser_returned_stays(studio):
    """The next look works elsewhere."""
    replayed, frames = Replayed(TEAM["one"]), torch.rand(2, 3, FRAME_SIZE, FRAME_SIZE)
    first = replayed(frames)
    kept = first.clone()
    replayed(1 - frames)
    assert torch.equal(kept, first)


def test_a_gradient_is_refused_after_another_look(studio):
    """Its memory holds the other's by then, and the gradient would be wrong without a word."""
    one, two = (Replayed(network) for network in TEAM.values())
    rows = one(torch.rand(1, 3, FRAME_SIZE, FRAME_SIZE, requires_grad=True))
    two(torch.rand(1, 3, FRAME_SIZE, FRAME_SIZE))
    with pytest.raises(RuntimeError, match="has looked since"):
        rows.sum().backward()


def test_crowds_are_not_recorded(studio):
    """Each recording holds memory."""
    network = Tiny(3)
    frames = torch.rand(MOST_FACES + 1, 3, FRAME_SIZE, FRAME_SIZE)
    assert torch.equal(network(frames), Replayed(network)(frames))
    assert 0 == studio.count()


def test_warming_up_records_what_the_first_photo_needs(studio):
    """Of each member of the team both passes and one without a gradient, of a judge this one alone."""
    protector = Protector(device="cpu", judges=("dlib",))
    for _ in range(2):
        protector.warm(("sface",))
        assert {"recognisers": 4} == {purpose: len(made) for purpose, made in studio.made.items()}


def test_warming_up_has_nobody_look_where_nothing_is_recorded(monkeypatch):
    """A processor gains nothing by it, and a photo that comes meanwhile would wait."""
    looks = []
    monkeypatch.setattr(Recogniser, "forward", lambda *frames: looks.append(frames))
    Protector(device="cpu", judges=("dlib",)).warm(("sface",))
    assert [] == looks


def test_the_stand_in_tells_what_a_card_would_not_do_again(studio):
    """A test that cannot fail would show nothing."""
    total, kept, turn = torch.zeros(2), torch.zeros(2), [0]

    def work() -> None:
        turn[0] += 1
        total.add_(1.0)
        kept.copy_(total * turn[0])

    recordings = Recordings(CPU)
    for _ in range(4):
        recordings.do(work)
    assert [4.0, 4.0] == total.tolist(), "each time once, the recording none"
    assert [8.0, 8.0] == kept.tolist(), "Python's own count stays what it was when it was recorded"


def test_the_stand_in_shares_memory(studio):
    """Nor would one on which recordings never got in each other's way."""
    found = []
    first = studio.record(lambda: None, "one")
    second = studio.record(lambda: found.append(torch.ones(2) * 2), "one")
    second()
    assert [2.0, 2.0] == found[0].tolist()
    first()
    assert all(map(math.isnan, found[0].tolist()))


@pytest.mark.parametrize("work", [lambda: float(torch.ones(1).sum()), lambda: torch.tensor([1.0])])
def test_the_stand_in_refuses_what_a_card_refuses(work):
    with pytest.raises(RuntimeError, match="card"):
        Studio().record(work)


@pytest.mark.parametrize(("switch", "wanted"), [(None, True), ("1", True), ("0", False)])
def test_a_card_records_unless_told_not_to(monkeypatch, switch, wanted):
    """The switch is for cards that cannot; a processor never does."""
    monkeypatch.delenv(recording.SWITCH, raising=False)
    if switch is not None:
        monkeypatch.setenv(recording.SWITCH, switch)
    assert wanted == recording.records(torch.device("cuda"))
    assert not recording.records(CPU)
