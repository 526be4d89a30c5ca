"""A picture to the digit or the digits in it, each as MNIST has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

from mnist_dvc.errors import ImageError
from mnist_dvc.files import read_regular
from mnist_dvc.image.bounds import leaving_nothing
from mnist_dvc.image.decode import KINDS, LARGEST_FILE, rastered
from mnist_dvc.image.fitting import INK_SIDE, fitted
from mnist_dvc.image.ground import LEAST_CONTRAST, above_background, grounded
from mnist_dvc.image.lines import without_hairs, without_lines
from mnist_dvc.image.pieces import SMALL, Mark, box_of, found_digits

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from mnist_dvc.image.decode import Raster
    from mnist_dvc.image.ground import Ink

__all__ = ["Picture", "parse_digits", "parse_drawing", "parse_picture", "picture_bytes", "read_digits", "read_picture"]

SMALLEST_INK = 7
"""The height of digits in the smallest fonts."""
SMALLEST_PART = 0.02
"""Of the picture's longer side: a smaller piece is a grain."""
STRONG = 0.5
"""Of the darkest ink, that strokes have and the lines of squared paper hardly."""
LINED = 1.15
"""So much longer a digit gets by thin lines that are no part of it."""
SOLID = 0.6
"""Of the box that a grain fills, unlike most strokes."""
FILLED = 0.72
"""Of the box that paper with a digit on it fills, unlike the boldest strokes."""
HOLLOW = 0.2
"""Of the box that ink covers, unless it is a rim."""
LEAST_SHARP = 0.7
"""Share of ink's edge that is sharp; less is light."""
SHARP = 0.3
"""Of the sharpest of its edges, that ink has all round."""
FAINT = 0.15
"""Fraction of the darkest ink below which compression and scaling leave traces; chosen on training images."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A digit as MNIST has them: ``pixels_HW`` (28, 28) uint8, 0 background to 255 ink.

    ``inverted`` tells that the file showed dark ink on a light ground; ``box`` is where its ink lies in the upright
    picture: left, top, right and bottom in pixels, the last two exclusive.
    """

    pixels_HW: NDArray[np.uint8]
    inverted: bool
    box: tuple[int, int, int, int]


def read_picture(path: Path) -> Picture:
    """The digit in the file ``path``.

    Raises:
        ImageError: as ``parse_picture``, or the file is missing, not a regular one, or may not be read.
    """
    return parse_picture(picture_bytes(path), path)


def read_digits(path: Path) -> tuple[Picture, ...]:
    """The digits in the file ``path``, line by line and from left to right.

    Raises:
        ImageError: as ``parse_digits``, or the file is missing, not a regular one, or may not be read.
    """
    return parse_digits(picture_bytes(path), path)


@leaving_nothing
def parse_picture(content: bytes, where: object) -> Picture:
    """The one digit in the bytes of a picture file; ``where`` they come from is for errors.

    Raises:
        ImageError: too large, no picture of these kinds, damaged, animated, blank, without ink of a digit's size, or
            with several digits.
    """
    raster = rastered(content, where)
    ink, marks = _digits(raster, where)
    if len(marks) > 1:
        raise ImageError(where, "digits", got=len(marks), expected="one: `predict --many` reads several")
    return _picture(ink, marks[0], raster)


@leaving_nothing
def parse_digits(content: bytes, where: object) -> tuple[Picture, ...]:
    """The digits in the bytes of a picture file, at least one, line by line and from left to right.

    Digits that touch count as one.

    Raises:
        ImageError: too large, no picture of these kinds, damaged, animated, blank, or without ink of a digit's size.
    """
    raster = rastered(content, where)
    ink, marks = _digits(raster, where)
    return tuple(_picture(ink, mark, raster) for mark in marks)


@leaving_nothing
def parse_drawing(content: bytes, where: object) -> Picture:
    """The digit in the bytes of a drawing: all of its ink, in however many pieces, as on paper of one level.

    Raises:
        ImageError: as ``parse_picture``, but for several digits.
    """
    raster = rastered(content, where)
    ink = grounded(raster).plain
    _refuse_blank(ink, where)
    mask_HW = ink.ink_HW > max(ink.noise, FAINT * float(ink.ink_HW.max()))
    box = box_of(mask_HW)
    if box.longer < SMALLEST_INK:
        raise _too_small(where, f"{box.width} x {box.height}", SMALLEST_INK)
    return _picture(ink, Mark(box, mask_HW[box.slices], mask_HW.shape), raster)


def _too_small(where: object, got: str, least: float) -> ImageError:
    return ImageError(where, "pixels of ink", got=got, expected=f"at least {least:.0f} one way: no digit")


def _refuse_blank(ink: Ink, where: object) -> None:
    contrast, least = float(ink.ink_HW.max()), max(LEAST_CONTRAST, ink.noise)
    if contrast <= least:
        raise ImageError(where, "contrast", got=f"{contrast:.0f} of 255", expected=f"more than {least:.0f}: no digit")


def _digits(raster: Raster, where: object) -> tuple[Ink, list[Mark]]:
    """The ink of a picture, and what of it is each digit, of which there is at least one.

    Raises:
        ImageError: nothing stands out, or nothing of a digit's size.
    """
    ink, marks = _found(raster, where)
    least = max(SMALLEST_INK, SMALLEST_PART * max(ink.ink_HW.shape))
    digits = [mark for mark in marks if not _is_grain(mark, least)]
    if not digits:
        largest = max((mark.box for mark in marks), key=lambda box: box.longer, default=None)
        got = f"{largest.width} x {largest.height}" if largest else "none but lines and grains"
        raise _too_small(where, got, least)
    return ink, digits


