"""Ink to 28 x 28 pixels, scaled and centred as MNIST's makers did (http://yann.lecun.com/exdb/mnist)."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage

from mnist_dvc.data.arrays import SIDE

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["INK_SIDE", "fitted"]

WHITE = 255.0
FULL_INK = 254.0
"""A tenth of MNIST's images reach no more than this, and should come through as they are."""
INK_SIDE = 20
"""Height or width of the ink in pixels, whichever is larger, in all but 13 of MNIST's 60,000 training images."""
THINNEST = 0.03
"""Width of a stroke, as a fraction of the ink's longer side, below which scaling leaves crumbs of it."""
THICKENED = 0.075
"""What such strokes are made: the thinner ones of MNIST are as wide."""


def fitted(ink_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The ink, cut out to its box, on 28 x 28 pixels: its box fits into 20 x 20, its centre of mass in the middle."""
    return _centred(_scaled(_thickened(ink_HW)))


def _thickened(ink_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """The ink with strokes that survive the scaling; only those drawn with a hair of a line are changed."""
    longer = max(ink_HW.shape)
    wanted = THICKENED * longer
    if longer * THINNEST < 1:
        return ink_HW
    mask_HW = np.pad(ink_HW > ink_HW.max() / 4, 1)
    edge_HW = mask_HW & ~ndimage.binary_erosion(mask_HW)
    width = 2 * float(mask_HW.sum()) / float(edge_HW.sum())
    if width >= THINNEST * longer:
        return ink_HW
    reach = math.ceil((wanted - width) / 2)
    thick_HW: NDArray[np.float32] = ndimage.maximum_filter(np.pad(ink_HW, reach), size=2 * reach + 1)
    return thick_HW


def _scaled(ink_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The ink with its longer side at 20 pixels, anti-aliased, the darkest at 255.

    Of Pillow's filters, Hamming came closest to training images that had been enlarged before; bicubic ones gave most
    right answers on digits of 8 x 8.
    """
    height, width = ink_HW.shape
    scale = INK_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size != (width, height):
        method = Image.Resampling.BICUBIC if scale > 1 else Image.Resampling.HAMMING
        ink_HW = np.asarray(Image.fromarray(ink_HW).resize(size, method)).clip(0)
    darkest = float(ink_HW.max())
    if not FULL_INK <= darkest <= WHITE:
        ink_HW = ink_HW * (WHITE / darkest)
    return np.rint(ink_HW).astype(np.uint8)


def _centred(ink_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The ink on 28 x 28 pixels, its centre of mass at 14 of 0 to 27, to the nearest pixel, and nothing cut off."""
    height, width = ink_HW.shape
    top, left = _start(ink_HW.sum(axis=1)), _start(ink_HW.sum(axis=0))
    pixels_HW = np.zeros((SIDE, SIDE), np.uint8)
    pixels_HW[top : top + height, left : left + width] = ink_HW
    return pixels_HW


def _start(mass_M: NDArray[np.unsignedinteger]) -> int:
    """Where a row or column of masses starts among the 28 pixels.

    In all but a few of MNIST's training images the centre lies in [13.5, 14.5), hence the rounding.
    """
    centre = float((mass_M * np.arange(len(mass_M))).sum() / mass_M.sum())
    return min(max(math.ceil(SIDE / 2 - 0.5 - centre), 0), SIDE - len(mass_M))
