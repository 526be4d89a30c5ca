"""Which pieces of the ink make up digits: not frames, specks, neighbours cut by the border, nor the page's edge."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SMALL", "Box", "Mark", "box_of", "found_digits"]

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

    def gap_down(self, other: Box) -> int:
        """Rows between the two; negative where they overlap."""
        return max(self.top, other.top) - min(self.bottom, other.bottom)


def box_of(mask_HW: NDArray[np.bool_]) -> Box:
    """From the first row and column with ink to the last; there is some."""
    rows, columns = np.flatnonzero(mask_HW.any(axis=1)), np.flatnonzero(mask_HW.any(axis=0))
    return Box(int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1)


class Mark(NamedTuple):
    """The ink of one digit: where it is, which pixels of its box ``inked_HW`` has, and height and width of the page.

    A page has hundreds, so none holds more than its box.
    """

    box: Box
    inked_HW: NDArray[np.bool_]
    page: tuple[int, ...]

    @property
    def area(self) -> int:
        """Pixels of ink."""
        return int(self.inked_HW.sum())

    @property
    def at_border(self) -> bool:
        """Whether it touches a side of the page."""
        height, width = self.page
        return self.box.top == 0 or self.box.left == 0 or self.box.bottom == height or self.box.right == width

    def around(self, margin: int) -> tuple[tuple[slice, slice], NDArray[np.bool_]]:
        """Rows and columns up to ``margin`` pixels around the box, where there are so many, and the ink there."""
        box, (height, width) = self.box, self.page
        above, left = min(margin, box.top), min(margin, box.left)
        below, right = min(margin, height - box.bottom), min(margin, width - box.right)
        place = slice(box.top - above, box.bottom + below), slice(box.left - left, box.right + right)
        return place, np.pad(self.inked_HW, ((above, below), (left, right)))


class Piece(NamedTuple):
    """Connected ink: its label, where it is, and how many pixels it has."""

    label: int
    box: Box
    area: int


def found_digits(mask_HW: NDArray[np.bool_], *, page: bool) -> list[Mark]:
    """The ink of each digit in a mask of ink (H, W), line by line and from left to right; none, where there is none.

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
        box = box_of(kept_HW)
        return [Mark(box, kept_HW[box.slices], kept_HW.shape)]
    groups_HW, groups = _joined(kept_HW, max(piece.box.height for piece in pieces))
    digits = _digits(groups)
    return [_mark(groups_HW, digit) for digit in _in_reading_order(digits)]


def _mark(labels_HW: NDArray[np.int32], parts: list[Piece]) -> Mark:
    """The ink of a digit in ``parts``."""
    tops, lefts, bottoms, rights = zip(*(part.box for part in parts), strict=True)
    box = Box(min(tops), min(lefts), max(bottoms), max(rights))
    return Mark(box, _of(labels_HW[box.slices], parts), labels_HW.shape)


def _labelled(mask_HW: NDArray[np.bool_]) -> tuple[NDArray[np.int32], list[Piece]]:
    """Labels (H, W) of the larger pieces of connected ink, 0 for all else, and these pieces, the largest first.

    What is small is dropped at once: noise has a million pieces, and each takes as long as a large one.
    """
    every_HW, count = ndimage.label(mask_HW, EVERYWHERE)
    areas_N = np.bincount(every_HW.ravel(), minlength=count + 1)[1:]
    largest = np.argsort(-areas_N, kind="stable")[:MOST_PIECES]
    label_L = np.zeros(count + 1, np.int32)
    label_L[largest + 1] = np.arange(1, len(largest) + 1)
    labels_HW = label_L[every_HW]
    boxes = ndimage.find_objects(labels_HW)
    return labels_HW, [Piece(n + 1, _box(box), int(areas_N[largest[n]])) for n, box in enumerate(boxes)]


def _box(slices: tuple[slice, slice]) -> Box:
    rows, columns = slices
    return Box(rows.start, columns.start, rows.stop, columns.stop)


def _of(labels_HW: NDArray[np.int32], pieces: list[Piece]) -> NDArray[np.bool_]:
    """The ink of ``pieces``."""
    return np.isin(labels_HW, [piece.label for piece in pieces])


