"""What people see of a mask, measured on the delivered photo in its own pixels.

SSIM and PSNR are what papers report; LPIPS agrees better with people's judgements, CIEDE2000 says how much colours
moved where people look first, and the rim whether the mask ends in an edge.
"""

from __future__ import annotations

import http.client
import pickle
import socket
from dataclasses import asdict, dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import torch
from skimage.color import deltaE_ciede2000, rgb2lab
from torch import Tensor, nn
from torch.nn import functional as F

from pmask import store, views
from pmask.errors import WeightsUnavailable
from pmask.evaluation.pipelines import window
from pmask.faces import Face
from pmask.geometry import Floats
from pmask.images import RGB
from pmask.recognisers.records import WeightFile

EYE_AXES = (0.3, 0.15)
LIP_AXES = (0.45, 0.2)
"""Half axes, along the line of the eyes or of the mouth's corners and across it, as shares of the distance of the eyes.
An eye with its lids fits in the first (its opening is some 30 x 10 mm where eyes are 63 mm apart); the lips in the
second, their corners being 0.83 apart in ArcFace's template (https://arxiv.org/abs/1801.07698)."""
SURROUNDINGS = 0.5
"""Share of the box's sides by which it is grown to look for the end of a mask, which may be larger than the box."""
RIM_REACH = 0.02
"""Share of the box's shorter side over which a mask that loses its strength is said to have an edge: 2 px of a face
of 100 px. PMask's own masks fade over seven times that (pmask.views.RIM of a box grown to 1.4)."""
RIM_BLUR = 2.0
RIM_LEVEL = 0.35
RIM_SEARCH = np.arange(-4.0, 4.5, 0.5)
"""How the end of a mask is found, the first and last in reaches: see _rim. Of the values tried, those that best told
hard-edged from feathered masks of even shading and of fine and coarse noise, with and without JPEG."""

LPIPS_HEADS = WeightFile(
    registry="pypi",
    package="lpips",
    version="0.1.4",
    member="lpips/weights/v0.1/alex.pth",
    sha256="df73285e35b22355a2df87cdb6b70b343713b667eddbda73e1977e0c860835c0",
    size=6_009,
)
"""The linear heads (BSD), of its authors' package. Only they are taken of it: the package is of 2021, calls torchvision
in deprecated ways and wants tqdm for training, while the formula is a few lines."""
LPIPS_BACKBONE = "https://download.pytorch.org/models/alexnet-owt-7be5be79.pth"
"""AlexNet as torchvision has it (233 MB), the backbone that its authors advise for measuring. The name holds the start
of its SHA-256."""
LPIPS_TAPS = (1, 4, 7, 9, 11)
"""AlexNet's layers whose outputs are compared: its five ReLUs."""
LPIPS_SHIFT = (-0.030, -0.088, -0.188)
LPIPS_SCALE = (0.458, 0.448, 0.450)
"""ImageNet's mean and deviation, for pixels in [-1, 1]."""
LPIPS_SMALLEST = 31
"""Pixels: AlexNet's strides leave nothing of a shorter side."""
FETCH_TIMEOUT_S = 10.0
"""For each wait on the network, not for the whole of a download."""

Strength = npt.NDArray[np.float32]
Pixels = npt.NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True)
class Colour:
    """How far colours moved, in CIEDE2000: the median and the 99th percentile over pixels. 1 is about the least that
    people notice side by side."""

    median: float
    p99: float


@dataclass(frozen=True, kw_only=True)
class Quality:
    """ssim, psnr (dB), lpips and face are of the detector's box, clipped to the photo; eyes and lips of ellipses there.

    lpips: 0 for identical photos; None where lpips_unavailable() says why.
    chroma_p99: the 99th percentile over the box of the way in CIELAB's a*b* plane: hue and saturation, no brightness.
    rim: how abruptly the mask ends: 0.5 to 1 where from one pixel to the next, 0.1 to 0.35 where it fades over a tenth
        of the face, 0 where there is none. It is relative: a mask too weak to be seen has a rim too.
    """

    ssim: float
    psnr: float
    lpips: float | None
    face: Colour
    eyes: Colour
    lips: Colour
    chroma_p99: float
    rim: float

    def to_json(self) -> dict[str, Any]:
        """Plain JSON types, keys as the fields."""
        return asdict(self)


