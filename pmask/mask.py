"""The optimiser: a mask for each face of a photo, found against a team of recognisers (paper, section 4).

A mask lives in the face frame (pmask.geometry). Each iteration carries it into the photo's own pixels, adds it there,
clips, and looks at the result through each recogniser's alignment, so that what is optimised is what is delivered.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import torch
from pytorch_msssim import ssim as windowed_ssim
from torch import Tensor
from torch.nn import functional as F

from pmask.errors import Cancelled
from pmask.geometry import FRAME_SIZE, sample

Embed = Callable[[Tensor], Tensor]
"""Face frames (B, 3, FRAME_SIZE, FRAME_SIZE) in [0, 1] to unit embeddings (B, dim); a Recogniser is one."""

MASK_SIZES = (FRAME_SIZE // 2, FRAME_SIZE // 4)
"""A mask is the sum of two layers, with one cell to a template unit (what a 112-pixel recogniser sees; finer noise would
not survive a resize) and one to two units. Together they took 43 iterations where the finer alone took 54."""
RIM = 0.12
"""Share of the face frame's half side over which a mask fades out, so that it ends without an edge."""
SSIM_WINDOW = 11


@dataclass(frozen=True, kw_only=True)
class Search:
    """How a mask is searched for. The defaults were measured on pool members and photos that no test uses.

    step: of Adam, in units of the photo's range [0, 1].
    iterations: the most that are made.
    kappa: the weight of Eq. 8 at the start, doubled while the imperceptibility loss is above zero, else halved,
        within kappa_range. The two gradients are normalised first, so that kappa means the same for every face.
    goal_margin: the search stops at this multiple of the goal, and ssim_margin of the SSIM budget is kept back, because
        rounding and encoding take a little of both.
    """

    step: float = 2 / 255
    iterations: int = 100
    momentum: float = 0.9
    curvature: float = 0.99
    kappa: float = 1.0
    kappa_range: tuple[float, float] = (1 / 64, 64.0)
    goal_margin: float = 1.02
    ssim_margin: float = 0.03


DEFAULT_SEARCH = Search()


@dataclass(frozen=True, kw_only=True)
class Target:
    """One face to be masked.

    patch: (1, 3, h, w), the photo around the face, in [0, 1].
    to_frame: sampling grid that reads the face frame from the patch; to_patch: the patch from the face frame.
    box: rows and columns of the patch in which SSIM is taken.
    references: for each recogniser, unit embeddings (n, dim) of the person: the face itself and, where known, the
        person's other photos (D_l in Eq. 4).
    goals: for each recogniser, the angle in radians that the masked face must keep from all of them.
    grey: the photo has no colour, so the mask has none.
    """

    patch: Tensor
    to_frame: Tensor
    to_patch: Tensor
    box: tuple[slice, slice]
    references: Mapping[str, Tensor]
    goals: Mapping[str, float]
    grey: bool

    def boxed(self, patch: Tensor) -> Tensor:
        """What of a patch lies in the box."""
        return patch[:, :, self.box[0], self.box[1]]


@dataclass(frozen=True, kw_only=True)
class Mask:
    """values: (1, 3, FRAME_SIZE, FRAME_SIZE), to be added to the face frame's pixels. converged: the loss was zero."""

    values: Tensor
    converged: bool
    iterations: int
    seconds: float


def angle(a: Tensor, b: Tensor) -> Tensor:
    """Angles in radians between unit vectors along the last axis; the distance of this project. The clamp keeps the
    gradient of arccos finite where the vectors coincide."""
    return torch.acos((a * b).sum(-1).clamp(-1 + 1e-6, 1 - 1e-6))


def goal(nearest_other: float, delta: float) -> float:
    """The angle in radians to reach: Eq. 4's first term plus the margin of Eq. 5, at most pi."""
    return min(torch.pi, (1 + delta) * nearest_other)


def reverse_triplet_loss(angles: Tensor, goals: Tensor) -> Tensor:
    """Eq. 4 for each face. angles and goals (recognisers, faces), radians; result (faces).

    Each recogniser's hinge is divided by its goal: embeddings of unlike recognisers spread over cones of unlike width
    (dlib's goals are a third of sface's), and undivided the widest would outvote the others.
    """
    return (F.relu(goals - angles) / goals).sum(0)