def _without_frames(labels_HW: NDArray[np.int32], pieces: list[Piece]) -> list[Piece]:
    """Without pieces in whose hollow lies another that is not much smaller."""
    top_N, left_N, bottom_N, right_N = np.array([piece.box for piece in pieces], int).reshape(-1, 4).T
    longer_N = np.maximum(bottom_N - top_N, right_N - left_N)
    holds_NN = (top_N[:, None] < top_N) & (left_N[:, None] < left_N) & (longer_N >= INSIDE * longer_N[:, None])
    holds_NN &= (bottom_N[:, None] > bottom_N) & (right_N[:, None] > right_N)
    if not holds_NN.any():
        return pieces
    around_L = _around(labels_HW)
    number = {piece.label: n for n, piece in enumerate(pieces)}
    frames = set()
    for n in np.flatnonzero(holds_NN.any(axis=0)):
        label = int(around_L[pieces[n].label])
        while label:
            if label in number and holds_NN[number[label], n]:
                frames.add(label)
            label = int(around_L[label])
    return [piece for piece in pieces if piece.label not in frames]


def _around(labels_HW: NDArray[np.int32]) -> NDArray[np.int32]:
    """For each label, that of the ink in whose hollow it lies immediately, 0 for none.

    Above the first pixel of a piece, row by row, is the paper around it, and above the first pixel of paper that does
    not reach the border is the ink around that: so one look at each pixel tells of all pieces, however they are nested.
    """
    paper_HW, count = ndimage.label(labels_HW == 0)
    border = np.concatenate([paper_HW[0], paper_HW[-1], paper_HW[:, 0], paper_HW[:, -1]])
    inside_L = np.zeros(count + 1, np.int32)
    inside_L[:] = _above(paper_HW, labels_HW, count)
    inside_L[border] = 0
    inside_L[0] = 0
    around_L: NDArray[np.int32] = inside_L[_above(labels_HW, paper_HW, int(labels_HW.max()))]
    return around_L


def _above(labels_HW: NDArray[np.int32], others_HW: NDArray[np.int32], count: int) -> NDArray[np.int32]:
    """What of ``others_HW`` is above the first pixel of each of ``count`` labels, row by row; 0 above the picture."""
    width = labels_HW.shape[1]
    places_M = np.flatnonzero(labels_HW)[::-1]
    first_L = np.zeros(count + 1, np.intp)
    first_L[labels_HW.ravel()[places_M]] = places_M  # where a label comes again, the last one holds: the first place
    return np.where(first_L >= width, others_HW.ravel()[first_L - width], 0)


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
    tall = [piece for piece in pieces if piece.box.height >= DIGIT_SIZED * tallest]
    belong_NN = _belong(tall)
    digits: list[list[Piece]] = []
    owner_N = np.empty(len(tall), int)
    for n, piece in enumerate(tall):
        owners = owner_N[:n][belong_NN[n, :n]]
        owner_N[n] = owners.min() if owners.size else len(digits)
        if owners.size:
            digits[owner_N[n]].append(piece)
        else:
            digits.append([piece])
    firsts = [digit[0] for digit in digits]
    small = [piece for piece in pieces if piece.box.height < DIGIT_SIZED * tallest]
    gap_NM = np.maximum(*_gaps(small, firsts))
    for piece, gap_M in zip(small, gap_NM, strict=True):
        n = int(gap_M.argmin())
        if gap_M[n] <= NEAR * firsts[n].box.height and piece.area >= SPECK * firsts[n].area:
            digits[n].append(piece)
    return digits


def _belong(pieces: list[Piece]) -> NDArray[np.bool_]:
    """Which pieces (N, N), as tall as digits, are halves of one, above each other or locked into each other."""
    across_NN, down_NN = _gaps(pieces, pieces)
    width_N, height_N = (np.array(sides) for sides in zip(*((p.box.width, p.box.height) for p in pieces), strict=True))
    locked_NN = -across_NN / np.minimum(width_N[:, None], width_N) >= LOCKED
    belong_NN: NDArray[np.bool_] = locked_NN & (down_NN <= STACKED * np.maximum(height_N[:, None], height_N))
    return belong_NN


def _gaps(pieces: list[Piece], others: list[Piece]) -> tuple[NDArray[np.int_], NDArray[np.int_]]:
    """Columns and rows between the boxes of ``pieces`` (N) and ``others`` (M), (N, M); negative where they overlap."""
    tops, lefts, bottoms, rights = np.array([p.box for p in pieces], int).reshape(-1, 4).T[..., None]
    top_M, left_M, bottom_M, right_M = np.array([p.box for p in others], int).reshape(-1, 4).T
    across_NM = np.maximum(lefts, left_M) - np.minimum(rights, right_M)
    down_NM = np.maximum(tops, top_M) - np.minimum(bottoms, bottom_M)
    return across_NM, down_NM


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
