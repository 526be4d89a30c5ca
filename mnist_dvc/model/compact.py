"""The compact networks: dense convolutions that pool early, one shape in five sizes.

At equal parameters, dense convolutions on small maps train several times faster than depthwise ones on large maps,
because the time goes into bytes moved and operations started, not into multiply-adds.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

from torch import nn

from mnist_dvc.model.blocks import Dropout, MaximumAndMean, PooledConv, ResidualConv

__all__ = ["COMPACT", "SIZES", "CompactNet", "Size"]


@dataclass(frozen=True, slots=True)
class Size:
    """Channels at 14x14 and at 7x7, and the residual blocks at each of the two resolutions."""

    wide: int
    deep: int
    wide_blocks: int = 2
    deep_blocks: int = 1


COMPACT = Size(16, 32)
"""19,706 parameters. Multiples of 16 fill the vector registers: 20 channels cost a CPU twice the time of 16."""
SIZES = {
    "compact-1k": Size(4, 8, deep_blocks=0),
    "compact-2k5": Size(6, 9),
    "compact-5k": Size(8, 15),
    "compact-10k": Size(11, 22),
}
"""Smaller ones, each just below the number of parameters in its name."""


class CompactNet(nn.Sequential):
    """Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10)."""

    def __init__(self, size: Size, dropout: float) -> None:
        """``dropout`` in [0, 1) acts on the pooled features, just before the classifier."""
        super().__init__(
            OrderedDict(
                stem=PooledConv(1, size.wide, 5),
                wide=nn.Sequential(*(ResidualConv(size.wide) for _ in range(size.wide_blocks))),
                shrink=PooledConv(size.wide, size.deep, 3),
                deep=nn.Sequential(*(ResidualConv(size.deep) for _ in range(size.deep_blocks))),
                head=nn.Sequential(MaximumAndMean(), Dropout(dropout), nn.Linear(2 * size.deep, 10)),
            )
        )
