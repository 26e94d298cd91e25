"""SSIM: the library's, and the search's own way to the same figures."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from pmask.ssim import SsimTo, face_ssim


def test_ssim_of_small_pictures_too():
    """A face of 8 pixels must not end the photo."""
    image = torch.rand(2, 3, 8, 20)
    assert torch.allclose(torch.ones(2), face_ssim(image, image))
    assert float(face_ssim(image, torch.rand(2, 3, 8, 20)).max()) < 0.5


@pytest.mark.parametrize("scale", [1, 2])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_searchs_ssim_is_the_librarys_and_so_is_its_gradient(channels, scale):
    """Budgets are kept by the one and reported by the other."""
    torch.manual_seed(0)
    image = torch.rand(1, channels, 90, 120)
    regions = (slice(4, 84), slice(0, 110)), (slice(20, 60), slice(30, 90))
    changed = (image + 0.1 * torch.randn_like(image)).clamp(0, 1).requires_grad_()

    def shrunk(pixels, rows, columns):
        return F.avg_pool2d(pixels[:, :, rows, columns], scale)

    library = torch.cat([face_ssim(shrunk(image, *region), shrunk(changed, *region)) for region in regions])
    ours = SsimTo(image, regions, scale)(changed)
    assert torch.allclose(library, ours, atol=1e-6)
    assert float(library.detach().max()) < 0.98
    for one in range(2):
        wanted, found = (torch.autograd.grad(s[one], changed, retain_graph=True)[0] for s in (library, ours))
        assert float((wanted - found).norm()) < 1e-4 * float(wanted.norm())


def test_what_share_of_the_windows_lies_in_a_region():
    """What is around it, is worked out by that."""
    regions = (slice(0, 60), slice(0, 110)), (slice(10, 40), slice(0, 110))
    assert [1.0, 20 / 50] == SsimTo(torch.rand(1, 3, 60, 110), regions).shares


@pytest.mark.parametrize("side", [4, 10, 12])
def test_regions_shorter_than_the_window(side):
    """A face of a few pixels at the edge of its patch: a window where it is, and no more."""
    image, place = torch.rand(1, 3, 20, 20), slice(20 - side, 20)
    ssim = SsimTo(image, [(slice(0, 20), slice(0, 20)), (place, place)])
    assert torch.allclose(torch.ones(2), ssim(image))
    elsewhere = image.clone()
    elsewhere[..., :6, :6] = 0
    whole, region = ssim(elsewhere).tolist()
    assert whole < 0.99 < region


def test_pictures_shorter_than_the_window():
    """As the library lengthens them."""
    image, other = torch.rand(2, 1, 3, 8, 20)
    regions = [(slice(0, 8), slice(0, 20))] * 2
    assert torch.allclose(face_ssim(image, other).expand(2), SsimTo(image, regions)(other), atol=1e-6)
