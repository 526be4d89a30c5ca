"""Which pieces of the ink make up digits: not frames, specks, neighbours cut by the border, nor the page's edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SMALL", "Box", "box_of", "found_digits"]

SMALL = 32
"""Pixels: a picture with no longer side is one digit, as MNIST's are, faint parts and specks of it included."""
EVERYWHERE = np.ones((3, 3), int)
"""Diagonal neighbours belong to one piece."""
SPECK = 0.03
"""Of the area of the digit."""
JOINED = 0.06
"""Of the height of the tallest piece: across narrower gaps a stroke goes on."""
NEAR = 0.25
"""Of the digit's height: what is farther away is not part of it."""
LOCKED = 0.3
"""Of the width of the narrower piece."""
STACKED = 0.15
"""Of the height of the taller piece; lines are farther apart."""
DIGIT_SIZED = 0.5
"""Of the tallest: what is lower is part of a digit, or none."""
INSIDE = 0.25
"""Of a frame's longer side: what lies within and is longer makes it a frame, and no digit."""
SPANNING = 0.9
"""Of a side of the picture."""
INSIDE_PICTURE = 0.15
"""Of the picture's shorter side: a piece that the border does not cut and that is longer is a digit."""
MOST_PIECES = 500
"""The largest; a picture with more shows noise."""
INNER = 0.1
"""Of the area of pieces at the border: a smaller one inside does not make them neighbours."""


class Box(NamedTuple):
    """Rows and columns, the last ones exclusive."""

    top: int
    left: int
    bottom: int
    right: int

    @property
    def height(self) -> int:
        """Rows."""
        return self.bottom - self.top

    @property
    def width(self) -> int:
        """Columns."""
        return self.right - self.left

    @property
    def longer(self) -> int:
        """The height or the width."""
        return max(self.height, self.width)

    @property
    def area(self) -> int:
        """Pixels inside."""
        return self.height * self.width

    @property
    def slices(self) -> tuple[slice, slice]:
        """Of an array (H, W)."""
        return slice(self.top, self.bottom), slice(self.left, self.right)

    def gap(self, other: Box) -> int:
        """Rows or columns between the two, whichever are more; negative where they overlap."""
        return max(self.gap_across(other), self.gap_down(other))

    def gap_across(self, other: Box) -> int:
        """Columns between the two; negative where they overlap."""
        return max(self.left, other.left) - min(self.right, other.right)

    def gap_down(self, other: Box) -> int:
        """Rows between the two; negative where they overlap."""
        return max(self.top, other.top) - min(self.bottom, other.bottom)

    def holds(self, other: Box) -> bool:
        """Whether the other lies inside, touching no side."""
        return (
            self.top < other.top and self.left < other.left and self.bottom > other.bottom and self.right > other.right
        )


