"""Sheets: what is drawn on them, and where."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from mnist_dvc.errors import ImageError
from mnist_dvc.image import Picture
from mnist_dvc.image.sheet import CELL, INK, LONGEST, MARGIN, MARK, SHEET, ZOOM, Found, sheet_png

if TYPE_CHECKING:
    from numpy.typing import NDArray


def encoded(width: int, height: int, mode: str = "RGB", colour: object = "white", kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, (width, height), colour).save(buffer, kind)  # type: ignore[arg-type]  # PIL types its colours anew
    return buffer.getvalue()


def digit(box: tuple[int, int, int, int] = (10, 20, 50, 60), seed: int = 0) -> Picture:
    pixels_HW = (np.arange(28 * 28, dtype=np.uint32).reshape(28, 28) * (seed + 7) % 256).astype(np.uint8)
    return Picture(pixels_HW, inverted=True, box=box)


def drawn(content: bytes, *found: Found, words: str = "") -> NDArray[np.uint8]:
    return np.asarray(Image.open(io.BytesIO(sheet_png(content, "here", found, words))).convert("RGB"))


def marked(sheet_HWC: NDArray[np.uint8]) -> NDArray[np.bool_]:
    mark: NDArray[np.bool_] = (sheet_HWC == MARK).all(axis=2)
    return mark


@pytest.mark.parametrize(
    ("side", "scale"), [(100, LONGEST // 100), (28, LONGEST // 28), (LONGEST, 1), (4 * LONGEST, 0.25)]
)
def test_frame_stands_around_the_ink_at_any_scale(side: int, scale: float) -> None:
    box = (side // 10, side // 5, side // 2, side * 3 // 5)
    mark_HW = marked(drawn(encoded(side, side), Found(digit(box), "", "")))
    rows, columns = np.flatnonzero(mark_HW.any(axis=1)), np.flatnonzero(mark_HW.any(axis=0))
    left, top, right, bottom = (MARGIN + edge * scale for edge in box)
    edges = (columns[0] + 3, rows[0] + 3, columns[-1] - 2, rows[-1] - 2)
    assert edges == pytest.approx((left, top, right, bottom), abs=1)
    assert not mark_HW[int(top) + 1 : int(bottom) - 1, int(left) + 1 : int(right) - 1].any()


def test_what_the_network_saw_stands_beside_it_pixel_by_pixel() -> None:
    one, other = digit(seed=1), digit((60, 20, 90, 60), seed=2)
    sheet_HWC = drawn(encoded(100, 50), Found(one, "3", "99.00 %"), Found(other, "4", "50.00 %, unsure"))
    left = 2 * MARGIN + LONGEST // 100 * 100
    seen_HW = sheet_HWC[MARGIN : MARGIN + CELL : ZOOM, left : left + CELL : ZOOM, 0]
    np.testing.assert_array_equal(seen_HW, one.pixels_HW)
    column_HWC = sheet_HWC[MARGIN + CELL + MARGIN :, left : left + CELL]
    assert any(
        (column_HWC[top : top + CELL : ZOOM, ::ZOOM, 0] == other.pixels_HW).all()
        for top in range(len(column_HWC) - CELL + 1)
    )


def test_answers_are_written_and_change_the_sheet() -> None:
    sheets = [
        drawn(encoded(100, 100), Found(digit(), *words))
        for words in (("3", "99.00 %"), ("4", "99.00 %"), ("3", "98.00 %"), ("3", "99.00 %"))
    ]
    assert [bool((sheet != sheets[0]).any()) for sheet in sheets] == [False, True, True, False]


@pytest.mark.parametrize("count", [1, 2, 3, 10, 100])
def test_any_number_of_digits_has_room(count: int) -> None:
    sheet_HWC = drawn(encoded(100, 100), *[Found(digit(), str(n), "1 %") for n in range(count)])
    height, width, _ = sheet_HWC.shape
    assert height * width > count * CELL**2
    assert max(height, width) < 6 * min(height, width)
    assert (sheet_HWC[-1] == SHEET).all()
    assert (sheet_HWC[:, -1] == SHEET).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (4000, 1), (1, 4000), (8, 3000)])
def test_any_shape_of_picture_has_a_sheet(width: int, height: int) -> None:
    assert drawn(encoded(width, height), Found(digit((0, 0, width, height)), "1", "")).ndim == 3


def test_words_of_a_refusal_stand_below_the_picture() -> None:
    without, with_words = drawn(encoded(100, 50)), drawn(encoded(100, 50), words="contrast: got 0 of 255 " * 5)
    below_HWC = with_words[len(without) - 1 :]
    assert (below_HWC < 128).any()
    assert (below_HWC[:, -MARGIN // 2 :] == SHEET).all()


@pytest.mark.parametrize("text", ["七", "\x1b[31m\n\udcff", "ü" * 500, ""])
def test_words_in_any_letters_can_be_drawn(text: str) -> None:
    assert drawn(encoded(100, 100), Found(digit(), text, text), words=text).ndim == 3


def test_transparent_picture_is_shown_on_white() -> None:
    sheet_HWC = drawn(encoded(100, 100, "RGBA", (0, 0, 0, 0)))
    assert sheet_HWC[MARGIN, MARGIN].tolist() == [255, 255, 255]
    assert INK == "black"


@pytest.mark.parametrize("content", [b"", b"a seven", encoded(100, 100)[:-40]], ids=["nothing", "text", "cut"])
def test_what_is_no_picture_has_no_sheet(content: bytes) -> None:
    with pytest.raises(ImageError, match="^here: content: got "):
        sheet_png(content, "here", (), "")
