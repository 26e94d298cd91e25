"""The optimiser: a mask for each face of a photo, found against a team of recognisers (paper, section 4).

A mask lives in the face frame (pmask.geometry). Each iteration carries it into the photo's own pixels, adds it there,
clips, and looks at the result through each recogniser's alignment, so that what is optimised is what is delivered.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import torch
from pytorch_msssim import ssim as windowed_ssim
from torch import Tensor
from torch.nn import functional as F

from pmask.errors import Cancelled
from pmask.geometry import FRAME_SIZE, sample
from pmask.sights import Sights, blurred

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
SSIM_WINDOW = 11
SSIM_FLOOR = 0.03**2
"""Wang's C2 for pixels in [0, 1]: the variance at which a flat place begins to hide changes."""
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
    memory: the mask is the running average of the iterations' masks, of which each keeps this share: the views are
        drawn by chance, and what a single one asked for averages out. Without sights it is not used.
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
    memory: float = 0.9
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

    def scales(self) -> tuple[int, ...]:
        """The shares of its size at which a face of this size is looked at, one over each of these."""
        return (1, 2) if self.is_large else (1,)

    def ssims(self, masked: Tensor) -> Tensor:
        """SSIM (scales, boxes) of a masked patch."""
        pairs = [(self.patch[:, :, rows, columns], masked[:, :, rows, columns]) for rows, columns in self.boxes]
        result = [torch.cat([face_ssim(*pair) for pair in pairs])]
        for scale in self.scales()[1:]:
            result.append(torch.cat([face_ssim(*(F.avg_pool2d(image, scale) for image in pair)) for pair in pairs]))
        return torch.stack(result)

    def ssim(self, masked: Tensor) -> Tensor:
        """SSIM (1) of a masked patch, the lowest over scales and boxes."""
        return self.ssims(masked).amin().reshape(1)


@dataclass(frozen=True, kw_only=True)
class Mask:
    """values: (1, 3, FRAME_SIZE, FRAME_SIZE), to be added to the face frame's pixels. layers: what the search can go on
    from."""

    values: Tensor
    layers: tuple[Tensor, ...]
    iterations: int
    seconds: float


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Angles in radians between unit vectors along the last axis; the distance of this project. The clamp keeps the
    gradient of arccos finite where the vectors coincide."""
    return torch.acos((a * b).sum(-1).clamp(-1 + 1e-6, 1 - 1e-6))


def goal(nearest_other: float, delta: float) -> float:
    """The angle in radians to reach: Eq. 4's first term plus the margin of Eq. 5, at most pi."""
    return min(torch.pi, (1 + delta) * nearest_other)


def reverse_triplet_loss(angles: Tensor, goal: float) -> Tensor:
    """Eq. 4 for one face and one recogniser: angles (references) and goal in radians; result ().

    Eq. 4 has the minimum over D_l, the person's photos. The mean of their hinges is zero for the same masks, but leads
    away from the person, where the minimum leads away from whichever photo is nearest: a recogniser that was left out
    of the team is fooled more. Each recogniser's hinge is divided by its goal: embeddings of unlike recognisers spread
    over cones of unlike width (dlib's goals are a third of sface's), and undivided the widest would outvote the others.
    """
    return F.relu(goal - angles).mean() / goal


def imperceptibility_loss(ssim: Tensor, omega: Tensor) -> Tensor:
    """Eq. 7 for each face; zero while (1 - SSIM) / 2 is within its omega."""
    return F.relu((1 - ssim) / 2 - omega)


def face_ssim(original: Tensor, masked: Tensor) -> Tensor:
    """Wang's SSIM (Gaussian window of 11, sigma 1.5, mean over channels) of images (B, 3, h, w) in [0, 1]; result (B).

    Source: Z. Wang et al., 2004, https://doi.org/10.1109/TIP.2003.819861. Sides under 11 pixels are mirrored up to 11.
    """
    short = [max(0, SSIM_WINDOW - side) for side in original.shape[-2:]]
    if any(short):
        pad = (0, short[1], 0, short[0])
        original, masked = (F.pad(image, pad, mode="replicate") for image in (original, masked))
    result: Tensor = windowed_ssim(masked, original, data_range=1.0, win_size=SSIM_WINDOW, size_average=False)
    return result


def _ease(target: Target, power: float, around: float) -> Tensor:
    """(1, 1, FRAME_SIZE, FRAME_SIZE): how far a step goes in each place, beside others; around the detector's box
    ``around`` times as far.

    SSIM hides changes in texture: one of variance v that is not part of the picture's own structure costs about
    v / (2 variance + C2) (https://doi.org/10.1109/TIP.2003.819861, Eq. 13), averaged over the windows that see it.
    """

    grey = target.patch.mean(1, keepdim=True)
    variance = (blurred(grey**2, TEXTURE_WINDOW) - blurred(grey, TEXTURE_WINDOW) ** 2).clamp(min=0)
    hides = 1 / blurred(1 / (2 * variance + SSIM_FLOOR), TEXTURE_WINDOW)
    rows, columns = target.boxes[-1]
    hides = hides.clamp(max=MOST_EASE * float(hides[:, :, rows, columns].median()))
    return sample(hides**power, target.to_frame, padding="border") * _beside(target, around)


