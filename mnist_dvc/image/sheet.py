"""Sheets: a picture with what was found in it, beside the 28 x 28 pixels that the network saw of each digit."""

from __future__ import annotations

import io
import math
import os
import re
import textwrap
from typing import TYPE_CHECKING, NamedTuple

from PIL import Image, ImageDraw, ImageFont

from mnist_dvc.data.arrays import SIDE
from mnist_dvc.errors import ImageError, printable
from mnist_dvc.files import check_writable, write_atomically
from mnist_dvc.image.decode import upright

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from mnist_dvc.image.reading import Picture

    Font = ImageFont.FreeTypeFont | ImageFont.ImageFont

__all__ = ["Found", "Sheets", "sheet_png"]

SUFFIX = ".seen.png"
LONGEST_NAME = 150
"""Bytes, which leaves room for the suffix and for the names of temporary files."""
LONGEST = 480
"""Pixels of the picture's longer side on the sheet, at most; a smaller one is enlarged by whole numbers."""
ZOOM = 4
CELL = SIDE * ZOOM
MARGIN, LINE, FRAME, FONT_SIZE = 24, 20, 3, 16
CELL_HEIGHT = CELL + 2 * LINE + MARGIN
LETTERS = 56
"""Letters on a line of words below the narrowest sheet."""
SHEET, INK, MARK = (236, 236, 236), "black", (214, 39, 40)
"""The sheet is no white paper, so that the picture's own can be told from it."""
QUICK = 1
"""Level of compression: a sheet takes a few kilobytes at any."""


class Found(NamedTuple):
    """A digit that was found in a picture, what it was taken for, and what else is to be said of it."""

    picture: Picture
    answer: str
    remark: str


class Sheets:
    """A folder with a sheet for every picture that can be shown, under its name with ``.seen.png`` at the end."""

    def __init__(self, folder: Path, inputs: Iterable[Path]) -> None:
        """``folder`` is made if absent; ``inputs`` are files that no sheet takes the place of.

        Raises:
            OSError: nothing can be written there.
        """
        check_writable(folder / f"picture{SUFFIX}")
        self.folder = folder
        self._taken = {os.path.realpath(path).casefold() for path in inputs}

    def write(self, name: str, content: bytes, found: Sequence[Found], words: str) -> None:
        """Write the sheet of the picture ``name``, as :func:`sheet_png` draws it; where it shows nothing, none.

        Raises:
            OSError: the system refused.
        """
        try:
            drawn = sheet_png(content, name, found, words)
        except ImageError:
            return
        write_atomically(self._path(name), drawn)

    def _path(self, name: str) -> Path:
        """A place in the folder that no input has and no sheet before, whatever ``name`` holds."""
        plain = re.sub(r"[^\w.-]", "_", re.sub(r"(?i)\.png$", "", name)).encode()[-LONGEST_NAME:]
        stem = plain.decode(errors="ignore").lstrip("._-") or "picture"
        path, number = self.folder / f"{stem}{SUFFIX}", 1
        while (real := os.path.realpath(path).casefold()) in self._taken:
            number += 1
            path = self.folder / f"{stem}-{number}{SUFFIX}"
        self._taken.add(real)
        return path


def sheet_png(content: bytes, where: object, found: Sequence[Found], words: str) -> bytes:
    """The picture in the bytes of a file with a box around each digit, and to the right what the network saw of each.

    Args:
        content: the bytes of the file.
        where: they come from, for errors.
        found: the digits, in their order; none where the picture is refused.
        words: stand below, as those of a refusal.

    Raises:
        ImageError: there is no picture in ``content``.
    """
    picture, scale = _fitted(upright(content, where))
    lines = textwrap.wrap(_drawable(words), LETTERS)
    rows = max(1, LONGEST // CELL_HEIGHT, math.isqrt(len(found)))
    columns = math.ceil(len(found) / rows)
    below = MARGIN + max(picture.height + MARGIN, min(len(found), rows) * CELL_HEIGHT)
    width = MARGIN + max(picture.width + MARGIN + columns * (CELL + MARGIN), (LONGEST + MARGIN) * bool(lines))
    sheet = Image.new("RGB", (width, below + LINE * len(lines) + MARGIN * bool(lines)), SHEET)
    sheet.paste(picture, (MARGIN, MARGIN))
    draw, font = ImageDraw.Draw(sheet), ImageFont.load_default(FONT_SIZE)
    for number, digit in enumerate(found):
        row, column = divmod(number, columns)
        left, top = 2 * MARGIN + picture.width + column * (CELL + MARGIN), MARGIN + row * CELL_HEIGHT
        _frame(draw, font, digit, scale)
        seen = Image.fromarray(digit.picture.pixels_HW).resize((CELL, CELL), Image.Resampling.NEAREST)
        sheet.paste(seen, (left, top))
        for line, text in enumerate((digit.answer, digit.remark)):
            place = (left + CELL / 2, top + CELL + LINE * (line + 0.6))
            draw.text(place, _drawable(text), INK, font, anchor="mm")
    draw.multiline_text((MARGIN, below), "\n".join(lines), INK, font)
    buffer = io.BytesIO()
    sheet.save(buffer, "PNG", compress_level=QUICK)
    return buffer.getvalue()


def _fitted(picture: Image.Image) -> tuple[Image.Image, float]:
    """``picture`` at the size that it has on the sheet, and the factor that this took."""
    scale = LONGEST / max(picture.size)
    if scale >= 1:
        scale = math.floor(scale)
    filtering = Image.Resampling.NEAREST if scale >= 1 else Image.Resampling.BOX
    width, height = (max(1, round(side * scale)) for side in picture.size)
    return picture.resize((width, height), filtering), scale


def _frame(draw: ImageDraw.ImageDraw, font: Font, digit: Found, scale: float) -> None:
    """Draw the box around a digit, clear of its ink, with the answer on top."""
    left, top, right, bottom = _around(digit.picture.box, scale)
    draw.rectangle((left, top, right, bottom), outline=MARK, width=FRAME)
    draw.text((left, top), _drawable(digit.answer), MARK, font, anchor="lb", stroke_width=2, stroke_fill=SHEET)


def _around(box: tuple[int, int, int, int], scale: float) -> tuple[float, float, float, float]:
    left, top, right, bottom = (MARGIN + side * scale for side in box)
    return left - FRAME, top - FRAME, right + FRAME - 1, bottom + FRAME - 1


def _drawable(text: str) -> str:
    """``text`` on one line, in letters that every font has."""
    return printable(text).encode("ascii", "backslashreplace").decode()
