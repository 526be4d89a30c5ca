"""The reference network: depthwise-separable convolutions in three stages with squeeze-and-excitation.

Exactly 19,392 trainable parameters; widths 1, 16, 24, 28, 32, 36, 40, 48. The first convolution sees all 28 x 28
pixels, stage one works on 14 x 14, stages two and three on 7 x 7.
"""

from __future__ import annotations

from collections import OrderedDict

from torch import nn

from mnist_dvc.model.blocks import DepthwiseSeparable, Dropout, SqueezeExcitation, conv_bn

__all__ = ["ReferenceNet"]


def _transition(c_in: int, c_middle: int, c_out: int, *, halve: bool) -> nn.Sequential:
    """Two 1x1 convolutions with BatchNorm and ReLU; ``halve`` puts a 2x2 maximum before them."""
    layers: list[nn.Module] = [nn.MaxPool2d(2)] if halve else []
    layers += [*conv_bn(c_in, c_middle, 1), nn.ReLU(inplace=True)]
    layers += [*conv_bn(c_middle, c_out, 1), nn.ReLU(inplace=True)]
    return nn.Sequential(*layers)


class ReferenceNet(nn.Sequential):
    """Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10)."""

    def __init__(self, dropout: float) -> None:
        """``dropout`` in [0, 1) acts on the 48 pooled features, just before the classifier."""
        super().__init__(
            OrderedDict(
                # Pooling this early and again in transition1 keeps the costly large maps short: on a CPU, 1.6 times
                # the images per second of pooling here and in transition2, at the same validation accuracy.
                convblock1=nn.Sequential(
                    nn.Conv2d(1, 16, 3, padding=1, bias=False),
                    nn.MaxPool2d(2),
                    nn.BatchNorm2d(16),
                    nn.ReLU(inplace=True),
                ),
                se1=SqueezeExcitation(16),
                convblock2=DepthwiseSeparable(16, 16, residual=True),
                transition1=_transition(16, 20, 24, halve=True),
                convblock3=DepthwiseSeparable(24, 28),
                se2=SqueezeExcitation(28),
                convblock4=DepthwiseSeparable(28, 28, residual=True),
                transition2=_transition(28, 32, 32, halve=False),
                convblock5=DepthwiseSeparable(32, 36),
                se3=SqueezeExcitation(36),
                convblock6=DepthwiseSeparable(36, 40),
                convblock7=DepthwiseSeparable(40, 48),
                convblock8=nn.Sequential(
                    nn.AdaptiveMaxPool2d(1), Dropout(dropout), nn.Conv2d(48, 10, 1, bias=False), nn.Flatten()
                ),
            )
        )
