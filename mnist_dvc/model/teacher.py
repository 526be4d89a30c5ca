"""The teacher: ten times the budget, so never shipped; it says how sure one may be of each distorted digit."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from mnist_dvc.model.blocks import Dropout, MaximumAndMean, PooledConv, ResidualConv, conv_bn

__all__ = ["TeacherNet"]


class TeacherNet(nn.Sequential):
    """Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10); 217,322 parameters."""

    def __init__(self, dropout: float) -> None:
        """``dropout`` in [0, 1) acts on the 128 pooled features, just before the classifier."""
        super().__init__(
            OrderedDict(
                stem=PooledConv(1, 32, 5),
                # Three narrow residual blocks at each resolution err a seventh less on the digits of new writers than
                # one of 64 and one of 96 channels, at as many parameters.
                wide=nn.Sequential(*conv_bn(32, 48), nn.ReLU(inplace=True), *(ResidualConv(48) for _ in range(3))),
                deep=nn.Sequential(
                    nn.MaxPool2d(2),
                    *conv_bn(48, 64),
                    nn.ReLU(inplace=True),
                    *(ResidualConv(64) for _ in range(3)),
                ),
                head=nn.Sequential(MaximumAndMean(), Dropout(dropout), nn.Linear(2 * 64, 10)),
            )
        )
