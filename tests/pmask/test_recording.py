"""Recorded work, on a stand-in for a graphics card: what a card would replay is written down, operation by operation,
and done again on the same tensors. What a card refuses while it records, the stand-in refuses."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_mask import TEAM, target
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from pmask import recording
from pmask.mask import PAPER_SEARCH, Mask, Search, search_masks
from pmask.recording import Recorded

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


def written(work: Callable[[], None]) -> Callable[[], None]:
    """As pmask.recording.record, of work on the processor."""
    with Written() as down:
        work()
    down.spoil()
    return down.replay


@pytest.fixture
def a_card_records(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], None]]:
    """Has work on the processor recorded; what was."""
    works: list[Callable[[], None]] = []

    def noted(work: Callable[[], None]) -> Callable[[], None]:
        works.append(work)
        return written(work)

    monkeypatch.setattr(recording, "records", lambda device: True)
    monkeypatch.setattr(recording, "record", noted)
    return works


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
def test_recorded_searches_make_the_masks_that_others_make(search, a_card_records):
    """What a recording does not see again, such as a number that Python works out, would stay as it was."""
    recorded = masks(**search)
    assert len(a_card_records) >= 5
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "records", lambda device: False)
        plain = masks(**search)
    assert float(plain[0].values.abs().max()) > 0.02
    assert [mask.iterations for mask in plain] == [mask.iterations for mask in recorded]
    for one, other in zip(plain, recorded, strict=True):
        assert torch.equal(one.values, other.values)


def test_a_face_that_leaves_has_the_others_recorded_anew(a_card_records):
    """The batch is another then."""
    made = masks(**vars(PAPER_SEARCH) | {"iterations": 12})
    assert 2 < made[2].iterations < made[0].iterations == 12
    assert len(a_card_records) >= 9


def test_the_stand_in_tells_what_a_card_would_not_do_again():
    """A test that cannot fail would show nothing."""
    total, kept, turn = torch.zeros(2), torch.zeros(2), [0]

    def work() -> None:
        turn[0] += 1
        total.add_(1.0)
        kept.copy_(total * turn[0])

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recording, "records", lambda device: True)
        patch.setattr(recording, "record", written)
        recorded = Recorded(work, CPU)
        for _ in range(4):
            recorded()
    assert [4.0, 4.0] == total.tolist(), "each time once, the recording none"
    assert [8.0, 8.0] == kept.tolist(), "Python's own count stays what it was when it was recorded"


@pytest.mark.parametrize("work", [lambda: float(torch.ones(1).sum()), lambda: torch.tensor([1.0])])
def test_the_stand_in_refuses_what_a_card_refuses(work):
    with pytest.raises(RuntimeError, match="card"):
        written(work)