def measure(original: RGB, protected: RGB, face: Face) -> Quality:
    """What a person may see at ``face``, found in ``original``. Both photos are upright, of one shape (h, w, 3).

    Raises ValueError for photos of unlike shapes. Nothing is fetched: see lpips_unavailable.
    """
    if original.shape != protected.shape:
        raise ValueError(f"a photo of shape {original.shape} cannot be compared with one of {protected.shape}")
    around = window(original, face.box, grow=SURROUNDINGS)
    original, protected, face = original[around], protected[around], _moved_to(around, face)
    box = window(original, face.box)
    before, after = _tensor(original[box]), _tensor(protected[box])
    ssim, psnr = views.quality(before, after)
    lab_before, lab_after = _lab(original), _lab(protected)
    eyes, lips = _regions(original.shape, face.landmarks)
    strength = np.abs(protected.astype(np.float32) - original).mean(-1)
    return Quality(
        ssim=ssim,
        psnr=psnr,
        lpips=None if lpips_unavailable() else lpips_distance(before, after),
        face=_shift(lab_before[box], lab_after[box]),
        eyes=_shift(lab_before[eyes], lab_after[eyes]),
        lips=_shift(lab_before[lips], lab_after[lips]),
        chroma_p99=float(np.percentile(np.linalg.norm((lab_after - lab_before)[box][..., 1:], axis=-1), 99)),
        rim=_rim(strength, box, max(1.0, RIM_REACH * min(face.box[2:]))),
    )


def _moved_to(around: tuple[slice, slice], face: Face) -> Face:
    """The face in the pixels of a piece of its photo."""
    x, y, width, height = face.box
    rows, columns = around
    landmarks = face.landmarks - (columns.start, rows.start)
    return replace(face, box=(x - columns.start, y - rows.start, width, height), landmarks=landmarks)


def _tensor(rgb: RGB) -> Tensor:
    """(1, 3, h, w) in [0, 1]."""
    return torch.from_numpy(np.ascontiguousarray(rgb)).permute(2, 0, 1)[None].float() / 255


def _lab(rgb: RGB) -> Floats:
    """Pixels (..., 3) of sRGB, 0 to 255, to CIELAB under D65: L* in [0, 100], a* and b* within about 110 of 0."""
    return np.asarray(rgb2lab(rgb), dtype=np.float64)


def _shift(before: Floats, after: Floats) -> Colour:
    """CIEDE2000 (G. Sharma et al., 2005, https://doi.org/10.1002/col.20070) between CIELAB colours (..., 3)."""
    median, p99 = np.percentile(deltaE_ciede2000(before, after), (50, 99))
    return Colour(median=float(median), p99=float(p99))


def _regions(shape: tuple[int, ...], landmarks: Floats) -> tuple[Pixels, Pixels]:
    """Where the eyes are and where the lips, each (height, width), at least a pixel each.

    landmarks: (5, 2) as in Face. The ellipses are turned with the face; EYE_AXES and LIP_AXES say how large they are.
    """
    left_eye, right_eye, _, left_corner, right_corner = landmarks
    across = right_eye - left_eye
    unit = float(np.hypot(*across))
    eyes = [_ellipse(shape, eye, across, unit, EYE_AXES) for eye in (left_eye, right_eye)]
    lips = _ellipse(shape, (left_corner + right_corner) / 2, right_corner - left_corner, unit, LIP_AXES)
    return eyes[0] | eyes[1], lips


def _ellipse(shape: tuple[int, ...], centre: Floats, along: Floats, unit: float, axes: tuple[float, float]) -> Pixels:
    x, y = np.clip(np.rint(centre), 0, (shape[1] - 1, shape[0] - 1))  # a landmark may be outside the photo
    angle = np.arctan2(along[1], along[0])
    down, right = np.ogrid[: shape[0], : shape[1]]
    length = ((right - x) * np.cos(angle) + (down - y) * np.sin(angle)) / (axes[0] * unit)
    width = ((down - y) * np.cos(angle) - (right - x) * np.sin(angle)) / (axes[1] * unit)
    return np.asarray(length**2 + width**2 <= 1)


def _rim(strength: Strength, box: tuple[slice, slice], reach: float) -> float:
    """How much of its strength a mask loses at once where it ends.

    strength (h, w) around a face is the absolute difference of the photos, mean over channels, in grey levels. The
    figure is its mean in a band along the outline of the mask's region, one ``reach`` (pixels) wide, less that in the
    band next outside, over the mean in the region; the greatest of such figures as the bands move in and out over
    RIM_SEARCH, for the outline is not found to the pixel.

    Both bands are means over the whole outline, so a mask's own grain and what compression changes everywhere cancel
    out. 0 where nothing changed, or where the region fills all that is looked at: then it has no rim beside the face.
    """
    inside = _region(strength, box, reach)
    if inside.all() or not inside.any():
        return 0.0
    depth, height = (
        cv2.distanceTransform(part.astype(np.uint8), cv2.DIST_L2, cv2.DIST_MASK_PRECISE) for part in (inside, ~inside)
    )
    place = (np.asarray(depth) - np.asarray(height)) / reach
    drops = []
    for outline in RIM_SEARCH:
        within = strength[(place > outline) & (place <= outline + 1)]
        beyond = strength[(place <= outline) & (place > outline - 1)]
        if within.size and beyond.size:
            drops.append(float(within.mean() - beyond.mean()))
    return max(0.0, *drops) / float(strength[inside].mean())


