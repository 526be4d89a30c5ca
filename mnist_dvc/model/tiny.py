"""The tiny networks: below 2,000 parameters, so that one small kernel for each resolution is gone through many times.

Each step is x + LeakyReLU(pointwise(depthwise(norm(x))) + bias), in the manner of Grimov's network of 1,936 parameters
(https://github.com/ruslangrimov/mnist-minimal-model): nothing between the two convolutions, which therefore are one
dense 3x3 convolution of few numbers, and a norm over the whole sample (Wu and He, Group Normalization,
https://arxiv.org/abs/1803.08494, with one group) that stores and learns nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_dvc.model.blocks import Dropout, MaximumAndMean, spatial_mean

__all__ = ["TINY", "SampleNorm", "Shape", "TinyNet"]

SLOPE = 0.2
"""Of the LeakyReLU below 0: so few channels cannot afford to be silent."""
EPSILON = 1e-5
"""Added to a variance, as PyTorch's norms do."""


@dataclass(frozen=True, slots=True)
class Shape:
    """Channels, an even number; steps at 14x14 and at 7x7, with biases for each of them or for each resolution.

    ``maximum`` puts the maximum of each map beside its mean before the classifier.
    """

    channels: int
    wide: int = 4
    deep: int = 4
    biases_of_steps: bool = True
    maximum: bool = False


TINY = {
    "tiny-350": Shape(8, wide=5, deep=3, biases_of_steps=False),
    "tiny-700": Shape(12),
    "tiny-1k": Shape(16),
    "tiny-2k": Shape(24, maximum=True),
}
"""350, 640, 914 and 1,798 parameters."""


class _Stem(nn.Module):
    """3x3 convolution to half the channels, pooled, of both signs (Shang et al., https://arxiv.org/abs/1603.05201)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(1, channels // 2, 3, bias=False)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, 1, H, W) to (N, channels, H / 2, W / 2)."""
        filters = torch.cat((self.conv.weight, -self.conv.weight))
        return F.relu(F.max_pool2d(F.conv2d(x_NCHW, filters, padding=1), 2))


class SampleNorm(nn.Module):
    """Each sample to mean 0 and deviation 1 over all its channels and pixels."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        if self.training:  # the same, with a backward pass twice as fast; ONNX says it in many operators
            return F.group_norm(x_NCHW, 1, eps=EPSILON)
        x_NCHW = x_NCHW - x_NCHW.mean(dim=(1, 2, 3), keepdim=True)
        return x_NCHW / torch.sqrt((x_NCHW * x_NCHW).mean(dim=(1, 2, 3), keepdim=True) + EPSILON)


class _Steps(nn.Module):
    """Residual steps at one resolution: depthwise filters, and biases, ``pointwise`` weights that others share."""

    def __init__(self, channels: int, times: int, *, biases: int, pointwise: bool = False) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False) if pointwise else None
        self.norm = SampleNorm()
        self.biases = nn.ParameterList(nn.Parameter(torch.zeros(channels)) for _ in range(biases))
        self.times = times

    def forward(self, x_NCHW: Tensor, pointwise: nn.Conv2d) -> Tensor:
        """(N, C, H, W) to the same shape."""
        kernel_CC33 = pointwise.weight * self.depthwise.weight.transpose(0, 1)
        for step in range(self.times):
            bias_C = self.biases[step % len(self.biases)]
            y_NCHW = F.conv2d(self.norm(x_NCHW), kernel_CC33, bias_C, padding=1)
            x_NCHW = x_NCHW + F.leaky_relu(y_NCHW, SLOPE)
        return x_NCHW


class _Mean(nn.Module):
    """Mean over each map."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, C)."""
        return spatial_mean(x_NCHW)


class TinyNet(nn.Module):
    """Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10)."""

    def __init__(self, shape: Shape, dropout: float) -> None:
        """``dropout`` in [0, 1) acts on the pooled features, just before the classifier."""
        super().__init__()
        width = shape.channels
        wide, deep = (shape.wide, shape.deep) if shape.biases_of_steps else (1, 1)
        pooled, features = (MaximumAndMean(), 2 * width) if shape.maximum else (_Mean(), width)
        self.stem = _Stem(width)
        self.wide = _Steps(width, shape.wide, biases=wide, pointwise=True)
        self.shrink = nn.MaxPool2d(2)
        self.deep = _Steps(width, shape.deep, biases=deep)
        self.head = nn.Sequential(pooled, Dropout(dropout), nn.Linear(features, 10))

    def forward(self, images_N1HW: Tensor) -> Tensor:
        """(N, 1, 28, 28) to logits (N, 10)."""
        x_NCHW = self.wide(self.stem(images_N1HW), self.wide.pointwise)
        logits_NK: Tensor = self.head(self.deep(self.shrink(x_NCHW), self.wide.pointwise))
        return logits_NK
