"""What of a picture is ground, that is paper, desk, light and shadow, and what stands out from it as ink."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from typing import TypeVar

    from numpy.typing import NDArray

    from mnist_dvc.image.decode import Raster

    T = TypeVar("T", bound=np.generic)

__all__ = ["LEAST_CONTRAST", "Ground", "Ink", "above_background", "filled", "grounded"]

FILLED_SIDE = 32
"""Pixels: on pictures with no longer side, hollows of digits are no sign of paper."""
TINY = 16
"""Pixels: on a side no longer, a digit may cover most of the border, and only the corners are ground."""
UNEVEN_SIDE = 64
"""Pixels: on pictures with a shorter side below, light has no room to change."""
LEAST_CONTRAST = 24.0
NOISE_DEVIATIONS = 6.0
"""So many standard deviations are exceeded by chance once in 500 million pixels."""
DEVIATION_OF_MEDIAN = 1.4826
"""Standard deviation over median absolute deviation, for normal noise."""
SLAB = 0.4
"""Of the shorter side: what is thicker is no stroke, but paper, a desk or a bar."""
MOST = 0.5
"""Share of a picture that ink covers at most."""
BROADEST = 0.33
"""Of the shorter side: what is narrower is taken for ink where the ground is uneven."""
UNEVEN = 0.1
"""Fraction of the contrast by which the levels of an even ground differ."""
NOISE_LEFT = 0.5
"""Fraction of the noise that may be left after smoothing."""
INKED = 0.7
"""Fraction of the contrast from which on it is ink that reaches the border."""
BETWEEN = 0.12
"""Share of an even border that is neither ground nor ink: the edges of strokes."""
ALONG = 0.85
"""Share of a side that ink covers; more is a desk or a shadow."""
OPPOSITE = 0.02
"""Share of an even picture that may stand out to the other side."""
DARKEST = 0.25
"""Of the brightest ground: below, what shows is the noise of black bars and the camera, not ink in a shadow."""
LUMINANCE = np.array([0.299, 0.587, 0.114], np.float32)
"""Of red, green and blue, as Pillow weighs them (ITU-R 601-2)."""
GREYEST = 12
"""Levels between red, green and blue in a grey picture, after compression."""
COLOURED = 2.0
"""So many times more than luminance another direction of colour must tell ink from paper."""
SAMPLE = 2**16
"""Pixels that tell the colours of a picture."""


@dataclass(frozen=True, slots=True)
class Ink:
    """What stands out from the ground.

    ``ink_HW`` (H, W) float32 is how far it does, 0 to 255; ``noise`` how much of that the ground itself reaches;
    ``inverted`` tells that it is dark on light; ``uneven`` that the ground has no one level.
    """

    ink_HW: NDArray[np.float32]
    noise: float
    inverted: bool
    uneven: bool


@dataclass(frozen=True, slots=True)
class Ground:
    """A picture's levels ``grey_HW`` (H, W) float32, and the ink on it if its ground is of one level, ``plain``.

    ``even`` tells whether it is; ``doubtful``, that ink may as well be of the other polarity.
    """

    grey_HW: NDArray[np.float32]
    plain: Ink
    even: bool
    doubtful: bool


def grounded(raster: Raster) -> Ground:
    """The ground of a picture, and what stands out from it."""
    grey_HW = _telling(raster)
    levelled_HW = _levelled(grey_HW)
    level, noise = _ground(levelled_HW)
    dark = level > (float(levelled_HW.min()) + float(levelled_HW.max())) / 2
    plain = _plain(levelled_HW, level, noise, inverted=dark)
    contrast, shorter = float(plain.ink_HW.max()), min(grey_HW.shape)
    even = shorter < UNEVEN_SIDE or not _uneven(levelled_HW, level, contrast, inverted=dark)
    return Ground(grey_HW, plain, even, not even or (shorter > TINY and _is_paper(plain.ink_HW > contrast / 2)))


def _telling(raster: Raster) -> NDArray[np.float32]:
    """Luminance, or where ink and paper hardly differ in that, the direction of colour in which they do; (H, W)."""
    colour_HWC = raster.colour_HWC
    if colour_HWC is None:
        return raster.grey_HW
    height, width, _ = colour_HWC.shape
    step = max(1, int(np.sqrt(height * width / SAMPLE)))
    sample_MC = colour_HWC[::step, ::step].reshape(-1, 3).astype(np.float32)
    if np.ptp(sample_MC, axis=1).max() <= GREYEST:
        return raster.grey_HW
    spread_CC = np.cov(sample_MC - np.median(sample_MC, axis=0), rowvar=False)
    direction_C = np.linalg.eigh(spread_CC).eigenvectors[:, -1].astype(np.float32)
    direction_C /= np.abs(direction_C).sum()
    other, usual = (float(d_C @ spread_CC @ d_C) for d_C in (direction_C, LUMINANCE))
    if other <= COLOURED**2 * usual:
        return raster.grey_HW
    telling_HW: NDArray[np.float32] = colour_HWC.astype(np.float32) @ direction_C
    telling_HW -= telling_HW.min()
    return telling_HW


def _levelled(grey_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without a slope of the light from side to side, if its border shows one, as in most photos."""
    height, width = grey_HW.shape
    if min(height, width) < UNEVEN_SIDE:
        return grey_HW
    down = np.median(grey_HW[-1]) - np.median(grey_HW[0])
    across = np.median(grey_HW[:, -1]) - np.median(grey_HW[:, 0])
    rows_H, columns_W = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in (height, width))
    levelled_HW = grey_HW - rows_H[:, None] * down - columns_W * across
    # Where ink touches a side there seems to be a slope, too, but taking it away makes the border no more even.
    return levelled_HW if _ground(levelled_HW)[1] < _ground(grey_HW)[1] / 2 else grey_HW