def _region(strength: Strength, box: tuple[slice, slice], reach: float) -> Pixels:
    """Where the mask is, (h, w): one piece without holes; nothing where nothing changed in the box.

    There the strength, blurred by a Gaussian of RIM_BLUR reaches, is over RIM_LEVEL of its mean in the box. Of several
    such pieces the one that holds most of the box is taken.
    """
    level = RIM_LEVEL * strength[box].mean()
    strong = np.asarray(cv2.GaussianBlur(strength, (0, 0), RIM_BLUR * reach)) > level
    _, labels = cv2.connectedComponents(strong.astype(np.uint8))
    sizes = np.bincount(np.asarray(labels)[box].ravel())[1:]  # label 0 is what is not strong
    if level == 0 or len(sizes) == 0:
        return np.zeros_like(strong)
    piece = (labels == 1 + sizes.argmax()).astype(np.uint8)
    outline, _ = cv2.findContours(piece, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    return np.asarray(cv2.drawContours(piece, outline, -1, (1,), cv2.FILLED)) > 0


def lpips_unavailable(*, fetch: bool = False) -> str | None:
    """A sentence that says why LPIPS cannot be computed here, or None where it can.

    With ``fetch`` the weights that are missing are fetched first: the heads into PMask's store, the backbone into
    torch's hub cache, where torchvision keeps it.
    """
    try:
        if fetch:
            _fetch_lpips()
        _lpips_network(_backbone_path(), store.weight_path(LPIPS_HEADS))
    except FileNotFoundError as error:
        return f"LPIPS was not computed: {Path(error.filename).name} is not on this machine."
    except (OSError, http.client.HTTPException, WeightsUnavailable) as error:
        return f"LPIPS was not computed: its weights could not be fetched ({error})."
    except (RuntimeError, KeyError, EOFError, pickle.UnpicklingError) as error:
        return f"LPIPS was not computed: its weights are broken ({error})."
    return None


def lpips_distance(a: Tensor, b: Tensor) -> float:
    """LPIPS of two images (1, 3, h, w) in [0, 1], as lpips() has it, in plain figures."""
    with torch.inference_mode():
        return float(lpips(a, b))


def lpips(a: Tensor, b: Tensor) -> Tensor:
    """LPIPS 0.1 of two images (1, 3, h, w) in [0, 1]: 0 for the same, seldom over 1; result (), with gradients. Sides
    under LPIPS_SMALLEST grow by their last pixel.

    Source: R. Zhang et al., 2018, https://arxiv.org/abs/1801.03924, Eq. 1, with AlexNet: each layer's features at unit
    length over the channels, their squared difference weighted by the heads, its mean over places, summed over layers.
    Raises what lpips_unavailable puts in words where there are no weights.
    """
    layers, heads = _lpips_network(_backbone_path(), store.weight_path(LPIPS_HEADS))
    layers = layers.to(a.device)
    shift, scale = (torch.tensor(v, device=a.device).reshape(1, 3, 1, 1) for v in (LPIPS_SHIFT, LPIPS_SCALE))
    pad = [max(0, LPIPS_SMALLEST - side) for side in a.shape[-2:]]
    features = F.pad((2 * torch.cat([a, b]) - 1 - shift) / scale, (0, pad[1], 0, pad[0]), mode="replicate")
    distances = []
    for place, layer in enumerate(layers):
        features = layer(features)
        if place in heads:
            one, other = features / (features.norm(dim=1, keepdim=True) + 1e-10)
            distances.append(F.conv2d((one - other)[None] ** 2, heads[place].to(a.device)).mean())
    return torch.stack(distances).sum()


def _backbone_path() -> Path:
    return Path(torch.hub.get_dir(), "checkpoints", LPIPS_BACKBONE.rpartition("/")[2])


def _fetch_lpips() -> None:
    """The backbone first: where its host cannot be reached, this ends within seconds."""
    path = _backbone_path()
    if not path.is_file():
        path.parent.mkdir(parents=True, exist_ok=True)
        usual = socket.getdefaulttimeout()
        socket.setdefaulttimeout(FETCH_TIMEOUT_S)
        try:
            torch.hub.download_url_to_file(LPIPS_BACKBONE, str(path), path.stem.rpartition("-")[2], progress=False)
        finally:
            socket.setdefaulttimeout(usual)
    store.fetch([LPIPS_HEADS])


@lru_cache(maxsize=1)
def _lpips_network(backbone: Path, heads: Path) -> tuple[nn.Sequential, dict[int, Tensor]]:
    """AlexNet's layers up to the last that is compared, and for each compared its head (1, channels, 1, 1)."""
    weights = [torch.load(path, map_location="cpu", weights_only=True) for path in (backbone, heads)]
    from torchvision.models import alexnet  # slow to import, and only this needs it

    with torch.device("meta"):
        layers = alexnet(weights=None).features[: LPIPS_TAPS[-1] + 1]
    prefix, names = "features.", layers.state_dict().keys()
    layers.load_state_dict({name: weights[0][prefix + name] for name in names}, assign=True)
    return layers.eval().requires_grad_(False), {
        place: weights[1][f"lin{i}.model.1.weight"] for i, place in enumerate(LPIPS_TAPS)
    }
