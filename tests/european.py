"""Digits as Europeans write them: a stroke is added to a digit that MNIST has without it."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image, ImageDraw
from sheets import enlarged

from mnist_dvc.image.fitting import fitted

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from sheets import Levels, Random

    Points = list[tuple[float, float]]

HEIGHT = 80
"""Pixels of the longer side on which strokes are drawn, four to a pixel of MNIST's ink."""
MARGIN = HEIGHT


class Ink(NamedTuple):
    """A digit enlarged on paper with room around it, and the width of its strokes in pixels."""

    ink_HW: Levels
    width: float

    @classmethod
    def of(cls, image_HW: NDArray[np.uint8]) -> Ink:
        ink_HW = np.pad(enlarged(image_HW, HEIGHT), MARGIN)
        mask_HW = ink_HW > 0.5
        edge_HW = mask_HW & ~(np.roll(mask_HW, 1, 0) & np.roll(mask_HW, 1, 1))  # of one side, as long as the stroke
        return cls(ink_HW, float(mask_HW.sum()) / float(edge_HW.sum()))

    def rows(self) -> tuple[float, float]:
        """Where the ink begins and ends."""
        rows = np.flatnonzero((self.ink_HW > 0.5).any(axis=1))
        return float(rows[0]), float(rows[-1])

    def column_at(self, row: float) -> float:
        """The middle of the ink in a row, or in the nearest one that has any."""
        mask_HW = self.ink_HW > 0.5
        inked = np.flatnonzero(mask_HW.any(axis=1))
        nearest = inked[np.abs(inked - row).argmin()]
        return float(np.flatnonzero(mask_HW[nearest]).mean())

    def with_stroke(self, points: Points) -> NDArray[np.uint8]:
        """The digit, with a stroke of its own width through points (column, row), as MNIST has digits."""
        sheet = Image.fromarray((255 * self.ink_HW).astype(np.uint8))
        pen = ImageDraw.Draw(sheet)
        pen.line(points, fill=255, width=round(self.width), joint="curve")
        for column, row in (points[0], points[-1]):
            pen.circle((column, row), self.width / 2, fill=255)
        drawn_HW = np.asarray(sheet, np.float32)
        box = Image.fromarray(drawn_HW > 127).getbbox() or (0, 0, *sheet.size)
        return fitted(drawn_HW[box[1] : box[3], box[0] : box[2]])


def hooked(random: Random, image_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A 1 that begins with an upstroke."""
    ink = Ink.of(image_HW)
    top, bottom = ink.rows()
    row = top + ink.width / 2
    column = ink.column_at(row)
    length, angle = random.uniform(0.25, 0.6) * (bottom - top), np.deg2rad(random.uniform(25, 60))
    return ink.with_stroke([(column, row), (column - length * np.cos(angle), row + length * np.sin(angle))])


def barred(random: Random, image_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A 7 with a bar through its stem."""
    ink = Ink.of(image_HW)
    top, bottom = ink.rows()
    row = top + random.uniform(0.42, 0.62) * (bottom - top)
    column = ink.column_at(row)
    half, tilt = random.uniform(0.15, 0.3) * (bottom - top), random.normal(0, 0.12)
    return ink.with_stroke([(column - half, row + tilt * half), (column + half, row - tilt * half)])


def curled(random: Random, image_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A 9 whose tail turns to the left and up again."""
    ink = Ink.of(image_HW)
    top, bottom = ink.rows()
    row = bottom - ink.width / 2
    column = ink.column_at(row)
    across, down = random.uniform(0.2, 0.5) * (bottom - top), random.uniform(0.08, 0.25) * (bottom - top)
    turns = np.linspace(0, np.deg2rad(random.uniform(90, 160)), 24)
    return ink.with_stroke([(column - across * (1 - np.cos(turn)), row + down * np.sin(turn)) for turn in turns])


WRITTEN: dict[int, tuple[str, Callable[[Random, NDArray[np.uint8]], NDArray[np.uint8]]]] = {
    1: ("hooked 1", hooked),
    7: ("barred 7", barred),
    9: ("curled 9", curled),
}
"""By digit: what it is called and how it is made of one that MNIST has."""

STROKES = tuple(name for name, _ in WRITTEN.values())
