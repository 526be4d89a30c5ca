"""Pictures as people make them, drawn by script from MNIST's training digits: photos, scans, forms, and blank paper."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from PIL import Image
from scipy import ndimage

from mnist_dvc.data.sources import read_sample

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray

    Levels = NDArray[np.floating]
    Random = np.random.Generator

__all__ = ["HARD", "KINDS", "NONE", "PLAIN", "SEVERAL", "Drawn", "draw"]


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


# --------------------------------------------------------------------------------------------------------------- plain


def mnist(random: Random) -> Drawn:
    """An image of MNIST as it is, light on dark or dark on light."""
    image_HW, label = picked(random)
    levels_HW = image_HW if random.random() < 0.5 else 255 - image_HW
    return Drawn(encoded(levels_HW.astype(np.float32)), (label,), (image_HW,))


def scaled(random: Random) -> Drawn:
    """An image of MNIST enlarged, two to ten times, with soft or with square pixels."""
    image_HW, label = picked(random)
    side = 28 * int(random.integers(2, 11))
    method = Image.Resampling.BICUBIC if random.random() < 0.5 else Image.Resampling.NEAREST
    levels_HW = np.asarray(Image.fromarray(image_HW).resize((side, side), method), np.float32)
    return Drawn(encoded(levels_HW if random.random() < 0.5 else 255 - levels_HW), (label,), (image_HW,))


def scan(random: Random) -> Drawn:
    """Dark ink on white paper, without a loss."""
    sheet = one(random)
    return sheet.drawn(encoded(sheet.levels()))


def chalk(random: Random) -> Drawn:
    """Light strokes on a dark board."""
    sheet = one(random)
    sheet.paper, sheet.pen = random.uniform(10, 60), random.uniform(180, 250)
    return sheet.photo()


def photo(random: Random) -> Drawn:
    return one(random).photo()


def crop(random: Random) -> Drawn:
    """Cut out with hardly any paper around."""
    sheet = Sheet(random, 300)
    sheet.digit(random.uniform(60, 250), 150, 150)
    rows, columns = (np.flatnonzero(sheet.ink_HW.any(axis=axis)) for axis in (1, 0))
    box_HW = sheet.ink_HW[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    sheet.ink_HW = np.pad(box_HW, int(random.integers(0, 12)))
    return sheet.photo(noise=1.0)


# --------------------------------------------------------------------------------------------------------------- light


def lit(random: Random, light: Callable[[Sheet], Levels]) -> Drawn:
    sheet = one(random)
    return sheet.photo(sheet.levels() * light(sheet))


def sloped(random: Random) -> Drawn:
    """Lit from one side."""
    towards = random.uniform(-0.4, 0.4, 2)

    def light(sheet: Sheet) -> Levels:
        rows_HW, columns_HW = places(sheet.shape)
        return 0.75 + towards[0] * (rows_HW - 0.5) + towards[1] * (columns_HW - 0.5)

    return lit(random, light)


def shadow(random: Random, softness: float) -> Drawn:
    """The edge of a shadow goes through the middle, ``softness`` of the picture wide."""
    angle, dark, shift = random.uniform(0, 2 * np.pi), random.uniform(0.45, 0.75), random.uniform(-0.15, 0.15)

    def light(sheet: Sheet) -> Levels:
        rows_HW, columns_HW = places(sheet.shape)
        distance_HW = (rows_HW - 0.5) * np.sin(angle) + (columns_HW - 0.5) * np.cos(angle) + shift
        return dark + (1 - dark) * (distance_HW / softness + 0.5).clip(0, 1)

    return lit(random, light)


def hard_shadow(random: Random) -> Drawn:
    return shadow(random, 0.004)


def soft_shadow(random: Random) -> Drawn:
    return shadow(random, random.uniform(0.1, 0.6))


def corner_shadow(random: Random) -> Drawn:
    """A finger or a head before the lamp, in one corner."""
    corner, reach, dark = random.integers(0, 2, 2), random.uniform(0.25, 0.45), random.uniform(0.4, 0.7)

    def light(sheet: Sheet) -> Levels:
        rows_HW, columns_HW = places(sheet.shape)
        distance_HW = np.hypot(rows_HW - corner[0], columns_HW - corner[1])
        return dark + (1 - dark) * ((distance_HW - reach) / 0.08 + 0.5).clip(0, 1)

    return lit(random, light)


def lamp(random: Random) -> Drawn:
    """A bright spot on paper in the dark."""
    middle, reach, dark = random.uniform(0.25, 0.75, 2), random.uniform(0.15, 0.35), random.uniform(0.5, 0.7)

    def light(sheet: Sheet) -> Levels:
        rows_HW, columns_HW = places(sheet.shape)
        distance_HW = np.hypot(rows_HW - middle[0], columns_HW - middle[1])
        return dark + (1 - dark) * np.exp(-((distance_HW / reach) ** 2))

    return lit(random, light)


def chalk_in_light(random: Random) -> Drawn:
    """Light strokes on a board that a lamp or the sun shines on."""
    sheet = one(random)
    sheet.paper, sheet.pen = random.uniform(60, 90), random.uniform(200, 250)
    rows_HW, columns_HW = places(sheet.shape)
    middle, reach = random.uniform(0, 1, 2), random.uniform(0.3, 0.7)
    distance_HW = np.hypot(rows_HW - middle[0], columns_HW - middle[1])
    return sheet.photo(sheet.levels() * (0.6 + 0.4 * np.exp(-((distance_HW / reach) ** 2))))


# --------------------------------------------------------------------------------------------------------------- paper


def laid(random: Random, inside_of: Callable[[Levels, Levels], NDArray[np.bool_]]) -> Drawn:
    """Paper on a desk: ``inside_of`` tells of rows and columns, 0 to 1, which are paper. The digit is in the middle."""
    sheet = Sheet(random, int(random.integers(200, 500)), int(random.integers(200, 500)))
    sheet.digit(random.uniform(0.28, 0.42) * min(sheet.shape), sheet.shape[0] / 2, sheet.shape[1] / 2)
    paper_HW = ndimage.gaussian_filter(inside_of(*places(sheet.shape)).astype(np.float32), 0.7)
    grain_HW = ndimage.gaussian_filter(random.normal(0, 1, sheet.shape), (0.5, 4)) * random.uniform(0, 20)
    return sheet.photo(sheet.levels() * paper_HW + (random.uniform(30, 130) + grain_HW) * (1 - paper_HW))


def desk_beside(random: Random) -> Drawn:
    side, share = random.integers(4), random.uniform(0.05, 0.22)
    return laid(random, lambda rows, columns: (rows, 1 - rows, columns, 1 - columns)[side] > share)


def page_edge(random: Random) -> Drawn:
    """Beside the paper, aslant."""
    side, share, slope = random.integers(4), random.uniform(0.03, 0.15), random.uniform(-0.2, 0.2)

    def inside(rows: Levels, columns: Levels) -> NDArray[np.bool_]:
        across, along = ((rows, columns), (1 - rows, columns), (columns, rows), (1 - columns, rows))[side]
        return across + slope * (along - 0.5) > share

    return laid(random, inside)


def desk_around(random: Random) -> Drawn:
    angle, share = random.normal(0, 0.06), random.uniform(0.05, 0.17)

    def inside(rows: Levels, columns: Levels) -> NDArray[np.bool_]:
        down, across = rows - 0.5, columns - 0.5
        turned = (
            np.abs(down * np.cos(angle) - across * np.sin(angle)),
            np.abs(down * np.sin(angle) + across * np.cos(angle)),
        )
        return np.maximum(*turned) < 0.5 - share

    return laid(random, inside)


def bars(random: Random) -> Drawn:
    """Black bars left and right, or above and below."""
    drawn = one(random, 0.3, 0.5)
    share = random.uniform(0.08, 0.3)
    levels_HW, down = drawn.levels(), random.random() < 0.5
    height, width = drawn.shape
    bar = round((height if down else width) * share)
    return drawn.photo(np.pad(levels_HW, ((bar, bar), (0, 0)) if down else ((0, 0), (bar, bar))), noise=1.0)


def frame_at_border(random: Random) -> Drawn:
    sheet = one(random)
    thickness = int(random.integers(1, 6))
    levels_HW = sheet.levels()[thickness:-thickness, thickness:-thickness]
    return sheet.drawn(encoded(np.pad(levels_HW, thickness, constant_values=random.uniform(0, 60))))


# --------------------------------------------------------------------------------------------------------------- lines


def ruled(random: Random, strength: float, *, squared: bool = False) -> Drawn:
    """Lines a quarter to a half of the digit apart; those down the paper, too, where it is squared."""
    sheet = one(random, 0.35, 0.6)
    apart = random.uniform(0.14, 0.3) * min(sheet.shape)
    slope, thickness = random.normal(0, 0.01), random.uniform(1, 2.5)
    for down in (False, True)[: 1 + squared]:
        for row in np.arange(random.uniform(0, apart), sheet.shape[1 if down else 0], apart):
            sheet.line(row, -slope if down else slope, thickness, strength, down=down)
    return sheet.photo()


def ruled_dark(random: Random) -> Drawn:
    return ruled(random, random.uniform(0.5, 1.0))


def ruled_faint(random: Random) -> Drawn:
    return ruled(random, random.uniform(0.1, 0.4))


def squared(random: Random) -> Drawn:
    return ruled(random, random.uniform(0.15, 0.6), squared=True)


def table_cell(random: Random) -> Drawn:
    """With the four lines around it, which go on."""
    sheet = Sheet(random, int(random.integers(100, 400)), int(random.integers(100, 400)))
    height, width = sheet.shape
    sheet.digit(random.uniform(0.35, 0.6) * min(sheet.shape), height / 2, width / 2)
    thickness = random.uniform(1.5, 0.03 * min(sheet.shape) + 1.5)
    for down, side in ((False, height), (True, width)):
        for share in (random.uniform(0.02, 0.1), random.uniform(0.9, 0.98)):
            sheet.line(share * side, random.normal(0, 0.008), thickness, down=down)
    return sheet.photo()


def table_line(random: Random) -> Drawn:
    """One of them."""
    sheet = one(random, 0.35, 0.6)
    down = bool(random.random() < 0.5)
    share = random.choice([random.uniform(0.0, 0.06), random.uniform(0.94, 1.0)])
    sheet.line(share * sheet.shape[1 if down else 0], random.normal(0, 0.008), random.uniform(2, 8), down=down)
    return sheet.photo()


def form_box(random: Random) -> Drawn:
    """A printed box around the digit, with paper around it."""
    side = int(random.integers(100, 400))
    sheet = Sheet(random, side)
    sheet.digit(random.uniform(0.35, 0.5) * side, side / 2, side / 2)
    outer = np.maximum(*(np.abs(place - 0.5) for place in places(sheet.shape)))
    share, thickness = random.uniform(0.33, 0.46), random.uniform(0.008, 0.03)
    box_HW = (np.abs(outer - share) < thickness).astype(np.float32)
    turned_HW = ndimage.rotate(box_HW, random.normal(0, 2), reshape=False, order=1)
    sheet.stamp(turned_HW * random.uniform(0.5, 1), side / 2, side / 2)
    return sheet.photo()


# ----------------------------------------------------------------------------------------------------- what lies beside


def neighbour(random: Random) -> Drawn:
    """Cut by the left or right border."""
    sheet = Sheet(random, int(random.integers(60, 300)))
    side = sheet.shape[0]
    sheet.digit(random.uniform(0.5, 0.7) * side, side / 2, side / 2)
    other = enlarged(picked(random)[0], random.uniform(0.5, 0.7) * side)
    seen = random.uniform(0.02, 0.12) * side
    column = seen - other.shape[1] / 2
    sheet.stamp(other, side / 2, column if random.random() < 0.5 else side - column)
    return sheet.photo()


def sprinkle(sheet: Sheet, count: int, largest: float) -> None:
    """Dark grains all over the paper."""
    for _ in range(count):
        size = sheet.random.uniform(1, largest, 2)
        row, column = (sheet.random.uniform(0.01, 0.99) * side for side in sheet.shape)
        sheet.stamp(np.ones((round(size[0]), round(size[1])), np.float32), row, column)


def grains(random: Random) -> Drawn:
    sheet = one(random, 0.4, 0.7)
    sprinkle(sheet, int(random.integers(2, 30)), 0.012 * min(sheet.shape) + 1)
    return sheet.photo()


def pencil(random: Random) -> Drawn:
    """Hardly darker than the paper, with two grains at its edges that are."""
    sheet = one(random, 0.3, 0.6)
    sheet.ink_HW *= random.uniform(0.25, 0.45)
    for _ in range(2):
        place = sheet.random.uniform(0.03, 0.97) * sheet.shape[0], sheet.random.choice([0.04, 0.96]) * sheet.shape[1]
        sheet.stamp(np.ones((3, 3), np.float32), *place)
    return sheet.photo(noise=random.uniform(0.5, 2.5))


def broken(random: Random) -> Drawn:
    """A pen that skips: a thin gap goes through the digit."""
    sheet = one(random, 0.4, 0.7)
    ink_HW, sheet.ink_HW = sheet.ink_HW, np.zeros_like(sheet.ink_HW)
    rows = np.flatnonzero(ink_HW.any(axis=1))
    height = int(rows[-1] - rows[0])
    gap = random.uniform(0.015, 0.035) * height
    sheet.line(random.uniform(rows[0] + 0.25 * height, rows[-1] - 0.25 * height), random.normal(0, 0.2), gap)
    sheet.ink_HW = ink_HW * (1 - sheet.ink_HW)
    return sheet.photo()


# -------------------------------------------------------------------------------------------------------------- colour


def coloured(sheet: Sheet, paper: tuple[float, ...], pen: tuple[float, ...]) -> Levels:
    cover_HW1 = sheet.ink_HW[..., None]
    return np.asarray(paper, np.float32) * (1 - cover_HW1) + np.asarray(pen, np.float32) * cover_HW1


def same_luminance(random: Random) -> Drawn:
    """Red on green or blue on brown, which grey makes one."""
    sheet = one(random)
    pairs = [((60, 140, 60), (220, 45, 45)), ((120, 80, 30), (70, 80, 200)), ((200, 60, 60), (0, 125, 125))]
    paper, pen = pairs[random.integers(len(pairs))]
    paper, pen = (paper, pen) if random.random() < 0.5 else (pen, paper)
    return sheet.drawn(encoded(coloured(sheet, paper, pen) + random.normal(0, 1, (*sheet.shape, 3))))


def ballpoint(random: Random) -> Drawn:
    """Blue, red or green ink on white or yellow paper."""
    sheet = one(random)
    pens = [(40, 60, 170), (190, 40, 50), (30, 120, 60)]
    papers = [(245, 243, 238), (250, 235, 150)]
    levels_HWC = coloured(sheet, papers[random.integers(2)], pens[random.integers(3)])
    noisy_HWC = levels_HWC + random.normal(0, 2, levels_HWC.shape)
    return sheet.drawn(encoded(noisy_HWC, "JPEG", quality=85))


def translucent(random: Random) -> Drawn:
    """Opaque but for a rim, or a little less than opaque everywhere."""
    image_HW, label = picked(random)
    alpha_HW = np.full(image_HW.shape, random.integers(200, 255), np.float32)
    if random.random() < 0.5:
        alpha_HW[:, int(random.integers(1, 3)) : -int(random.integers(1, 3))] = 255
    levels_HW = 255.0 - image_HW
    levels_HWC = np.dstack([levels_HW, levels_HW, levels_HW, alpha_HW])
    return Drawn(encoded(levels_HWC), (label,), (image_HW,))


# ---------------------------------------------------------------------------------------------------------------- size


def thin(random: Random) -> Drawn:
    """Drawn with a hair of a line, a hundredth of the digit and less."""
    sheet = Sheet(random, int(random.integers(300, 1000)))
    image_HW, label = picked(random)
    cover_HW = enlarged(image_HW, random.uniform(0.5, 0.75) * sheet.shape[0])
    sheet.shown, sheet.sources = [label], [image_HW]
    spine_HW = spine(cover_HW > 0.5)
    wide_HW = ndimage.maximum_filter(spine_HW.astype(np.float32), int(random.integers(1, 3)))
    sheet.stamp(wide_HW)
    return sheet.drawn(encoded(sheet.levels()))


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


def large(random: Random) -> Drawn:
    """A photo of 8 to 24 megapixels."""
    sheet = one(random, 0.3, 0.6)
    levels_HW = sheet.levels() + random.normal(0, 3, sheet.shape)
    scale = np.sqrt(random.uniform(8e6, 24e6) / levels_HW.size)
    size = [min(8000, round(side * scale)) for side in reversed(sheet.shape)]
    image = Image.fromarray(levels_HW.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return sheet.drawn(encoded(np.asarray(image, np.float32), "JPEG", quality=80))


# --------------------------------------------------------------------------------------------------- none, and several


def blank(random: Random) -> Drawn:
    """Paper with a few grains."""
    sheet = Sheet(random, int(random.integers(200, 800)), int(random.integers(200, 800)))
    sprinkle(sheet, int(random.integers(0, 12)), 0.012 * min(sheet.shape) + 1)
    return sheet.photo()


def blank_in_shadow(random: Random) -> Drawn:
    sheet = Sheet(random, int(random.integers(200, 800)), int(random.integers(200, 800)))
    angle, softness = random.uniform(0, 2 * np.pi), random.uniform(0.005, 0.5)
    rows_HW, columns_HW = places(sheet.shape)
    distance_HW = (rows_HW - 0.5) * np.sin(angle) + (columns_HW - 0.5) * np.cos(angle)
    light_HW = 0.6 + 0.4 * (distance_HW / softness + 0.5).clip(0, 1)
    return sheet.photo(sheet.levels() * light_HW)


def row_of(random: Random, least: int, most: int) -> Drawn:
    count, height = int(random.integers(least, most + 1)), random.uniform(40, 120)
    apart = height * random.uniform(1.05, 1.5)
    sheet = Sheet(random, round(height * random.uniform(1.5, 2.5)), round(apart * (count + 0.5)))
    for place in range(count):
        sheet.digit(height * random.uniform(0.85, 1), sheet.shape[0] / 2, apart * (place + 0.75))
    return sheet.photo()


def two(random: Random) -> Drawn:
    return row_of(random, 2, 2)


def number(random: Random) -> Drawn:
    return row_of(random, 3, 6)


def page(random: Random) -> Drawn:
    """Lines of digits, written by hand: neither level nor all as high."""
    rows, columns, height = int(random.integers(2, 5)), int(random.integers(4, 9)), random.uniform(35, 60)
    sheet = Sheet(random, round(height * (1.7 * rows + 0.8)), round(height * (1.35 * columns + 1)))
    for row in range(rows):
        for column in range(columns):
            place = height * (1.7 * row + 1.2 + random.uniform(-0.1, 0.1)), height * (1.35 * column + 1.1)
            sheet.digit(height * random.uniform(0.85, 1.05), *place)
    return sheet.photo()


PLAIN: dict[str, Callable[[Random], Drawn]] = {
    "MNIST's own": mnist, "MNIST enlarged": scaled, "scan": scan, "photo": photo, "light on dark": chalk,
    "tight crop": crop, "ballpoint": ballpoint,
}  # fmt: skip
HARD: dict[str, Callable[[Random], Drawn]] = {
    "lit from one side": sloped, "hard shadow": hard_shadow, "soft shadow": soft_shadow,
    "shadow in a corner": corner_shadow, "lamp": lamp, "chalk in a lamp's light": chalk_in_light, "desk beside the paper": desk_beside, "page's edge": page_edge,
    "desk around the paper": desk_around, "black bars": bars, "frame at the border": frame_at_border,
    "dark lines": ruled_dark, "faint lines": ruled_faint, "squared paper": squared, "cell of a table": table_cell,
    "one line of a table": table_line, "box of a form": form_box, "neighbour cut": neighbour, "grains": grains,
    "faint pencil": pencil, "broken strokes": broken, "colours of one luminance": same_luminance,
    "translucent": translucent, "hair lines": thin, "8 to 24 megapixels": large,
}  # fmt: skip
NONE: dict[str, Callable[[Random], Drawn]] = {"blank paper": blank, "blank, in shadow": blank_in_shadow}
SEVERAL: dict[str, Callable[[Random], Drawn]] = {"two digits": two, "a number": number, "a page": page}
KINDS = PLAIN | HARD | NONE | SEVERAL
"""How each kind is drawn; those of ``NONE`` and ``SEVERAL`` are to be refused as one digit."""


def draw(kind: str, count: int, seed: int) -> Iterator[Drawn]:
    """``count`` pictures of a kind; another ``seed`` gives others."""
    for number in range(count):
        yield KINDS[kind](np.random.default_rng([seed, sorted(KINDS).index(kind), number]))
