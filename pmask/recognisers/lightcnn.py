"""LightCNN in its fourth version: 29 layers whose activation is the larger of two feature maps.

Architecture: X. Wu et al., 2018, https://arxiv.org/abs/1511.02683 (section 3.1 for the activation, section 3.2 for the
blocks and for the sum of both kinds of pooling).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_STAGES = ((3, 48, 1), (48, 96, 2), (96, 192, 3), (192, 128, 4))
"""Channels in, channels out and blocks of each stage. The third's output is pooled; the fourth has one more layer."""


class LightCNN(nn.Module):
    """Input (B, 3, 128, 128), BGR in [0, 1]; output (B, 256). Names are those of the published weights."""

    def __init__(self, checkpoint: Path) -> None:
        super().__init__()
        for stage, (channels_in, channels, blocks) in enumerate(_STAGES, start=1):
            self.add_module(f"conv{stage}", _Max(channels_in, channels))
            # the published blocks keep the width that comes in to them
            self.add_module(f"block{stage}", nn.Sequential(*(_Residual(channels) for _ in range(blocks))))
        self.conv5 = _Max(128, 128)
        self.fc = nn.Linear(8 * 8 * 128, 256)
        state = torch.load(checkpoint, map_location="cpu", weights_only=True)["state_dict"]
        state = {name.removeprefix("module."): values for name, values in state.items()}
        self.load_state_dict({name: state[name] for name in self.state_dict()})  # less the classifier's layer
        self.to(memory_format=torch.channels_last)  # a tenth less time on a CPU

    def forward(self, image: Tensor) -> Tensor:
        parts = self.get_submodule
        features = _pooled(parts("conv1")(image))
        for stage in (1, 2):
            features = _pooled(parts(f"conv{stage + 1}")(parts(f"block{stage}")(features)))
        features = parts("block4")(parts("conv4")(parts("block3")(features)))
        features = _pooled(self.conv5(features))
        return torch.as_tensor(self.fc(features.flatten(1)))


class _Max(nn.Module):
    """A 3 x 3 convolution of twice the channels, of which each is the larger of its pair."""

    def __init__(self, channels_in: int, channels: int) -> None:
        super().__init__()
        self.filter = nn.Conv2d(channels_in, 2 * channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.as_tensor(_Larger.apply(self.filter(features)))


class _Larger(torch.autograd.Function):
    """The larger of each pair of feature maps (B, 2 C, h, w), the first where they are equal: result (B, C, h, w).

    torch.maximum's own gradient shares what belongs to equal ones, in ten passes over memory; this takes two, and so
    the network an eighth less time.
    """

    @staticmethod
    def forward(ctx: Any, pairs: Tensor) -> Tensor:  # noqa: ANN401
        first, second = pairs.chunk(2, dim=1)
        ctx.save_for_backward(first >= second)
        return torch.maximum(first, second)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:  # noqa: ANN401
        (is_first,) = ctx.saved_tensors
        of_first = gradient * is_first
        return torch.cat([of_first, gradient - of_first], dim=1)


class _Residual(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = _Max(channels, channels)
        self.conv2 = _Max(channels, channels)

    def forward(self, features: Tensor) -> Tensor:
        return torch.as_tensor(features + self.conv2(self.conv1(features)))


def _pooled(features: Tensor) -> Tensor:
    return F.max_pool2d(features, 2) + F.avg_pool2d(features, 2)
