"""Pictures as people make them, drawn by script: every kind, of which docs/pictures.md shows one."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pictures_forms import (
    ballpoint,
    broken,
    form_box,
    grains,
    large,
    neighbour,
    pencil,
    ruled_dark,
    ruled_faint,
    same_luminance,
    sprinkle,
    squared,
    table_cell,
    table_line,
    thin,
    translucent,
)
from PIL import Image
from scipy import ndimage
from sheets import Drawn, Sheet, encoded, one, picked, places

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from numpy.typing import NDArray
    from sheets import Levels, Random

# ---------------------------------------------------------------------------------------------------------------- plain


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


# ---------------------------------------------------------------------------------------------------------------- light


def lit(random: Random, light: Callable[[Sheet], Levels]) -> Drawn:
    sheet = one(random)
    return sheet.photo(sheet.levels() * light(sheet))


def sloped(random: Random) -> Drawn:
    """Lit from one side."""
    towards = random.uniform(-0.4, 0.4, 2)

    def light(sheet: Sheet) -> Levels:
        rows_HW, columns_HW = places(sheet.shape)
        light_HW: Levels = 0.75 + towards[0] * (rows_HW - 0.5) + towards[1] * (columns_HW - 0.5)
        return light_HW

    return lit(random, light)


def shadow(random: Random, softness: float) -> Drawn:
    """The edge of a shadow goes through the middle, ``softness`` of the picture wide."""
    angle, dark, shift = random.uniform(0, 2 * np.pi), random.uniform(0.45, 0.75), random.uniform(-0.15, 0.15)

    def light(sheet: Sheet) -> Levels:
        rows_HW, columns_HW = places(sheet.shape)
        distance_HW = (rows_HW - 0.5) * np.sin(angle) + (columns_HW - 0.5) * np.cos(angle) + shift
        light_HW: Levels = dark + (1 - dark) * (distance_HW / softness + 0.5).clip(0, 1)
        return light_HW

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
        light_HW: Levels = dark + (1 - dark) * ((distance_HW - reach) / 0.08 + 0.5).clip(0, 1)
        return light_HW

    return lit(random, light)


def lamp(random: Random) -> Drawn:
    """A bright spot on paper in the dark."""
    middle, reach, dark = random.uniform(0.25, 0.75, 2), random.uniform(0.15, 0.35), random.uniform(0.5, 0.7)

    def light(sheet: Sheet) -> Levels:
        rows_HW, columns_HW = places(sheet.shape)
        distance_HW = np.hypot(rows_HW - middle[0], columns_HW - middle[1])
        light_HW: Levels = dark + (1 - dark) * np.exp(-((distance_HW / reach) ** 2))
        return light_HW

    return lit(random, light)


def chalk_in_light(random: Random) -> Drawn:
    """Light strokes on a board that a lamp or the sun shines on."""
    sheet = one(random)
    sheet.paper, sheet.pen = random.uniform(60, 90), random.uniform(200, 250)
    rows_HW, columns_HW = places(sheet.shape)
    middle, reach = random.uniform(0, 1, 2), random.uniform(0.3, 0.7)
    distance_HW = np.hypot(rows_HW - middle[0], columns_HW - middle[1])
    return sheet.photo(sheet.levels() * (0.6 + 0.4 * np.exp(-((distance_HW / reach) ** 2))))


# ---------------------------------------------------------------------------------------------------------------- paper


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
        inside_HW: NDArray[np.bool_] = np.maximum(*turned) < 0.5 - share
        return inside_HW

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


# ---------------------------------------------------------------------------------------------------- none, and several


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
    "MNIST's own": mnist,
    "MNIST enlarged": scaled,
    "scan": scan,
    "photo": photo,
    "light on dark": chalk,
    "ballpoint": ballpoint,
}
HARD: dict[str, Callable[[Random], Drawn]] = {
    "tight crop": crop,
    "lit from one side": sloped,
    "hard shadow": hard_shadow,
    "soft shadow": soft_shadow,
    "shadow in a corner": corner_shadow,
    "lamp": lamp,
    "chalk in a lamp's light": chalk_in_light,
    "desk beside the paper": desk_beside,
    "page's edge": page_edge,
    "desk around the paper": desk_around,
    "black bars": bars,
    "frame at the border": frame_at_border,
    "dark lines": ruled_dark,
    "faint lines": ruled_faint,
    "squared paper": squared,
    "cell of a table": table_cell,
    "one line of a table": table_line,
    "box of a form": form_box,
    "neighbour cut": neighbour,
    "grains": grains,
    "faint pencil": pencil,
    "broken strokes": broken,
    "colours of one luminance": same_luminance,
    "translucent": translucent,
    "hair lines": thin,
    "8 to 24 megapixels": large,
}
NONE: dict[str, Callable[[Random], Drawn]] = {"blank paper": blank, "blank, in shadow": blank_in_shadow}
SEVERAL: dict[str, Callable[[Random], Drawn]] = {"two digits": two, "a number": number, "a page": page}
KINDS = PLAIN | HARD | NONE | SEVERAL
"""How each kind is drawn; those of ``NONE`` and ``SEVERAL`` are to be refused as one digit."""


def draw(kind: str, count: int, seed: int) -> Iterator[Drawn]:
    """``count`` pictures of a kind; another ``seed`` gives others."""
    for number in range(count):
        yield KINDS[kind](np.random.default_rng([seed, sorted(KINDS).index(kind), number]))