def _ground(grey_HW: NDArray[np.float32]) -> tuple[float, float]:
    """Level and noise of the ground: the border's median, as a digit covers less than half of it, and its spread."""
    border_M = _border(grey_HW)
    level = float(np.median(border_M))
    deviation = DEVIATION_OF_MEDIAN * float(np.median(np.abs(border_M - level)))
    if max(grey_HW.shape) <= TINY:
        level = float(np.median(grey_HW[:: max(1, len(grey_HW) - 1), :: max(1, grey_HW.shape[1] - 1)]))
        deviation = 0.0
    return level, NOISE_DEVIATIONS * deviation


def _border(grey_HW: NDArray[T]) -> NDArray[T]:
    return np.concatenate([grey_HW[0], grey_HW[-1], grey_HW[:, 0], grey_HW[:, -1]])


def _plain(grey_HW: NDArray[np.float32], level: float, noise: float, *, inverted: bool) -> Ink:
    """The distance from one level."""
    return Ink(np.maximum(level - grey_HW if inverted else grey_HW - level, 0), noise, inverted, uneven=False)


def _is_paper(mask_HW: NDArray[np.bool_]) -> bool:
    """Whether what looks like ink covers most of the picture, or has room for a large square."""
    side = round(SLAB * min(mask_HW.shape))
    whole_HW = filled(mask_HW) if max(mask_HW.shape) > FILLED_SIDE else mask_HW
    return bool(mask_HW.mean() > MOST or ndimage.minimum_filter(whole_HW.astype(np.uint8), side, mode="constant").any())


def filled(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask (H, W) with its holes; many times faster than SciPy's own."""
    labels_HW, count = ndimage.label(~mask_HW)
    outside_N = np.zeros(count + 1, bool)
    outside_N[_border(labels_HW)] = True
    outside_N[0] = False
    whole_HW: NDArray[np.bool_] = ~outside_N[labels_HW]
    return whole_HW


def _uneven(grey_HW: NDArray[np.float32], level: float, contrast: float, *, inverted: bool) -> bool:
    """Whether the border has other levels than the ground's and the ink's, or the inside is beyond the ground's."""
    smooth_HW = ndimage.gaussian_filter(grey_HW, 2)  # or noise would be taken for light
    beyond_HW = smooth_HW - level if inverted else level - smooth_HW
    slack = max(UNEVEN * contrast, NOISE_LEFT * float(np.abs(grey_HW - smooth_HW).mean()))
    if (beyond_HW > slack).mean() > OPPOSITE:
        return True
    sides = [-side_M for side_M in (beyond_HW[0], beyond_HW[-1], beyond_HW[:, 0], beyond_HW[:, -1])]
    border_M = np.concatenate(sides)
    off_M = np.abs(border_M) > slack
    if max((np.abs(side_M) > slack).mean() for side_M in sides) < ALONG:
        off_M &= border_M < INKED * contrast
    return bool(off_M.mean() > BETWEEN)


def above_background(ground: Ground, *, inverted: bool) -> Ink:
    """The distance from the level that the ground has at each place, if all that is narrow is ink."""
    grey_HW = ground.grey_HW
    size = max(3, round(BROADEST * min(grey_HW.shape)))
    grey_HW = ndimage.gaussian_filter(grey_HW, 1)  # or noise would lift the background
    if inverted:
        background_HW = ndimage.minimum_filter(ndimage.maximum_filter(grey_HW, size), size)
        floor = max(1.0, DARKEST * float(background_HW.max()))
        ink_HW = (background_HW - grey_HW) / np.maximum(background_HW, floor) * 255
    else:
        background_HW = ndimage.maximum_filter(ndimage.minimum_filter(grey_HW, size), size)
        ink_HW = grey_HW - background_HW
    level = float(np.median(ink_HW))
    ink_HW = np.maximum(ink_HW - level, 0)
    return Ink(ink_HW, _otsu(ink_HW), inverted, uneven=True)


def _otsu(ink_HW: NDArray[np.float32]) -> float:
    """The level that parts two classes whose means differ most (Otsu, 1979)."""
    counts_M, edges_M = np.histogram(ink_HW, 256)
    middles_M = (edges_M[:-1] + edges_M[1:]) / 2
    below_M = np.cumsum(counts_M)
    sums_M = np.cumsum(counts_M * middles_M)
    above_M = below_M[-1] - below_M
    between_M = (below_M[-1] * sums_M - below_M * sums_M[-1]) ** 2 / np.maximum(below_M * above_M, 1)
    return float(middles_M[np.argmax(between_M)])
