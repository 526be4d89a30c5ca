"""The loop network: two dense kernels, each gone through four times, so that 20,000 parameters make ten layers.

At a given number of parameters depth is worth more than width (Eigen et al., Understanding Deep Architectures using a
Recursive Convolutional Network, https://arxiv.org/abs/1312.1847), and a kernel used again is depth for the price of its
BatchNorm, which each use has to itself (Köpüklü et al., Convolutional Neural Networks with Layer Reuse,
https://arxiv.org/abs/1901.09615).
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

from torch import nn
from torch.nn import functional as F

from mnist_dvc.model.blocks import Dropout, MaximumAndMean, PooledConv

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["LoopNet"]

CHANNELS = 32
TIMES = 4


class _RepeatedConv(nn.Module):
    """Residual 3x3 convolutions of one kernel: x becomes relu(x + BatchNorm_t(conv(x))) for t = 1 to ``times``."""

    def __init__(self, channels: int, times: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.norms = nn.ModuleList(nn.BatchNorm2d(channels) for _ in range(times))

    def forward(self, x_NCHW: Tensor) -> Tensor:
        """(N, C, H, W) to the same shape."""
        for norm in self.norms:
            x_NCHW = F.relu(x_NCHW + norm(self.conv(x_NCHW)))
        return x_NCHW


class LoopNet(nn.Sequential):
    """Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10); 19,946 parameters."""

    def __init__(self, dropout: float) -> None:
        """``dropout`` in [0, 1) acts on the 64 pooled features, just before the classifier."""
        super().__init__(
            OrderedDict(
                stem=PooledConv(1, CHANNELS, 3),
                wide=_RepeatedConv(CHANNELS, TIMES),
                shrink=nn.MaxPool2d(2),
                deep=_RepeatedConv(CHANNELS, TIMES),
                head=nn.Sequential(MaximumAndMean(), Dropout(dropout), nn.Linear(2 * CHANNELS, 10)),
            )
        )