def _found(raster: Raster, where: object) -> tuple[Ink, list[Mark]]:
    """The ink of a picture, and what of it is a digit, for each.

    Raises:
        ImageError: nothing stands out.
    """
    ground = grounded(raster)
    plain = ground.plain
    if ground.even:
        _refuse_blank(plain, where)
    marks = _marks(plain, lossy=raster.lossy) if ground.even else []
    told = not ground.doubtful and (max(raster.size) <= SMALL or any(_standing_out(m, raster) for m in marks))
    if not told:
        tried = [above_background(ground, inverted=inverted) for inverted in (True, False)]
        (score, found), ink = max(((_best(ink, raster), ink) for ink in tried), key=lambda one: one[0][0])
        # What the border cuts is no paper on a desk, but may be a digit that was cut out closely.
        cut = max((_standing_out(m, raster) for m in marks if _is_cut(m)), default=0.0)
        if score > cut and not (ground.even and ink.inverted == plain.inverted):
            return ink, found
    return plain, marks


def _is_cut(mark: Mark) -> bool:
    """Whether the border cuts the ink, and it is no paper between black bars."""
    return mark.at_border and mark.area <= FILLED * mark.box.area


def _best(ink: Ink, raster: Raster) -> tuple[float, list[Mark]]:
    """How well the likeliest digit in the ink stands out, 0 for not at all, and those that do."""
    scored = [(_standing_out(mark, raster), mark) for mark in _marks(ink, lossy=raster.lossy)]
    return max((score for score, _ in scored), default=0.0), [mark for score, mark in scored if score]


def _is_grain(mark: Mark, least: float) -> bool:
    """Whether a piece is too small for a digit, or a small and solid one."""
    solid = mark.area >= SOLID * mark.box.area and max(mark.page) > SMALL
    return mark.box.longer < (least * 2 if solid else least)


def _marks(ink: Ink, *, lossy: bool) -> list[Mark]:
    """What of the ink is a digit, for each.

    A lossless picture with ink no larger than MNIST's keeps even the faintest; any other was compressed or scaled,
    or will be scaled.
    """
    if ink.ink_HW.max() <= max(LEAST_CONTRAST, ink.noise):
        return []
    mask_HW = ink.ink_HW > ink.noise
    if lossy or ink.uneven or box_of(mask_HW).longer > INK_SIDE:
        mask_HW = ink.ink_HW > max(ink.noise, FAINT * float(ink.ink_HW.max()))
    if max(mask_HW.shape) <= SMALL:
        return found_digits(mask_HW, page=True)
    mask_HW = without_lines(mask_HW)
    marks = found_digits(mask_HW, page=not ink.uneven)
    if ink.uneven:
        return marks
    bold_HW = without_hairs(mask_HW, ink.ink_HW > STRONG * float(ink.ink_HW.max()))
    if bold_HW is None:
        return marks
    bold = found_digits(bold_HW, page=True)
    return bold if _longest(bold) and not _longest(bold) <= _longest(marks) <= LINED * _longest(bold) else marks


def _longest(marks: list[Mark]) -> int:
    return max((mark.box.longer for mark in marks), default=0)


def _standing_out(mark: Mark, raster: Raster) -> float:
    """How likely it is ink, in a number to compare: it has sharp edges all round, unlike light, and encloses more.

    What looks like ink of the other polarity are the paper on a desk, the hollows of digits, and gaps between them and
    the paper's edge, which end in the midst of nothing.
    """
    box, area = mark.box, mark.area
    if area > FILLED * box.area and min(box.height, box.width) > box.longer / 2:
        return 0.0
    place, inside_HW = mark.around(2)
    grey_HW = raster.grey_HW[place]
    edge_HW = inside_HW & ~ndimage.binary_erosion(inside_HW, border_value=1)
    change_M = (ndimage.maximum_filter(grey_HW, 5) - ndimage.minimum_filter(grey_HW, 5))[edge_HW]
    sharpest = float(np.quantile(change_M, 0.9))
    if sharpest < LEAST_CONTRAST:
        return 0.0
    sharp = float((change_M >= SHARP * sharpest).mean())
    if sharp < LEAST_SHARP:
        return 0.0
    return float(box.area**0.75 * sharp**16 * min(1, area / box.area / HOLLOW) ** 2)


def _picture(ink: Ink, mark: Mark, raster: Raster) -> Picture:
    box = mark.box
    pixels_HW = fitted(np.where(mark.inked_HW, ink.ink_HW[box.slices], 0))
    across, down = (full / reduced for full, reduced in zip(raster.size, mark.page[::-1], strict=True))
    corners = box.left * across, box.top * down, box.right * across, box.bottom * down
    left, top, right, bottom = (round(corner) for corner in corners)
    return Picture(pixels_HW, ink.inverted, (left, top, right, bottom))


def picture_bytes(path: Path) -> bytes:
    """The bytes of a picture file, at most ``LARGEST_FILE`` of them.

    Raises:
        ImageError: it is missing, not a regular one, too large, or may not be read.
    """
    try:
        return read_regular(path, LARGEST_FILE, ImageError, KINDS)
    except OSError as error:
        raise ImageError(path, "file", got=error.strerror, expected="one that can be read") from error
