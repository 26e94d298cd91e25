"""FaceX-Zoo's MobileFaceNet, from a file that holds the whole pickled network.

Architecture: S. Chen et al., 2018, https://arxiv.org/abs/1804.07573 (table 1), with a last layer of its own:
https://github.com/JDAI-CV/FaceX-Zoo (backbone/MobileFaceNets.py).
"""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


class MobileFaceNet(nn.Module):
    """Input (B, 3, 112, 112), BGR less 127.5, over 128; output (B, 512). Names are those of the published network,
    whose batch normalisation is folded into the convolutions once it is read."""

    def __init__(self, pickled: Path) -> None:
        super().__init__()
        self.conv1 = _Activated(3, 64, 3, stride=2)
        self.conv2_dw = _Activated(64, 64, 3, groups=64)
        self.conv_23 = _Bottleneck(64, 64, 128, stride=2)
        self.conv_3 = _Stage(64, 128, blocks=4)
        self.conv_34 = _Bottleneck(64, 128, 256, stride=2)
        self.conv_4 = _Stage(128, 256, blocks=6)
        self.conv_45 = _Bottleneck(128, 128, 512, stride=2)
        self.conv_5 = _Stage(128, 256, blocks=2)
        self.conv_6_sep = _Activated(128, 512, 1)
        self.conv_6_dw = _Normalised(512, 512, 7, groups=512, padding=0)
        self.linear = nn.Linear(512, 512, bias=False)
        self.bn = nn.BatchNorm1d(512)
        self.load_state_dict(dict(_tensors(_read(pickled))))
        self.eval()
        for part in self.modules():
            if isinstance(part, _Normalised):
                part.fold()

    def forward(self, image: Tensor) -> Tensor:
        features = self.conv2_dw(self.conv1(image))
        features = self.conv_4(self.conv_34(self.conv_3(self.conv_23(features))))
        features = self.conv_6_dw(self.conv_6_sep(self.conv_5(self.conv_45(features))))
        return torch.as_tensor(self.bn(self.linear(features.flatten(1))))


class _Normalised(nn.Module):
    """A convolution that keeps the size but for its stride, and batch normalisation."""

    def __init__(
        self,
        channels_in: int,
        channels: int,
        kernel: int,
        *,
        stride: int = 1,
        groups: int = 1,
        padding: int | None = None,
    ) -> None:
        super().__init__()
        sides = kernel // 2 if padding is None else padding
        self.conv = nn.Conv2d(channels_in, channels, kernel, stride, sides, groups=groups, bias=False)
        self.bn: nn.BatchNorm2d | nn.Identity = nn.BatchNorm2d(channels)

    def forward(self, features: Tensor) -> Tensor:
        return torch.as_tensor(self.bn(self.conv(features)))

    def fold(self) -> None:
        """Has the convolution do what the normalisation does, which is fixed in eval mode."""
        if isinstance(self.bn, nn.BatchNorm2d):
            self.conv, self.bn = fuse_conv_bn_eval(self.conv, self.bn), nn.Identity()


class _Activated(_Normalised):
    def __init__(self, channels_in: int, channels: int, kernel: int, *, stride: int = 1, groups: int = 1) -> None:
        super().__init__(channels_in, channels, kernel, stride=stride, groups=groups)
        self.prelu = nn.PReLU(channels)

    def forward(self, features: Tensor) -> Tensor:
        return torch.as_tensor(self.prelu(super().forward(features)))


class _Bottleneck(nn.Module):
    """Wider, each channel by itself, and narrower again."""

    def __init__(self, channels_in: int, channels: int, wide: int, stride: int = 1) -> None:
        super().__init__()
        self.conv = _Activated(channels_in, wide, 1)
        self.conv_dw = _Activated(wide, wide, 3, stride=stride, groups=wide)
        self.project = _Normalised(wide, channels, 1)

    def forward(self, features: Tensor) -> Tensor:
        return torch.as_tensor(self.project(self.conv_dw(self.conv(features))))


class _Stage(nn.Module):
    """Bottlenecks, each beside a shortcut."""

    def __init__(self, channels: int, wide: int, blocks: int) -> None:
        super().__init__()
        self.model = nn.ModuleList(_Bottleneck(channels, channels, wide) for _ in range(blocks))

    def forward(self, features: Tensor) -> Tensor:
        for block in self.model:
            features = features + block(features)
        return features


_ALLOWED = {
    ("collections", "OrderedDict"),
    ("torch._utils", "_rebuild_parameter"),
    ("torch._utils", "_rebuild_tensor_v2"),
    ("torch", "FloatStorage"),
    ("torch", "LongStorage"),
}


class _Inert:
    """What stands for every class of the pickle but tensors: it holds its state and does nothing."""

    dump_patches = False  # torch.load asks each class of a network whether to compare its source
    _parameters: dict[str, Tensor | None]
    _buffers: dict[str, Tensor | None]
    _modules: dict[str, _Inert]

    def __init__(self, *_: object) -> None:
        """Takes what the class in its place would take."""


class _Unpickler(pickle.Unpickler):
    """A pickle may name anything to be called. This one finds what makes tensors, and _Inert in place of the rest."""

    def find_class(self, module: str, name: str) -> object:
        return super().find_class(module, name) if (module, name) in _ALLOWED else _Inert


def _read(pickled: Path) -> _Inert:
    """The network as nothing but state. torch itself reads such files whole or, of classes it does not know, not."""
    reader = SimpleNamespace(
        __name__="reader", Unpickler=_Unpickler, load=lambda file, **how: _Unpickler(file, **how).load()
    )
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", category=torch.serialization.SourceChangeWarning)  # of the classes it lacks
        network: _Inert = torch.load(pickled, map_location="cpu", weights_only=False, pickle_module=reader)
    return network


def _tensors(module: _Inert, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    """Names and values of a pickled network, less the wrapper for several GPUs that it may be in."""
    for name, values in [*module._parameters.items(), *module._buffers.items()]:
        if values is not None:
            yield prefix + name, values
    for name, part in module._modules.items():
        yield from _tensors(part, prefix if name == "module" else f"{prefix}{name}.")