def _budgets(targets: Sequence[Target], device: torch.device) -> Tensor:
    """The targets' budgets (targets)."""
    return torch.tensor([target.budget for target in targets], device=device)


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
    sides = [[side.stop - side.start for side in pair] for pair in target.boxes]
    windows = [
        [math.prod(max(1, side // scale + 1 - SSIM_WINDOW) for side in pair) for pair in sides]
        for scale in target.scales()
    ]
    inside = torch.tensor([inner / outer for outer, inner in windows], device=box.device)
    around = torch.where(inside < MOST_INSIDE, (area - inside * box) / (1 - inside).clamp(min=1e-6), box)
    return torch.stack([around, box]).amax(1).clamp(min=1e-6)


def masked_patch(target: Target, values: Tensor) -> Tensor:
    """The target's patch with a mask's values (1, 3, FRAME_SIZE, FRAME_SIZE) added in the photo's own pixels.

    Where the photo's encoding is lossy the result has been through it; the gradient takes it for the identity (a
    straight-through estimator, https://arxiv.org/abs/1308.3432), so masks learn to survive it.
    """
    masked = (target.patch + sample(values, target.to_patch) * target.window).clamp(0, 1)
    if target.encoded is None:
        return masked
    return masked + (target.encoded(masked.detach()) - masked.detach())


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
    state = _State(targets, search, seed, start)
    results: dict[int, Mask] = {}
    for iteration in range(1, search.iterations + 1):
        if cancelled():
            raise Cancelled("cancelled while the mask was being made")
        faces = [targets[face] for face in state.faces]
        patches, ssim, budgets = state.shown(faces)
        triplet = _triplet_loss(state.seen(patches, faces), faces, state.lookers(team), search.goal_margin)
        visible = imperceptibility_loss(ssim, budgets)
        state.remember(triplet, visible)
        done = state.steady(triplet, visible, len(team))
        if iteration < search.iterations and not bool(done.all()):
            state.step(triplet, visible, ssim, budgets)
        results |= state.finish(done, iteration, time.monotonic() - began)
        on_iteration(max(iteration / search.iterations, len(results) / len(targets)))
        if not state.faces:
            break
    if search.sights is not None:
        state.fit([targets[face] for face in state.faces])
    results |= state.finish(torch.ones(len(state.faces), dtype=torch.bool), search.iterations, time.monotonic() - began)
    return [results[face] for face in range(len(targets))]


def _triplet_loss(frames: Tensor, faces: Sequence[Target], team: Mapping[str, Embed], margin: float) -> Tensor:
    """Eq. 4 for each face (faces), the sum over the team, with goals times ``margin``."""
    losses = []
    for name, recogniser in team.items():
        goals = [min(torch.pi, target.goals[name] * margin) for target in faces]
        embeddings = zip(recogniser(frames), faces, goals, strict=True)
        losses.append(torch.stack([reverse_triplet_loss(angle(e, t.references[name]), g) for e, t, g in embeddings]))
    return torch.stack(losses).sum(0)


class _State:
    """What the search knows of each face still in the batch: its mask, the gradient's moments, kappa, the best."""

    def __init__(self, targets: Sequence[Target], search: Search, seed: int, start: Sequence[Mask] | None) -> None:
        self.search, self.steps = search, 0
        self.faces = list(range(len(targets)))
        device, channels = targets[0].patch.device, 1 if targets[0].grey else 3
        self.chance = torch.Generator().manual_seed(seed)
        self.met = torch.zeros(len(targets), dtype=torch.int64, device=device)
        if start is None:
            shapes = [(len(targets), channels, size, size) for size in search.layers]
            layers = [(torch.rand(shape, generator=self.chance) * 2 - 1) * search.noise for shape in shapes]
        else:
            layers = [torch.cat(parts) for parts in zip(*(mask.layers for mask in start), strict=True)]
        self.layers = [layer.to(device).requires_grad_() for layer in layers]
        self.average = [layer.detach().clone() for layer in self.layers]
        self.first = [torch.zeros_like(layer) for layer in self.layers]
        self.second = [torch.zeros_like(layer) for layer in self.layers]
        ease = torch.cat([_ease(target, search.texture, search.around) for target in targets])
        self.ease = [F.interpolate(ease, (size, size), mode="area") for size in search.layers]
        self.large = torch.tensor([float(target.is_large) for target in targets], device=device)
        self.kappa = torch.full((len(targets),), search.kappa, device=device)
        self.best_loss = torch.full((len(targets),), torch.inf, device=device)
        self.best = [torch.zeros_like(layer) for layer in self.layers]

    def shown(self, faces: Sequence[Target]) -> tuple[list[Tensor], Tensor, Tensor]:
        """The masked patches, their SSIM (faces) and the budgets (faces) that the search keeps to."""
        patches = self.patches(faces, self.layers)
        ssim = torch.cat([target.ssim(patch) for target, patch in zip(faces, patches, strict=True)])
        return patches, ssim, _budgets(faces, ssim.device) * (1 - self.search.ssim_margin)

    def patches(self, faces: Sequence[Target], layers: Sequence[Tensor]) -> list[Tensor]:
        """The patches with the masks that these layers make."""
        values = self.composed(layers, self.large)
        return [masked_patch(target, values[i : i + 1]) for i, target in enumerate(faces)]

    def composed(self, layers: Sequence[Tensor], large: Tensor) -> Tensor:
        """The masks that these layers make, of faces that are ``large`` (1) or not (0)."""
        limits = torch.where(large > 0, self.search.brightness, math.inf)
        return compose_layers(layers, self.search.colour, limits)

    def seen(self, patches: Sequence[Tensor], faces: Sequence[Target]) -> Tensor:
        """The face frames of masked patches, each as one of the sights would show it."""
        sights, grids = self.search.sights, [target.to_frame for target in faces]
        if sights is not None:
            grids = [sights.aligned(grid, self.chance) for grid in grids]
        frames = torch.cat([sample(patch, grid) for patch, grid in zip(patches, grids, strict=True)])
        return frames if sights is None else sights.rendered(frames, self.chance)

    def lookers(self, team: Mapping[str, Embed]) -> Mapping[str, Embed]:
        """The members of the team whose turn it is."""
        names = list(team)
        many = self.search.looking(len(names))
        turn = [names[(self.steps * many + i) % len(names)] for i in range(many)]
        return {name: team[name] for name in turn}

    def steady(self, triplet: Tensor, visible: Tensor, members: int) -> Tensor:
        """Which faces have met both losses for enough sights in a row."""
        met = (triplet.detach() == 0) & (visible.detach() == 0)
        self.met = (self.met + 1) * met
        round_of_team = math.ceil(members / self.search.looking(members))
        return self.met >= (1 if self.search.sights is None else max(self.search.steadiness, round_of_team))

    def remember(self, triplet: Tensor, visible: Tensor) -> None:
        """Keeps the masks that are within the budget and the best so far."""
        loss = triplet.detach()
        # sights differ in difficulty, so the latest mask is judged the best one; without them the nearest is
        nearer = torch.ones_like(loss, dtype=torch.bool) if self.search.sights else loss < self.best_loss
        better = (visible.detach() == 0) & nearer
        self.best_loss = torch.where(better, loss, self.best_loss)
        kept = zip(self.layers, self.best, strict=True)
        self.best = [torch.where(_wide(better), layer.detach(), best) for layer, best in kept]

    def step(self, triplet: Tensor, visible: Tensor, ssim: Tensor, budgets: Tensor) -> None:
        """One step down Eq. 8, kappa's schedule, and the masks over the budget shrunk back to it."""
        over = visible.detach() > 0
        some_over = bool(over.any())
        gradients = _unit(torch.autograd.grad(triplet.sum(), self.layers, retain_graph=some_over))
        if some_over:
            hide = _unit(torch.autograd.grad(visible.sum(), self.layers))
            gradients = [pull + _wide(self.kappa) * away for pull, away in zip(gradients, hide, strict=True)]
        self.kappa = (self.kappa * torch.where(over, 2.0, 0.5)).clamp(*self.search.kappa_range)
        # 1 - SSIM grows with the square of the mask, so this factor brings it back to the budget
        shrink = _wide(torch.where(over, torch.sqrt(2 * budgets / (1 - ssim.detach())), 1.0))
        done = self.steps / self.search.iterations
        step = self.search.step + (self.search.last_step - self.search.step) * done
        self.steps += 1
        with torch.no_grad():
            for layer, way in zip(self.layers, self.ways(gradients), strict=True):
                layer.mul_(shrink).sub_(step * way)
            for average, layer in zip(self.average, self.layers, strict=True):
                average.lerp_(layer, 1 - self.search.memory)

    def ways(self, gradients: Sequence[Tensor]) -> list[Tensor]:
        """Where each layer goes, of length one: for a root mean square over the face or, with Adam, for each cell."""
        ways, curvature = [], self.search.curvature
        for gradient, first, second, ease in zip(gradients, self.first, self.second, self.ease, strict=True):
            way = first.lerp_(self.finer(gradient), 1 - self.search.momentum) * ease
            if curvature is None:
                ways.append(way / _wide(way.square().flatten(1).mean(1).sqrt().clamp(min=1e-12)))
                continue
            second.lerp_(gradient**2, 1 - curvature)
            spread = (second / (1 - curvature**self.steps)).sqrt()
            ways.append(way / (1 - self.search.momentum**self.steps) / (spread + 1e-8))
        return ways

    def finer(self, gradient: Tensor) -> Tensor:
        """A layer's gradient, of large faces without what is broad in it."""
        if not self.search.fine or not bool(self.large.any()):
            return gradient
        cells = self.search.fine * gradient.shape[-1] / FRAME_SIZE
        return gradient - _wide(self.large) * blurred(gradient, 2 * int(cells / 2) + 1)

    def fit(self, faces: Sequence[Target]) -> None:
        """Takes the averages for the best, scaled until they use their budgets up and no more: the face by one factor,
        what is around it by another, for with one alone the busier of the two would keep the other from its budget;
        around a large face only a part of it is wanted. What a codec takes jumps with the scale, so of the rounds the
        one counts that came nearest from below."""
        if not faces:
            return
        inside = torch.cat([_inside(target) for target in faces])
        shares = [F.interpolate(inside, layer.shape[-2:], mode="area") for layer in self.average]
        scales = torch.ones(len(faces), 2, device=inside.device)
        budgets = _budgets(faces, inside.device)
        parts = torch.stack([1 - self.large * (1 - self.search.around**2), torch.ones_like(self.large)], 1)
        aims = budgets[:, None] * (1 - self.search.ssim_margin) * parts
        over, used = torch.full_like(budgets, torch.inf), torch.zeros_like(budgets)
        with torch.no_grad():
            for _ in range(FITS):
                around, face = (_wide(scale) for scale in scales.unbind(1))
                shared = zip(self.average, shares, strict=True)
                layers = [average * torch.lerp(around, face, share) for average, share in shared]
                shown = zip(faces, self.patches(faces, layers), strict=True)
                ssims = [target.ssims(patch) for target, patch in shown]
                losses = torch.stack([_losses(*pair) for pair in zip(faces, ssims, strict=True)]) / 2
                excess = (1 - torch.stack([ssim.amin() for ssim in ssims])) / 2 - budgets
                better = (over > 0) | ((excess <= 0) & (losses[:, 1] > used))
                over, used = torch.where(better, excess, over), torch.where(better, losses[:, 1], used)
                self.best = [torch.where(_wide(better), *pair) for pair in zip(layers, self.best, strict=True)]
                scales *= torch.sqrt(aims / losses).clamp(*FIT_RANGE)
        self.best_loss = torch.zeros_like(self.best_loss)

    def finish(self, done: Tensor, iterations: int, seconds: float) -> dict[int, Mask]:
        """Takes the faces of ``done`` out of the batch; each with its best mask."""
        finished = {}
        for i in (i for i in range(len(self.faces)) if done[i]):
            # a mask that never came within the budget is on its way there: better than none
            found = bool(self.best_loss[i] < torch.inf)
            layers = tuple(layer.detach()[i : i + 1] for layer in (self.best if found else self.layers))
            values = self.composed(layers, self.large[i : i + 1])
            finished[self.faces[i]] = Mask(values=values, layers=layers, iterations=iterations, seconds=seconds)
        if finished:
            keep = ~done.to(self.kappa.device)
            self.faces = [face for face in self.faces if face not in finished]
            self.layers = [layer.detach()[keep].requires_grad_() for layer in self.layers]
            self.first, self.second = [part[keep] for part in self.first], [part[keep] for part in self.second]
            self.ease = [part[keep] for part in self.ease]
            self.best, self.best_loss = [best[keep] for best in self.best], self.best_loss[keep]
            self.average = [average[keep] for average in self.average]
            self.kappa, self.met, self.large = self.kappa[keep], self.met[keep], self.large[keep]
        return finished


def compose_layers(layers: Sequence[Tensor], colour: float, brightness: Tensor) -> Tensor:
    """The mask (faces, 3, FRAME_SIZE, FRAME_SIZE) that layers of one or three channels make. colour: the most that it
    changes a pixel's colour; brightness (faces): the most that it changes its brightness, or inf."""
    size = (FRAME_SIZE, FRAME_SIZE)
    mask = torch.stack([F.interpolate(layer, size, mode="bilinear", align_corners=False) for layer in layers]).sum(0)
    if mask.shape[1] == 1:
        return _held(mask, brightness).expand(-1, 3, -1, -1)
    shade = (mask * torch.tensor(LUMA, device=mask.device).reshape(1, 3, 1, 1)).sum(1, keepdim=True)
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
