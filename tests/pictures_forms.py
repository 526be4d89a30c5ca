"""Digits on forms and ruled paper, in any pen, and beside what is none: drawn by script."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image
from scipy import ndimage
from sheets import Drawn, Sheet, encoded, enlarged, one, picked, places, spine

if TYPE_CHECKING:
    from sheets import Levels, Random


# ---------------------------------------------------------------------------------------------------------------- lines


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


# --------------------------------------------------------------------------------------------------------------- colour


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


# ----------------------------------------------------------------------------------------------------------------- size


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


def large(random: Random) -> Drawn:
    """A photo of 8 to 24 megapixels."""
    sheet = one(random, 0.3, 0.6)
    levels_HW = sheet.levels() + random.normal(0, 3, sheet.shape)
    scale = np.sqrt(random.uniform(8e6, 24e6) / levels_HW.size)
    size = [min(8000, round(side * scale)) for side in reversed(sheet.shape)]
    image = Image.fromarray(levels_HW.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR)
    return sheet.drawn(encoded(np.asarray(image, np.float32), "JPEG", quality=80))
