"""Paper to draw on by script, with digits of MNIST's training images in ink."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image

from mnist_dvc.data.sources import read_sample

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Levels = NDArray[np.floating]
    Random = np.random.Generator


class Drawn(NamedTuple):
    """A picture file, and the digits that it shows in reading order, each as MNIST has it."""

    content: bytes
    shown: tuple[int, ...]
    sources: tuple[NDArray[np.uint8], ...]


class Sheet:
    """Paper to draw on: ``ink_HW`` is how much of it covers each pixel, 0 to 1; digits and random numbers at hand."""

    def __init__(self, random: Random, height: int, width: int | None = None) -> None:
        self.random = random
        self.ink_HW: Levels = np.zeros((height, width or height), np.float32)
        self.paper, self.pen = random.uniform(205, 250), random.uniform(15, 80)
        self.shown: list[int] = []
        self.sources: list[NDArray[np.uint8]] = []

    @property
    def shape(self) -> tuple[int, int]:
        return self.ink_HW.shape[0], self.ink_HW.shape[1]

    def digit(self, height: float, row: float | None = None, column: float | None = None) -> None:
        """A digit with ``height`` pixels on its longer side, about ``row`` and ``column``, by default in the middle."""
        image_HW, label = picked(self.random)
        self.shown.append(label)
        self.sources.append(image_HW)
        self.stamp(enlarged(image_HW, height), row, column)

    def stamp(self, cover_HW: Levels, row: float | None = None, column: float | None = None) -> None:
        """Ink on the paper, what falls beside it is cut."""
        rows, columns = self.shape
        if row is None:
            row = rows / 2 + self.random.uniform(-0.5, 0.5) * max(0, rows * 0.8 - cover_HW.shape[0])
        if column is None:
            column = columns / 2 + self.random.uniform(-0.5, 0.5) * max(0, columns * 0.8 - cover_HW.shape[1])
        top, left = round(row - cover_HW.shape[0] / 2), round(column - cover_HW.shape[1] / 2)
        padded_HW = np.pad(self.ink_HW, max(cover_HW.shape))
        margin = max(cover_HW.shape)
        place = (
            slice(top + margin, top + margin + cover_HW.shape[0]),
            slice(left + margin, left + margin + cover_HW.shape[1]),
        )
        padded_HW[place] = np.maximum(padded_HW[place], cover_HW)
        self.ink_HW = padded_HW[margin : margin + rows, margin : margin + columns]

    def line(self, row: float, slope: float, thickness: float, strength: float = 1.0, *, down: bool = False) -> None:
        """A straight line across the paper, or down it."""
        rows_HW, columns_HW = np.indices(self.shape, np.float32)
        along_HW, across_HW = (rows_HW, columns_HW) if down else (columns_HW, rows_HW)
        distance_HW = np.abs(across_HW - row - slope * (along_HW - along_HW.max() / 2))
        cover_HW = strength * (thickness / 2 + 0.5 - distance_HW).clip(0, 1)
        self.ink_HW = np.maximum(self.ink_HW, cover_HW)

    def levels(self) -> Levels:
        """The paper with its ink, 0 to 255."""
        return self.paper + (self.pen - self.paper) * self.ink_HW

    def drawn(self, content: bytes) -> Drawn:
        return Drawn(content, tuple(self.shown), tuple(self.sources))

    def photo(self, levels_HW: Levels | None = None, noise: float | None = None) -> Drawn:
        """A JPEG of the sheet, or of it in another light, with the noise of a sensor."""
        levels_HW = self.levels() if levels_HW is None else levels_HW
        spread = self.random.uniform(0.5, 4) if noise is None else noise
        noisy_HW = levels_HW + self.random.normal(0, spread, levels_HW.shape)
        return self.drawn(encoded(noisy_HW, "JPEG", quality=int(self.random.integers(70, 96))))


@functools.cache
def digits() -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Images (N, 28, 28) and labels (N,) of 5,000 training digits, the same on every machine."""
    sample = read_sample().pool
    return sample.images_NHW, sample.labels_N


def picked(random: Random) -> tuple[NDArray[np.uint8], int]:
    images_NHW, labels_N = digits()
    position = int(random.integers(len(labels_N)))
    return images_NHW[position], int(labels_N[position])


def enlarged(image_HW: NDArray[np.uint8], height: float) -> Levels:
    """The ink of a digit with smooth, sharp strokes, its longer side ``height`` pixels; 0 to 1."""
    rows, columns = np.flatnonzero(image_HW.any(axis=1)), np.flatnonzero(image_HW.any(axis=0))
    box = Image.fromarray(image_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1])
    scale = height / max(box.size)
    size = max(1, round(box.width * scale)), max(1, round(box.height * scale))
    smooth_HW = np.asarray(box.resize(size, Image.Resampling.BICUBIC), np.float32) / 255
    return ((smooth_HW - 0.3) / 0.35).clip(0, 1) if scale > 2 else smooth_HW


def encoded(levels: Levels, kind: str = "PNG", **options: Any) -> bytes:
    """Levels (H, W) or (H, W, C), 0 to 255, as a picture file."""
    buffer = io.BytesIO()
    Image.fromarray(levels.round().clip(0, 255).astype(np.uint8)).save(buffer, kind, **options)
    return buffer.getvalue()


def one(random: Random, least: float = 0.35, most: float = 0.7) -> Sheet:
    """A sheet of 150 to 500 pixels with one digit."""
    sheet = Sheet(random, int(random.integers(150, 500)), int(random.integers(150, 500)))
    sheet.digit(random.uniform(least, most) * min(sheet.shape))
    return sheet


def places(shape: tuple[int, int]) -> tuple[Levels, Levels]:
    """Row and column of each pixel, from 0 to 1."""
    height, width = shape
    rows_HW, columns_HW = np.indices(shape, np.float32)
    return rows_HW / height, columns_HW / width


def spine(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """What is left of strokes when both sides are taken away in turn (Zhang and Suen, 1984)."""
    left_HW = np.pad(mask_HW, 1)
    shifts = [(-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1), (-1, -1)]
    while True:
        before = left_HW.sum()
        for odd in (0, 1):
            around = [np.roll(left_HW, (-down, -across), (0, 1)) for down, across in shifts]
            count = sum(part.astype(np.int8) for part in around)
            steps = sum((~around[n] & around[(n + 1) % 8]).astype(np.int8) for n in range(8))
            north, east, south, west = around[0], around[2], around[4], around[6]
            free = ~((east & south) & (north | west)) if odd == 0 else ~((north & west) & (east | south))
            left_HW = left_HW & ~((count >= 2) & (count <= 6) & (steps == 1) & free)
        if left_HW.sum() == before:
            return left_HW[1:-1, 1:-1]