def imperceptibility_loss(ssim: Tensor, omega: float) -> Tensor:
    """Eq. 7 for each face; zero while (1 - SSIM) / 2 is within omega."""
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


def window() -> Tensor:
    """(1, 1, FRAME_SIZE, FRAME_SIZE): 1 inside the face frame, falling smoothly to 0 at its rim."""
    distance = torch.linspace(-1, 1, FRAME_SIZE).abs()
    edge = ((1 - distance) / RIM).clamp(0, 1)
    edge = edge * edge * (3 - 2 * edge)
    return (edge[:, None] * edge[None, :])[None, None]


def masked_patch(target: Target, values: Tensor) -> Tensor:
    """The target's patch with a mask's values (1, 3, FRAME_SIZE, FRAME_SIZE) added in the photo's own pixels."""
    return (target.patch + sample(values, target.to_patch)).clamp(0, 1)


def search_masks(
    targets: Sequence[Target],
    team: Mapping[str, Embed],
    omega: float,
    *,
    search: Search = DEFAULT_SEARCH,
    seed: int = 0,
    on_iteration: Callable[[int, float], None] = lambda iteration, fraction: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> list[Mask]:
    """A mask for each target. All faces are one batch; one that has converged leaves it (Eq. 8's stop).

    on_iteration hears the iteration and how far the search is, 0 to 1. Raises Cancelled. A face that does not converge
    gets the mask within the budget that came closest.
    """
    start, budget = time.monotonic(), omega * (1 - search.ssim_margin)
    state = _State(targets, search, seed)
    results: dict[int, Mask] = {}
    for iteration in range(1, search.iterations + 1):
        if cancelled():
            raise Cancelled("cancelled while the mask was being made")
        faces = [targets[face] for face in state.faces]
        values = state.values()
        patches = [masked_patch(target, values[i : i + 1]) for i, target in enumerate(faces)]
        frames = torch.cat([sample(patch, target.to_frame) for patch, target in zip(patches, faces, strict=True)])
        ssim = torch.cat([face_ssim(t.boxed(t.patch), t.boxed(p)) for t, p in zip(faces, patches, strict=True)])
        triplet = reverse_triplet_loss(*_distances(frames, faces, team, search.goal_margin))
        hidden = imperceptibility_loss(ssim, budget)
        state.remember(values, triplet, hidden)
        state.step(triplet, hidden, ssim, budget)
        done = state.finish((triplet == 0) & (hidden == 0))
        seconds = time.monotonic() - start
        results |= {
            face: Mask(values=best, converged=True, iterations=iteration, seconds=seconds) for face, best in done
        }
        on_iteration(iteration, max(iteration / search.iterations, len(results) / len(targets)))
        if not state.faces:
            break
    seconds = time.monotonic() - start
    for face, best in state.finish(torch.ones(len(state.faces), dtype=torch.bool)):
        results[face] = Mask(values=best, converged=False, iterations=search.iterations, seconds=seconds)
    return [results[face] for face in range(len(targets))]


def _distances(
    frames: Tensor, faces: Sequence[Target], team: Mapping[str, Embed], margin: float
) -> tuple[Tensor, Tensor]:
    """Each recogniser's angle from each masked face to the nearest of its references, and goals times ``margin``."""
    angles = []
    for name, recogniser in team.items():
        embeddings = recogniser(frames)
        angles.append(torch.stack([angle(e, t.references[name]).min() for e, t in zip(embeddings, faces, strict=True)]))
    goals = torch.tensor([[min(torch.pi, t.goals[name] * margin) for t in faces] for name in team])
    return torch.stack(angles), goals.to(frames.device)


class _State:
    """What the search knows of each face still in the batch: its mask, Adam's moments, kappa, the best so far."""

    def __init__(self, targets: Sequence[Target], search: Search, seed: int) -> None:
        device = targets[0].patch.device
        channels = 1 if targets[0].grey else 3
        chance = torch.Generator().manual_seed(seed)
        noise = [torch.rand((len(targets), channels, size, size), generator=chance) - 0.5 for size in MASK_SIZES]
        self.search, self.window, self.steps = search, window().to(device), 0
        self.faces = list(range(len(targets)))
        # at zero the angle has no direction to grow in, so a mask starts as noise of half a grey level
        self.layers = [(layer / 255).to(device).requires_grad_() for layer in noise]
        self.first = [torch.zeros_like(layer) for layer in self.layers]
        self.second = [torch.zeros_like(layer) for layer in self.layers]
        self.kappa = torch.full((len(targets),), search.kappa, device=device)
        self.best_loss = torch.full((len(targets),), torch.inf, device=device)
        self.best = torch.zeros_like(self.values())

    def values(self) -> Tensor:
        """The masks (faces, 3, FRAME_SIZE, FRAME_SIZE) in the face frame."""
        size = (FRAME_SIZE, FRAME_SIZE)
        layers = [F.interpolate(layer, size, mode="bilinear", align_corners=False) for layer in self.layers]
        return (torch.stack(layers).sum(0) * self.window).expand(-1, 3, -1, -1)

    def remember(self, values: Tensor, triplet: Tensor, hidden: Tensor) -> None:
        """Keeps the masks that are within the budget and nearer to the goal than any before."""
        loss = triplet.detach()
        better = (hidden == 0) & (loss < self.best_loss)
        self.best_loss = torch.where(better, loss, self.best_loss)
        self.best = torch.where(_wide(better), values.detach(), self.best)

    def step(self, triplet: Tensor, hidden: Tensor, ssim: Tensor, budget: float) -> None:
        """One step of Adam down Eq. 8, kappa's schedule, and the masks over the budget shrunk back to it."""
        pull = _unit(torch.autograd.grad(triplet.sum(), self.layers, retain_graph=True))
        hide = _unit(torch.autograd.grad(hidden.sum(), self.layers))
        over = hidden.detach() > 0
        gradients = [p + _wide(self.kappa) * h for p, h in zip(pull, hide, strict=True)]
        self.kappa = (self.kappa * torch.where(over, 2.0, 0.5)).clamp(*self.search.kappa_range)
        # 1 - SSIM grows with the square of the mask, so this factor brings it back to the budget
        shrink = _wide(torch.where(over, torch.sqrt(2 * budget / (1 - ssim.detach())), 1.0))
        self.steps += 1
        with torch.no_grad():
            for layer, gradient, first, second in zip(self.layers, gradients, self.first, self.second, strict=True):
                first.lerp_(gradient, 1 - self.search.momentum)
                second.lerp_(gradient**2, 1 - self.search.curvature)
                mean = first / (1 - self.search.momentum**self.steps)
                spread = (second / (1 - self.search.curvature**self.steps)).sqrt()
                layer.mul_(shrink).sub_(self.search.step * mean / (spread + 1e-8))

    def finish(self, done: Tensor) -> list[tuple[int, Tensor]]:
        """Takes the faces of ``done`` out of the batch; each with its best mask."""
        finished = [(face, self.best[i : i + 1]) for i, face in enumerate(self.faces) if done[i]]
        if finished:
            keep = ~done.to(self.kappa.device)
            self.faces = [face for i, face in enumerate(self.faces) if not done[i]]
            self.layers = [layer.detach()[keep].requires_grad_() for layer in self.layers]
            self.first, self.second = [part[keep] for part in self.first], [part[keep] for part in self.second]
            self.kappa, self.best, self.best_loss = self.kappa[keep], self.best[keep], self.best_loss[keep]
        return finished


def _wide(per_face: Tensor) -> Tensor:
    """(faces) to (faces, 1, 1, 1), to stand beside masks."""
    return per_face[:, None, None, None]


def _unit(gradients: Sequence[Tensor]) -> list[Tensor]:
    """Each face's gradient, over both layers, at length one (or zero)."""
    length = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients]).norm(dim=0).clamp(min=1e-12)
    return [gradient / _wide(length) for gradient in gradients]
