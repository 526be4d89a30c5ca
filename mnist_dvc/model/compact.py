"""The compact network: a few dense convolutions that pool early, made for speed on a CPU.

At equal parameters, dense convolutions on small maps train several times faster than depthwise ones on large maps,
because the time goes into bytes moved and operations started, not into multiply-adds.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import Tensor, nn
from torch.nn import functional as F

from mnist_dvc.model.blocks import Dropout, conv_bn

__all__ = ["CompactNet"]


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


class CompactNet(nn.Sequential):
    """Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10); 19,386 trainable parameters."""

    def __init__(self, dropout: float) -> None:
        """``dropout`` in [0, 1) acts on the 32 pooled features, just before the classifier."""
        # Multiples of 16 fill the vector registers: 20 channels cost a CPU twice the time of 16, not 1.25 times.
        super().__init__(
            OrderedDict(
                stem=PooledConv(1, 16, 5),
                mix=nn.Sequential(*conv_bn(16, 16), nn.ReLU(inplace=True)),
                shrink=PooledConv(16, 16, 3),
                deepen=nn.Sequential(*conv_bn(16, 32), nn.ReLU(inplace=True)),
                refine=ResidualConv(32),
                head=nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), Dropout(dropout), nn.Linear(32, 10)),
            )
        )
