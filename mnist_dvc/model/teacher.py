"""The teacher: ten times the budget, so never shipped; it says how sure one may be of each distorted digit."""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from mnist_dvc.model.blocks import Dropout, MaximumAndMean, PooledConv, ResidualConv, conv_bn

__all__ = ["TeacherNet"]


class TeacherNet(nn.Sequential):
    """Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10); 196,970 parameters."""

    def __init__(self, dropout: float) -> None:
        """``dropout`` in [0, 1) acts on the 192 pooled features, just before the classifier."""
        super().__init__(
            OrderedDict(
                stem=PooledConv(1, 32, 5),
                wide=nn.Sequential(*conv_bn(32, 64), nn.ReLU(inplace=True), ResidualConv(64)),
                deep=nn.Sequential(nn.MaxPool2d(2), *conv_bn(64, 96), nn.ReLU(inplace=True), ResidualConv(96)),
                head=nn.Sequential(MaximumAndMean(), Dropout(dropout), nn.Linear(2 * 96, 10)),
            )
        )
