"""The building blocks that the registered networks share.

Shape legend: N images, C channels, H W pixels, K classes; a name such as ``images_NCHW`` says its axes.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

__all__ = [
    "DepthwiseSeparable",
    "Dropout",
    "MaximumAndMean",
    "PooledConv",
    "ResidualConv",
    "SqueezeExcitation",
    "conv_bn",
    "initialise",
    "set_dropout_generator",
    "spatial_mean",
]


def conv_bn(c_in: int, c_out: int, kernel: int = 3, *, groups: int = 1) -> list[nn.Module]:
    """A bias-free convolution of stride 1 that keeps the resolution, and the BatchNorm that follows it."""
    conv = nn.Conv2d(c_in, c_out, kernel, padding=kernel // 2, groups=groups, bias=False)
    return [conv, nn.BatchNorm2d(c_out)]


def spatial_mean(x_NCHW: Tensor) -> Tensor:
    """Mean over each map, (N, C, H, W) to (N, C).

    Taken over rows of channels, as they lie in channels-last memory: with its backward pass, seven times as fast on a
    CPU as ``x.mean(dim=(2, 3))``.
    """
    return x_NCHW.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)


class PooledConv(nn.Sequential):
    """Convolution, 2x2 maximum, BatchNorm, ReLU: the pooling comes first, so the rest works on a quarter of the map."""

    def __init__(self, c_in: int, c_out: int, kernel: int) -> None:
        """``c_in`` and ``c_out`` are channel counts, ``kernel`` the odd width of the filter in pixels."""
        conv, norm = conv_bn(c_in, c_out, kernel)
        super().__init__(conv, nn.MaxPool2d(2), norm, nn.ReLU(inplace=True))


class ResidualConv(nn.Module):
    """Dense 3x3 convolution and BatchNorm added to the input, then ReLU (He et al., https://arxiv.org/abs/1512.03385)."""

    def __init__(self, channels: int) -> None:
        """``channels`` is the width of input and output."""
        super().__init__()
        self.conv = nn.Sequential(*conv_bn(channels, channels))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        return F.relu(x_NCHW + self.conv(x_NCHW))


class MaximumAndMean(nn.Module):
    """Maximum and mean over each map, (N, C, H, W) to (N, 2C): where a stroke is, and how much of it."""

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to (N, 2C)."""
        maximum_NC = F.adaptive_max_pool2d(x_NCHW, 1).flatten(1)  # twelve times as fast as amax() on a CPU
        return torch.cat((maximum_NC, spatial_mean(x_NCHW)), dim=1)


class DepthwiseSeparable(nn.Module):
    """Depthwise 3x3 and pointwise 1x1 convolution, each with BatchNorm, then ReLU; residual where the widths agree.

    Source: Howard et al., MobileNets, https://arxiv.org/abs/1704.04861, section 3.1, but without their ReLU between the
    two, as in Chollet, Xception, https://arxiv.org/abs/1610.02357, section 4.7: it throws away half of what so few
    channels can carry.
    """

    def __init__(self, c_in: int, c_out: int, *, residual: bool = False) -> None:
        """``c_in`` and ``c_out`` are channel counts; ``residual`` needs them equal.

        Raises:
            ValueError: a residual between different widths.
        """
        super().__init__()
        if residual and c_in != c_out:
            raise ValueError(f"DepthwiseSeparable: residual needs equal widths, got {c_in} and {c_out}")
        self.depthwise = nn.Sequential(*conv_bn(c_in, c_in, groups=c_in))
        self.pointwise = nn.Sequential(*conv_bn(c_in, c_out, kernel=1))
        self.residual = residual

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, c_in, H, W) to (N, c_out, H, W)."""
        y_NCHW = self.pointwise(self.depthwise(x_NCHW))
        return F.relu(x_NCHW + y_NCHW if self.residual else y_NCHW)


class SqueezeExcitation(nn.Module):
    """Channel gate: global mean, Linear C to 2C, GLU, Linear C to C, sigmoid, product with the input.

    Sources: Hu et al., Squeeze-and-Excitation Networks, https://arxiv.org/abs/1709.01507; the GLU in place of
    ReLU from Dauphin et al., https://arxiv.org/abs/1612.08083.
    """

    def __init__(self, channels: int) -> None:
        """``channels`` is C, the width of the input and of the gate."""
        super().__init__()
        self.expand = nn.Linear(channels, 2 * channels)
        self.gate = nn.Linear(channels, channels)

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape, each channel scaled by a factor in (0, 1)."""
        squeezed_NC = spatial_mean(x_NCHW)
        gate_NC = torch.sigmoid(self.gate(F.glu(self.expand(squeezed_NC), dim=1)))
        return (x_NCHW.permute(0, 2, 3, 1) * gate_NC[:, None, None, :]).permute(0, 3, 1, 2)


class Dropout(nn.Dropout):
    """``nn.Dropout`` that draws its mask from an explicit generator, so that a training run owns all its randomness.

    ``generator`` is set by whoever trains (see :func:`set_dropout_generator`); until then a training-mode forward
    pass refuses to draw.
    """

    generator: torch.Generator | None = None

    def forward(self, x: Tensor) -> Tensor:
        """Any shape to the same shape; the identity in evaluation mode or at ``p`` = 0.

        Raises:
            RuntimeError: training mode without a generator.
        """
        if not self.training or self.p == 0.0:
            return x
        if self.generator is None:
            raise RuntimeError("Dropout: no generator set; call set_dropout_generator(model, generator) first")
        kept = torch.rand(x.shape, generator=self.generator, device=x.device) >= self.p
        return x * kept / (1.0 - self.p)


def set_dropout_generator(model: nn.Module, generator: torch.Generator | None) -> None:
    """Give every Dropout of ``model`` the generator to draw from, or take it away with ``None``."""
    for module in model.modules():
        if isinstance(module, Dropout):
            module.generator = generator


@torch.no_grad()
def initialise(model: nn.Module, generator: torch.Generator) -> None:
    """Draw all convolution and linear weights anew, in module order, so that only ``generator`` decides them.

    Uniform of half-width 1/sqrt(fan_in), which is what PyTorch's own layers start with.
    """
    for module in model.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            nn.init.kaiming_uniform_(module.weight, a=math.sqrt(5), generator=generator)
            if module.bias is not None:
                bound = 1 / math.sqrt(module.weight[0].numel())
                nn.init.uniform_(module.bias, -bound, bound, generator=generator)
