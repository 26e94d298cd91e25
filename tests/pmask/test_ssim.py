"""SSIM: scikit-image's figures, the search's way to them as well."""

from __future__ import annotations

import pytest
import torch
from skimage.metrics import structural_similarity
from torch.nn import functional as F

from pmask.ssim import SsimTo, face_ssim


def test_ssim_of_small_pictures_too():
    """A face of 8 pixels must not end the photo."""
    image = torch.rand(2, 3, 8, 20)
    assert torch.allclose(torch.ones(2), face_ssim(image, image))
    assert float(face_ssim(image, torch.rand(2, 3, 8, 20)).max()) < 0.5


@pytest.mark.parametrize("size", [(90, 120), (520, 30)])
@pytest.mark.parametrize("channels", [1, 3])
def test_ssim_is_scikit_images(channels, size):
    """Short and long sides are worked out in different ways."""
    torch.manual_seed(0)
    pictures = torch.rand(2, channels, *size)
    changed = (pictures + 0.1 * torch.randn_like(pictures)).clamp(0, 1)
    wanted = [
        structural_similarity(
            *(picture.double().numpy() for picture in pair),
            data_range=1.0,
            channel_axis=0,
            gaussian_weights=True,
            sigma=1.5,
            truncate=3.34,  # a window of 11 pixels
            use_sample_covariance=False,
            full=True,
        )[1][:, 5:-5, 5:-5].mean()
        for pair in zip(pictures, changed, strict=True)
    ]
    assert max(wanted) < 0.98
    assert wanted == pytest.approx(face_ssim(pictures, changed).tolist(), abs=1e-5)


@pytest.mark.parametrize("scale", [1, 2])
def test_regions_are_as_if_cut_out_and_so_are_their_gradients(scale):
    """Budgets are kept by the one and reported by the other."""
    torch.manual_seed(0)
    image = torch.rand(1, 3, 90, 120)
    regions = (slice(4, 84), slice(0, 110)), (slice(20, 60), slice(30, 90))
    changed = (image + 0.1 * torch.randn_like(image)).clamp(0, 1).requires_grad_()

    def cut(pixels, rows, columns):
        return F.avg_pool2d(pixels[:, :, rows, columns], scale)

    alone = torch.cat([face_ssim(cut(image, *region), cut(changed, *region)) for region in regions])
    (together,) = SsimTo(image, regions, scale)(changed)
    assert torch.allclose(alone, together, atol=1e-6)
    for one in range(2):
        wanted, found = (torch.autograd.grad(s[one], changed, retain_graph=True)[0] for s in (alone, together))
        assert float((wanted - found).norm()) < 1e-4 * float(wanted.norm())


@pytest.mark.parametrize("size", [40, 520])
def test_its_gradient_is_that_of_its_figures(size):
    """By differences, at double precision; both ways of working it out."""
    torch.manual_seed(0)
    image = torch.rand(1, 1, size, 12, dtype=torch.float64)
    changed = (image + 0.1 * torch.randn_like(image)).requires_grad_()
    way = torch.randn_like(image)
    (gradient,) = torch.autograd.grad(face_ssim(image, changed).sum(), changed)
    with torch.no_grad():
        ends = [float(face_ssim(image, changed + step * way)) for step in (-1e-5, 1e-5)]
    assert float((gradient * way).sum()) == pytest.approx((ends[1] - ends[0]) / 2e-5, rel=1e-4)


def test_what_share_of_the_windows_lies_in_a_region():
    """What is around it, is worked out by that."""
    regions = (slice(0, 60), slice(0, 110)), (slice(10, 40), slice(0, 110))
    assert [1.0, 20 / 50] == SsimTo(torch.rand(1, 3, 60, 110), regions).shares


@pytest.mark.parametrize("side", [4, 10, 12])
def test_regions_shorter_than_the_window(side):
    """A face of a few pixels at the edge of its patch: a window where it is, and no more."""
    image, place = torch.rand(1, 3, 20, 20), slice(20 - side, 20)
    ssim = SsimTo(image, [(slice(0, 20), slice(0, 20)), (place, place)])
    assert torch.allclose(torch.ones(1, 2), ssim(image))
    elsewhere = image.clone()
    elsewhere[..., :6, :6] = 0
    ((whole, region),) = ssim(elsewhere).tolist()
    assert whole < 0.99 < region


def test_pictures_shorter_than_the_window():
    """They are lengthened by their edge."""
    image, other = torch.rand(2, 1, 3, 8, 20)
    regions = [(slice(0, 8), slice(0, 20))] * 2
    longer = [F.pad(picture, (0, 0, 0, 3), mode="replicate") for picture in (image, other)]
    assert torch.allclose(face_ssim(*longer).expand(2), SsimTo(image, regions)(other)[0], atol=1e-6)
    assert torch.allclose(face_ssim(image, other).expand(2), SsimTo(image, regions)(other)[0], atol=1e-6)
