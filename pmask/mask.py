"""The optimiser: a mask for each face of a photo, found against a team of recognisers (paper, section 4).

A mask lives in the face frame (pmask.geometry). Each iteration carries it into the photo's own pixels, adds it there,
clips, and looks at the result through each recogniser's alignment, so that what is optimised is what is delivered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.utils.rnn import pad_sequence

from pmask.errors import Cancelled
from pmask.geometry import FRAME_SIZE, sample
from pmask.recording import Recordings
from pmask.sights import Sights, blurred, laid
from pmask.ssim import C2, SsimTo

FITS = 6
"""Rounds in which a mask is scaled to its budget. Each leaves a tenth or so of what it was off, as 1 - SSIM grows with
the square of the mask but for clipping, rounding and the photo's codec."""
FIT_RANGE = (0.5, 1.5)
MOST_INSIDE = 0.9
"""Share of SSIM's windows, beyond which what is around the detector's box is too little to be scaled by itself."""
FIT_BLUR = 25
"""Pixels of the face frame over which the scale in the detector's box goes over into the one around it."""
Embed = Callable[[Tensor], Tensor]
"""Face frames (B, 3, FRAME_SIZE, FRAME_SIZE) in [0, 1] to unit embeddings (B, dim); a Recogniser is one."""

LUMA = (0.299, 0.587, 0.114)
"""ITU-R BT.601's weights of red, green and blue, as JPEG uses them."""
MOST_EASE = 2.0
"""Times the face's median: beyond, an outline of the head against the sky would hide most, and people see it waver.
Recognisers outside the team are fooled as much as without a limit."""
TEXTURE_WINDOW = 9
"""Pixels: the width that holds most of SSIM's Gaussian, two of its standard deviations and more to each side."""
LARGE_FACE = 160
"""Pixels. SSIM's window sees 11 of them, so in a large picture of a face it misses broad shading, which people see:
such a face is judged at half its size as well, and its masks are finer (Search.fine, Search.around)."""


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a mask is searched for. The defaults were chosen on a handful of faces, judged by pool members alone.

    layers: a mask is the sum of layers of so many cells a side. The default is one cell to a template unit (what a
        112-pixel recogniser sees; finer noise would not survive a resize), and one to two units. A recogniser that was
        left out of the team is fooled less by the finer alone, and less with coarser ones beside them.
    step, last_step: how far a layer's cells move in the first and in the last iteration, as a root mean square over the
        face, in units of the photo's range [0, 1]. With Adam, how far each cell moves.
    texture: how much farther a step goes where the photo's texture hides it (the power in _ease; 0: not at all).
    fine: pixels of the face frame. A large face's steps lose their own average over so wide a square: SSIM hardly sees
        shading that is broader, and people do (0: broad shading too).
    around: how strong a large face's mask is around the detector's box, beside what the budget allows there: hair and
        background tell recognisers little, and ripples and spots in them are seen.
    brightness: the most that a large face's mask may change a pixel's brightness, in units of [0, 1]; without a limit
        a nostril may turn black. These three cost large faces some of what they protect better than small ones.
    noise: the most of a mask's random start, in units of [0, 1]: at zero the angle has no direction to grow in.
    iterations: the most that are made; 40 fool a recogniser outside the team less, 120 no more.
    momentum: of the mean gradient. curvature: of Adam's mean square, or None for steps along the mean gradient itself:
        Adam moves the cells that matter little as far as those that matter most, and the budget is spent on both.
    recency: the mask is the average of the iterations' masks, the t-th of which weighs about t to this power
        (https://arxiv.org/abs/1212.1824, section 4): the views are drawn by chance, and what a single one asked for
        averages out, while the first are forgotten, however few there are. Without sights it is not used.
    kappa: the weight of Eq. 8 at the start, doubled while the imperceptibility loss is above zero, else halved,
        within kappa_range. The two gradients are normalised first, so that kappa means the same for every face.
    colour: the most that a mask may change a pixel's colour beside its brightness, in units of [0, 1]. Coloured eyes
        and skin are what people notice first; without this limit angles grow by 2 to 10 degrees, and eyes turn green.
    sights: how intruders may see the face; each iteration draws one for each face. None: the paper's plain search.
    lookers: members of the team that look in one iteration, taken in turn. Since masks are averaged anyway, two of
        three protect as well as all of them, in two thirds of the time; one protects less. Without sights all look.
    steadiness: sights in a row for which both losses must be zero before a face has converged; more where it takes
        more for the whole team to have looked.
    goal_margin: the search stops at this multiple of the goal, and ssim_margin of the SSIM budget is kept back, because
        rounding and encoding take a little of both.
    """

    layers: tuple[int, ...] = (FRAME_SIZE // 2, FRAME_SIZE // 4)
    step: float = 1.25 / 255
    last_step: float = 0.5 / 255
    texture: float = 0.5
    fine: int = 18
    around: float = 0.5
    brightness: float = 40 / 255
    noise: float = 0.5 / 255
    iterations: int = 60
    momentum: float = 0.9
    curvature: float | None = None
    recency: float = 2.0
    kappa: float = 1.0
    kappa_range: tuple[float, float] = (1 / 64, 1.0)
    colour: float = 3 / 255
    sights: Sights | None = field(default_factory=Sights)
    lookers: int = 2
    steadiness: int = 4
    goal_margin: float = 1.02
    ssim_margin: float = 0.015

    def looking(self, members: int) -> int:
        """How many of a team of so many members look in one iteration."""
        return members if self.sights is None else min(self.lookers, members)


DEFAULT_SEARCH = Search()
PAPER_SEARCH = Search(
    sights=None,
    step=3 / 255,
    last_step=1 / 255,
    texture=0.0,
    fine=0,
    around=1.0,
    brightness=math.inf,
    curvature=0.99,
    noise=4 / 255,
    kappa_range=(1 / 64, 64.0),
)
"""The paper's plain search: one exact view, all of the team in each iteration, steps of Adam. Its noise must outlive
the photo's codec: where that takes it all, the one view is the original again, at the angle zero."""


@dataclass(frozen=True, kw_only=True)
class Target:
    """One face to be masked.

    patch: (1, 3, h, w), the photo around the face, in [0, 1].
    to_frame: sampling grid that reads the face frame from the patch; to_patch: the patch from the face frame.
    window: (1, 1, h, w), how much of a mask each pixel of the patch takes: 0 outside the mask's area and on plain walls
        around the detector's box, 1 well inside.
    boxes: rows and columns of the patch in which SSIM is taken, the mask's area and within it the detector's box; the
        lowest counts.
    encoded: what the photo's own lossy encoding makes of a patch, or None where it is lossless.
    budget: the most that (1 - SSIM) / 2 in the box may be, encoding included (omega of Eq. 7).
    references: for each recogniser, unit embeddings (n, dim) of the person: the face itself and, where known, the
        person's other photos (D_l in Eq. 4).
    nearest: for each recogniser, the angle in radians from the face to the nearest other person, N(x) in Eq. 4.
    goals: for each recogniser, the angle in radians that the masked face must keep from all references.
    grey: the photo has no colour, so the mask has none.
    """

    patch: Tensor
    to_frame: Tensor
    to_patch: Tensor
    window: Tensor
    boxes: tuple[tuple[slice, slice], tuple[slice, slice]]
    references: Mapping[str, Tensor]
    nearest: Mapping[str, float]
    goals: Mapping[str, float]
    budget: float
    grey: bool
    encoded: Callable[[Tensor], Tensor] | None = None

    @property
    def is_large(self) -> bool:
        """Whether the face is so large that people see broad shading before SSIM does."""
        return bool(min(side.stop - side.start for side in self.boxes[1]) >= LARGE_FACE)

    @cached_property
    def likeness(self) -> tuple[SsimTo, ...]:
        """SSIM in the boxes, at each scale at which a face of this size is looked at: at half its size too if large."""
        return tuple(SsimTo(self.patch, self.boxes, scale) for scale in ((1, 2) if self.is_large else (1,)))

    def ssims(self, masked: Tensor) -> Tensor:
        """SSIM (scales, boxes) of a masked patch."""
        return torch.cat([ssim(masked) for ssim in self.likeness])


@dataclass(frozen=True, kw_only=True)
class Mask:
    """values: (1, 3, FRAME_SIZE, FRAME_SIZE), to be added to the face frame's pixels. layers: what the search can go on
    from."""

    values: Tensor
    layers: tuple[Tensor, ...]
    iterations: int
    seconds: float

    @property
    def without_colour(self) -> Mask:
        """The change in brightness alone, for a picture that has no colour."""
        return replace(self, values=_shade(self.values).expand_as(self.values))


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Angles in radians between unit vectors along the last axis; the distance of this project. The clamp keeps the
    gradient of arccos finite where the vectors coincide."""
    return torch.acos((a * b).sum(-1).clamp(-1 + 1e-6, 1 - 1e-6))


def goal(nearest_other: float, delta: float) -> float:
    """The angle in radians to reach: Eq. 4's first term plus the margin of Eq. 5, at most pi."""
    return min(torch.pi, (1 + delta) * nearest_other)


def reverse_triplet_loss(angles: Tensor, goals: Tensor) -> Tensor:
    """Eq. 4 for each face (faces) and one recogniser: angles (faces, references), infinite where a face has fewer, and
    goals (faces), all in radians.

    Eq. 4 has the minimum over D_l, the person's photos. The mean of their hinges is zero for the same masks, but leads
    away from the person, where the minimum leads away from whichever photo is nearest: a recogniser that was left out
    of the team is fooled more. Each recogniser's hinge is divided by its goal: embeddings of unlike recognisers spread
    over cones of unlike width (dlib's goals are a third of sface's), and undivided the widest would outvote the others.
    """
    return F.relu(goals[:, None] - angles).sum(1) / angles.isfinite().sum(1) / goals


def imperceptibility_loss(ssim: Tensor, omega: Tensor) -> Tensor:
    """Eq. 7 for each face; zero while (1 - SSIM) / 2 is within its omega."""
    return F.relu((1 - ssim) / 2 - omega)


@lru_cache
def _luma(device: torch.device) -> Tensor:
    """LUMA (1, 3, 1, 1), which stays on the device."""
    return torch.tensor(LUMA, device=device).reshape(1, 3, 1, 1)


def _shade(values: Tensor) -> Tensor:
    """The change in brightness (faces, 1, ...) of a change (faces, 3, ...) of red, green and blue."""
    return (values * _luma(values.device)).sum(1, keepdim=True)


def _ease(target: Target, power: float, around: float) -> Tensor:
    """(1, 1, FRAME_SIZE, FRAME_SIZE): how far a step goes in each place, beside others; around the detector's box
    ``around`` times as far.

    SSIM hides changes in texture: one of variance v that is not part of the picture's own structure costs about
    v / (2 variance + C2) (https://doi.org/10.1109/TIP.2003.819861, Eq. 13), averaged over the windows that see it.
    """

    grey = target.patch.mean(1, keepdim=True)
    variance = (blurred(grey**2, TEXTURE_WINDOW) - blurred(grey, TEXTURE_WINDOW) ** 2).clamp(min=0)
    hides = 1 / blurred(1 / (2 * variance + C2), TEXTURE_WINDOW)
    rows, columns = target.boxes[-1]
    hides = hides.clamp(max=MOST_EASE * float(hides[:, :, rows, columns].median()))
    return sample(hides**power, target.to_frame, padding="border") * _beside(target, around)


def _inside(target: Target) -> Tensor:
    """(1, 1, FRAME_SIZE, FRAME_SIZE): 1 in the detector's box, 0 around it."""
    box = torch.zeros_like(target.window)
    rows, columns = target.boxes[1]
    box[:, :, rows, columns] = 1
    return blurred(sample(box, target.to_frame), FIT_BLUR)


def _beside(target: Target, around: float) -> Tensor:
    """(1, 1, FRAME_SIZE, FRAME_SIZE): 1 in the detector's box and ``around`` around it; 1 everywhere in small faces."""
    return 1 - (1 - around) * (1 - _inside(target)) * target.is_large


def _losses(target: Target, ssims: Tensor) -> Tensor:
    """1 - SSIM (2) around the detector's box, over the windows that are not all within it, and in the box, at the scale
    at which it is the higher. ssims: (scales, boxes) of the target's masked patch."""
    area, box = (1 - ssims).unbind(1)
    inside = torch.tensor([ssim.shares[1] for ssim in target.likeness], device=box.device)
    around = torch.where(inside < MOST_INSIDE, (area - inside * box) / (1 - inside).clamp(min=1e-6), box)
    return torch.stack([around, box]).amax(1).clamp(min=1e-6)


def _painted(target: Target, values: Tensor) -> Tensor:
    """The target's patch, not encoded, with a mask (1, 3, FRAME_SIZE, FRAME_SIZE) added in the photo's own pixels."""
    return (target.patch + sample(values, target.to_patch) * target.window).clamp(0, 1)


def _taken(encoded: Callable[[Tensor], Tensor], masked: Tensor) -> Tensor:
    """What encoding does to a masked patch, without gradient: that takes a lossy encoding for the identity (a
    straight-through estimator, https://arxiv.org/abs/1308.3432), so masks learn to survive it."""
    return encoded(masked.detach()) - masked.detach()


def search_masks(
    targets: Sequence[Target],
    team: Mapping[str, Embed],
    *,
    search: Search = DEFAULT_SEARCH,
    seed: int = 0,
    start: Sequence[Mask] | None = None,
    on_iteration: Callable[[float], None] = lambda fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Mask]:
    """A mask for each target. All faces are one batch; one that has converged leaves it (Eq. 8's stop).

    start: masks to go on from. on_iteration hears how far the search is, 0 to 1. Raises Cancelled. A face that does not
    converge gets the averaged mask, scaled to its budget, or, without sights, the one within it that came closest.
    """
    began = time.monotonic()
    state = _State(targets, team, search, seed, start)
    results: dict[int, Mask] = {}
    for iteration in range(1, search.iterations + 1):
        if cancelled():
            raise Cancelled("cancelled while the mask was being made")
        state.show()
        is_last = iteration == search.iterations
        state.look(is_last)
        done = state.judged()
        if not (is_last or all(done)):
            state.advance()
        results |= state.finish(done, iteration, time.monotonic() - began)
        on_iteration(max(iteration / search.iterations, len(results) / len(targets)))
        if not state.faces:
            break
    if search.sights is not None and state.faces:
        state.fit()
    results |= state.finish([True] * len(state.faces), search.iterations, time.monotonic() - began)
    return [results[face] for face in range(len(targets))]


class _State:
    """What the search knows of each face still in the batch: its mask, the gradient's moments, kappa, the best.

    Most of its work is recorded on an NVIDIA card (pmask.recording). That work is in the methods that ``recordings``
    does: they only start work on the device, and what goes from one to another stays in the same tensors.
    """

    def __init__(
        self,
        targets: Sequence[Target],
        team: Mapping[str, Embed],
        search: Search,
        seed: int,
        start: Sequence[Mask] | None,
    ) -> None:
        self.search, self.steps, self.team = search, 0, team
        self.faces, self.targets = list(range(len(targets))), list(targets)
        self.device, channels = targets[0].patch.device, 1 if targets[0].grey else 3
        self.chance = torch.Generator().manual_seed(seed)
        if start is None:
            shapes = [(len(targets), channels, size, size) for size in search.layers]
            layers = [(torch.rand(shape, generator=self.chance) * 2 - 1) * search.noise for shape in shapes]
        else:
            layers = [torch.cat(parts) for parts in zip(*(mask.layers for mask in start), strict=True)]
        self.layers = [layer.to(self.device) for layer in layers]
        self.average = [layer.clone() for layer in self.layers]
        self.first, self.second, self.best = ([torch.zeros_like(layer) for layer in self.layers] for _ in range(3))
        ease = torch.cat([_ease(target, search.texture, search.around) for target in targets])
        self.ease = [F.interpolate(ease, (size, size), mode="area") for size in search.layers]
        self.large = self._each(float(target.is_large) for target in targets)
        self.budgets = self._each(target.budget for target in targets)
        self.kappa = torch.full_like(self.budgets, search.kappa)
        self.met = torch.zeros_like(self.budgets)
        self.best_loss = torch.full_like(self.budgets, torch.inf)
        self._know()
        self._record()

    def _each(self, values: Iterable[float]) -> Tensor:
        """One number for each face (faces)."""
        return torch.tensor(list(values), device=self.device)

    def _know(self) -> None:
        """The goals (faces) and references (faces, references, dim) of each member of the team; ``absent`` where a face
        has fewer references than another."""
        margin = self.search.goal_margin
        self.goals = {
            name: self._each(min(torch.pi, target.goals[name] * margin) for target in self.targets)
            for name in self.team
        }
        known = {name: [target.references[name] for target in self.targets] for name in self.team}
        self.references = {name: pad_sequence(rows, batch_first=True) for name, rows in known.items()}
        self.absent = {name: (rows == 0).all(-1) for name, rows in self.references.items()}

    def _record(self) -> None:
        """Begins the recordings anew, for these faces."""
        self.recordings = Recordings(self.device)
        self.codecs = [None if target.encoded is None else torch.zeros_like(target.patch) for target in self.targets]
        self.placements = torch.zeros(len(self.faces), 4, device=self.device)
        self.triplet, self.pace = torch.zeros_like(self.budgets), torch.zeros(4, device=self.device)
        self.pull = torch.zeros(len(self.faces), 3, FRAME_SIZE, FRAME_SIZE, device=self.device)
        self.limits = torch.where(self.large > 0, self.search.brightness, math.inf)
        self.allowed = self.budgets * (1 - self.search.ssim_margin)  # what the search keeps to

    def show(self) -> None:
        """The masked patches as they would be delivered, and their SSIM."""
        self.recordings.do(self._paint)
        for target, patch, codec in zip(self.targets, self.painted, self.codecs, strict=True):
            if target.encoded is not None and codec is not None:
                codec.copy_(_taken(target.encoded, patch))
        self.recordings.do(self._measure)

    def _paint(self) -> None:
        self.leaves = [layer.detach().requires_grad_() for layer in self.layers]
        values = compose_layers(self.leaves, self.search.colour, self.limits)
        self.painted = [_painted(target, values[i : i + 1]) for i, target in enumerate(self.targets)]

    def _measure(self) -> None:
        shown = zip(self.painted, self.codecs, strict=True)
        self.patches = [patch if codec is None else patch + codec for patch, codec in shown]
        self.ssims = [target.ssims(patch) for target, patch in zip(self.targets, self.patches, strict=True)]
        self.ssim = torch.stack([ssims.amin() for ssims in self.ssims])
        self.visible = imperceptibility_loss(self.ssim, self.allowed)

    def look(self, is_last: bool) -> None:
        """The masked patches, each laid and rendered as the next of the sights has it, as those of the team see them
        whose turn it is: the sum of Eq. 4 over these for each face and, but for the last time, its gradient in the face
        frames. They look one after the other, so that what a gradient needs is held for one of them at a time."""
        sights = self.search.sights
        if sights is not None:
            self.placements.copy_(torch.stack([sights.placement(self.chance) for _ in self.faces]))
        self.recordings.do(self._align)
        frames = self.frames.detach().requires_grad_()
        rendered = frames if sights is None else sights.rendered(frames, self.chance)
        losses, pulls = [], []
        for name in self.lookers():
            seen = rendered.detach().requires_grad_(not is_last)
            losses.append(self.triplet_loss(name, seen))
            if not is_last:
                pulls.append(torch.autograd.grad(losses[-1].sum(), seen)[0])
        self.triplet.copy_(torch.stack(losses).detach().sum(0))
        if pulls:
            self.pull.copy_(torch.autograd.grad(rendered, frames, torch.stack(pulls).sum(0))[0])

    def _align(self) -> None:
        grids = [target.to_frame for target in self.targets]
        if self.search.sights is not None:
            grids = [laid(*pair) for pair in zip(grids, self.placements, strict=True)]
        self.frames = torch.cat([sample(*pair) for pair in zip(self.patches, grids, strict=True)])

    def triplet_loss(self, name: str, frames: Tensor) -> Tensor:
        """Eq. 4 for each face (faces) and one of the team."""
        angles = angle(self.team[name](frames)[:, None], self.references[name])
        return reverse_triplet_loss(angles.masked_fill(self.absent[name], torch.inf), self.goals[name])

    def lookers(self) -> list[str]:
        """The members of the team whose turn it is."""
        names, many = list(self.team), self.search.looking(len(self.team))
        return [names[(self.steps * many + i) % len(names)] for i in range(many)]

    def judged(self) -> list[bool]:
        """Which faces have met both losses for enough sights in a row; the best masks are kept."""
        self.recordings.do(self._note)
        round_of_team = math.ceil(len(self.team) / self.search.looking(len(self.team)))
        enough = 1 if self.search.sights is None else max(self.search.steadiness, round_of_team)
        return [met >= enough for met in self.met.tolist()]

    def _note(self) -> None:
        within = self.visible.detach() == 0
        # sights differ in difficulty, so the latest mask is judged the best one; without them the nearest is
        better = within if self.search.sights else within & (self.triplet < self.best_loss)
        self.best_loss.copy_(torch.where(better, self.triplet, self.best_loss))
        for layer, best in zip(self.layers, self.best, strict=True):
            best.copy_(torch.where(_wide(better), layer, best))
        self.met.copy_((self.met + 1) * (within & (self.triplet == 0)))

    def advance(self) -> None:
        """One step down Eq. 8."""
        search, done = self.search, self.steps / self.search.iterations
        self.steps += 1
        step = search.step + (search.last_step - search.step) * done
        begun = [1 - share**self.steps for share in (search.momentum, search.curvature or 0.0)]
        newest = (search.recency + 1) / (search.recency + self.steps)
        self.pace.copy_(torch.tensor([step, *begun, newest]))
        self.recordings.do(self._step)

    def _step(self) -> None:
        """Eq. 8's gradient, kappa's schedule, and the masks over the budget shrunk back to it."""
        over = self.visible.detach() > 0
        gradients = _unit(torch.autograd.grad(self.frames, self.leaves, self.pull, retain_graph=True))
        hide = _unit(torch.autograd.grad(self.visible.sum(), self.leaves))
        gradients = [pull + _wide(self.kappa) * away for pull, away in zip(gradients, hide, strict=True)]
        self.kappa.copy_((self.kappa * (0.5 + 1.5 * over)).clamp(*self.search.kappa_range))
        # 1 - SSIM grows with the square of the mask, so this factor brings it back to the budget
        shrink = _wide(torch.sqrt(2 * self.allowed / (1 - self.ssim.detach())).masked_fill(~over, 1.0))
        step, *_, newest = self.pace.unbind()
        for layer, way in zip(self.layers, self.ways(gradients), strict=True):
            layer.mul_(shrink).sub_(step * way)
        for average, layer in zip(self.average, self.layers, strict=True):
            average.lerp_(layer, newest)

    def ways(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Where each layer goes, of length one: for a root mean square over the face or, with Adam, for each cell."""
        ways, curvature = [], self.search.curvature
        _, momentum_begun, curvature_begun, _ = self.pace.unbind()
        for gradient, first, second, ease in zip(gradients, self.first, self.second, self.ease, strict=True):
            way = first.lerp_(self.finer(gradient), 1 - self.search.momentum) * ease
            if curvature is None:
                ways.append(way / _wide(way.square().flatten(1).mean(1).sqrt().clamp(min=1e-12)))
                continue
            second.lerp_(gradient**2, 1 - curvature)
            ways.append(way / momentum_begun / ((second / curvature_begun).sqrt() + 1e-8))
        return ways

    def finer(self, gradient: Tensor) -> Tensor:
        """A layer's gradient, of large faces without what is broad in it."""
        if not (self.search.fine and any(target.is_large for target in self.targets)):
            return gradient
        cells = self.search.fine * gradient.shape[-1] / FRAME_SIZE
        return gradient - _wide(self.large) * blurred(gradient, 2 * int(cells / 2) + 1)

    def fit(self) -> None:
        """Takes the averages for the best, scaled until they use their budgets up and no more: the face by one factor,
        what is around it by another, for with one alone the busier of the two would keep the other from its budget;
        around a large face only a part of it is wanted. What a codec takes jumps with the scale, so of the rounds the
        one counts that came nearest from below."""
        inside = torch.cat([_inside(target) for target in self.targets])
        shares = [F.interpolate(inside, layer.shape[-2:], mode="area") for layer in self.average]
        scales = torch.ones(len(self.faces), 2, device=self.device)
        parts = torch.stack([1 - self.large * (1 - self.search.around**2), torch.ones_like(self.large)], 1)
        aims = self.allowed[:, None] * parts
        over, used = torch.full_like(self.budgets, torch.inf), torch.zeros_like(self.budgets)
        with torch.no_grad():
            for _ in range(FITS):
                around, face = (_wide(scale) for scale in scales.unbind(1))
                for layer, average, share in zip(self.layers, self.average, shares, strict=True):
                    layer.copy_(average * torch.lerp(around, face, share))
                self.show()
                losses = torch.stack([_losses(*pair) for pair in zip(self.targets, self.ssims, strict=True)]) / 2
                excess = (1 - self.ssim) / 2 - self.budgets
                better = (over > 0) | ((excess <= 0) & (losses[:, 1] > used))
                over, used = torch.where(better, excess, over), torch.where(better, losses[:, 1], used)
                pairs = zip(self.layers, self.best, strict=True)
                self.best = [torch.where(_wide(better), *pair) for pair in pairs]
                scales *= torch.sqrt(aims / losses).clamp(*FIT_RANGE)
        self.best_loss = torch.zeros_like(self.best_loss)

    def finish(self, done: Sequence[bool], iterations: int, seconds: float) -> dict[int, Mask]:
        """Takes the faces of ``done`` out of the batch; each with its best mask."""
        finished = {}
        for i in (i for i in range(len(self.faces)) if done[i]):
            # a mask that never came within the budget is on its way there: better than none
            found = bool(self.best_loss[i] < torch.inf)
            layers = tuple(layer[i : i + 1].clone() for layer in (self.best if found else self.layers))
            values = compose_layers(layers, self.search.colour, self.limits[i : i + 1])
            finished[self.faces[i]] = Mask(values=values, layers=layers, iterations=iterations, seconds=seconds)
        if finished and len(finished) < len(self.faces):
            self._keep([i for i in range(len(self.faces)) if not done[i]])
        elif finished:
            self.faces = []
        return finished

    def _keep(self, places: list[int]) -> None:
        """Goes on with the faces at these places of the batch alone."""
        self.faces, self.targets = [self.faces[i] for i in places], [self.targets[i] for i in places]
        kept = torch.tensor(places, device=self.device)
        for name in ("layers", "average", "first", "second", "best", "ease"):
            setattr(self, name, [part[kept] for part in getattr(self, name)])
        for name in ("large", "budgets", "kappa", "met", "best_loss"):
            setattr(self, name, getattr(self, name)[kept])
        self._know()
        self._record()


def compose_layers(layers: Sequence[Tensor], colour: float, brightness: Tensor) -> Tensor:
    """The mask (faces, 3, FRAME_SIZE, FRAME_SIZE) that layers of one or three channels make. colour: the most that it
    changes a pixel's colour; brightness (faces): the most that it changes its brightness, or inf."""
    size = (FRAME_SIZE, FRAME_SIZE)
    mask = torch.stack([F.interpolate(layer, size, mode="bilinear", align_corners=False) for layer in layers]).sum(0)
    if mask.shape[1] == 1:
        return _held(mask, brightness).expand(-1, 3, -1, -1)
    shade = _shade(mask)
    return _held(shade, brightness) + colour * torch.tanh((mask - shade) / colour)


def _held(values: Tensor, most: Tensor) -> Tensor:
    """Values (faces, ...) held softly within each face's ``most``, which may be inf."""
    unlimited = torch.isinf(most)
    limit = _wide(most.masked_fill(unlimited, 1.0))
    return torch.where(_wide(unlimited), values, limit * torch.tanh(values / limit))


def _wide(per_face: Tensor) -> Tensor:
    """(faces) to (faces, 1, 1, 1), to stand beside masks."""
    return per_face[:, None, None, None]


def _unit(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Each face's gradient, over both layers, at length one (or zero)."""
    length = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0).clamp(min=1e-12)
    return [gradient / _wide(length) for gradient in gradients]