def box_of(mask_HW: NDArray[np.bool_]) -> Box:
    """From the first row and column with ink to the last; there is some."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


class Piece(NamedTuple):
    """Connected ink: its label, where it is, and how many pixels it has."""

    label: int
    box: Box
    area: int


def found_digits(mask_HW: NDArray[np.bool_], *, page: bool) -> list[NDArray[np.bool_]]:
    """A mask (H, W) of each digit in a mask of ink, line by line and from left to right; none, where there is none.

    A picture no larger than ``SMALL`` shows one digit; of its ink only what is cut by the border is dropped. ``page``
    tells that what reaches over a corner or along a side may be a digit, where there is nothing else.
    """
    small = max(mask_HW.shape) <= SMALL
    labels_HW, pieces = _labelled(mask_HW)
    pieces = _without_cut(labels_HW, _without_frames(labels_HW, pieces), page=page)
    if not pieces:
        return []
    kept_HW = _of(labels_HW, pieces)
    if small:
        return [kept_HW]
    groups_HW, groups = _joined(kept_HW, max(piece.box.height for piece in pieces))
    digits = _digits(groups)
    return [kept_HW & np.isin(groups_HW, [group.label for group in digit]) for digit in _in_reading_order(digits)]


def _labelled(mask_HW: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[Piece]]:
    """Labels (H, W) of connected ink, 0 for none, and its larger pieces, the largest first."""
    labels_HW, count = ndimage.label(mask_HW, EVERYWHERE)
    areas_N = np.bincount(labels_HW.ravel(), minlength=count + 1)[1:]
    boxes = ndimage.find_objects(labels_HW)
    largest = np.argsort(-areas_N, kind="stable")[:MOST_PIECES]
    return labels_HW, [Piece(int(n) + 1, _box(boxes[n]), int(areas_N[n])) for n in largest]


def _box(slices: tuple[slice, slice]) -> Box:
    rows, columns = slices
    return Box(rows.start, columns.start, rows.stop, columns.stop)


def _of(labels_HW: NDArray[np.int32], pieces: list[Piece]) -> NDArray[np.bool_]:
    """The ink of ``pieces``."""
    return np.isin(labels_HW, [piece.label for piece in pieces])


def _without_frames(labels_HW: NDArray[np.int32], pieces: list[Piece]) -> list[Piece]:
    """Without pieces in whose hollow lies another that is not much smaller."""
    return [piece for piece in pieces if not any(_frames(labels_HW, piece, other) for other in pieces)]


def _frames(labels_HW: NDArray[np.int32], piece: Piece, other: Piece) -> bool:
    if not (piece.box.holds(other.box) and other.box.longer >= INSIDE * piece.box.longer):
        return False
    part_HW = labels_HW[piece.box.slices]
    filled_HW = ndimage.binary_fill_holes(part_HW == piece.label)
    return bool(filled_HW[part_HW == other.label].all())


def _without_cut(labels_HW: NDArray[np.int32], pieces: list[Piece], *, page: bool) -> list[Piece]:
    """Without what the border of the picture cuts, where something is left that it does not."""
    height, width = labels_HW.shape
    inner = [p for p in pieces if p.box.top > 0 and p.box.left > 0 and p.box.bottom < height and p.box.right < width]
    at_border = [piece for piece in pieces if piece not in inner]
    corners = set(labels_HW[:: max(1, height - 1), :: max(1, width - 1)].ravel().tolist())
    at_page = [p for p in at_border if p.label in corners or _spans(p.box, height, width)]
    cut = [piece for piece in at_border if piece not in at_page]
    least = INNER * max((piece.area for piece in cut), default=0) if page else 0.0
    longest = INSIDE_PICTURE * min(height, width)
    if any(piece.area >= least and piece.box.longer >= longest for piece in inner):
        return inner
    if not page:
        return inner + [piece for piece in cut if piece.box.longer >= 2 * longest]
    return inner + cut if cut else inner + at_page


def _spans(box: Box, height: int, width: int) -> bool:
    """Whether a piece goes along a whole side, as lines, desks and bars do."""
    return box.height >= SPANNING * height or box.width >= SPANNING * width


def _joined(mask_HW: NDArray[np.bool_], height: int) -> tuple[NDArray[np.int32], list[Piece]]:
    """Labels (H, W) of ink that only narrow gaps separate, and its pieces."""
    reach = round(JOINED * height / 2)
    wide_HW, _ = ndimage.label(ndimage.maximum_filter(mask_HW, 2 * reach + 1), EVERYWHERE)
    labels_HW = np.where(mask_HW, wide_HW, 0)
    areas_N = np.bincount(labels_HW.ravel())
    boxes = ndimage.find_objects(labels_HW)
    return labels_HW, [Piece(n + 1, _box(box), int(areas_N[n + 1])) for n, box in enumerate(boxes) if box]


def _digits(pieces: list[Piece]) -> list[list[Piece]]:
    """The pieces of each digit: those as tall as digits, and to each what is near and no speck."""
    tallest = max(piece.box.height for piece in pieces)
    digits: list[list[Piece]] = []
    for piece in (piece for piece in pieces if piece.box.height >= DIGIT_SIZED * tallest):
        whole = next((digit for digit in digits if any(_belong(piece.box, part.box) for part in digit)), None)
        if whole is None:
            digits.append([piece])
        else:
            whole.append(piece)
    for piece in (piece for piece in pieces if piece.box.height < DIGIT_SIZED * tallest):
        digit = min(digits, key=lambda parts: parts[0].box.gap(piece.box))
        near = digit[0].box.gap(piece.box) <= NEAR * digit[0].box.height
        if near and piece.area >= SPECK * digit[0].area:
            digit.append(piece)
    return digits


def _belong(box: Box, other: Box) -> bool:
    """Whether two pieces that are as tall as digits are halves of one, above each other or locked into each other."""
    overlap = -box.gap_across(other) / min(box.width, other.width)
    return overlap >= LOCKED and box.gap_down(other) <= STACKED * max(box.height, other.height)


def _in_reading_order(digits: list[list[Piece]]) -> list[list[Piece]]:
    """Line by line, and from left to right."""
    lines: list[list[list[Piece]]] = []
    for digit in sorted(digits, key=lambda parts: parts[0].box.top + parts[0].box.bottom):
        box = digit[0].box
        if lines and box.gap_down(lines[-1][-1][0].box) < -box.height / 3:
            lines[-1].append(digit)
        else:
            lines.append([digit])
    return [digit for line in lines for digit in sorted(line, key=lambda parts: parts[0].box.left)]
