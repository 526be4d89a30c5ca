"""What people photograph and scan comes through as digits of MNIST, and docs/pictures.md says how well."""

from __future__ import annotations

import io
import re
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import ROOT
from pictures import KINDS, NONE, SEVERAL, draw
from pictures_table import COUNT, HEAD, goal, measured
from PIL import Image, ImageDraw

import mnist_dvc
from mnist_dvc.classifier import BEST
from mnist_dvc.errors import ImageError
from mnist_dvc.image import decode, fitting, ground, parse_digits, parse_picture, pieces, reading, upright

if TYPE_CHECKING:
    from types import ModuleType

    from numpy.typing import NDArray

PAGE = (ROOT / "docs/pictures.md").read_text(encoding="utf-8")
SEED = 14
"""Other pictures than those of the page, which again are others than those that constants were chosen on."""
MISSED = {"tight crop": 0.96, "chalk in a lamp's light": 0.96}
"""Goals that are missed, and what is reached in their place."""
ROWS = re.findall(r"^\| ([^|]+) \| (\d+) \| ([\d.]+)% \|", PAGE, re.MULTILINE)


@pytest.fixture(scope="module")
def classifier() -> mnist_dvc.Classifier:
    return mnist_dvc.load()


def test_every_kind_is_read_or_refused_as_it_should_be(classifier: mnist_dvc.Classifier) -> None:
    """Two of each kind here, many more in the page."""
    results = [measured(classifier, kind, 2, SEED) for kind in KINDS]
    wrong = [result for result in results if result.right < result.pictures]
    assert len(wrong) <= 1, wrong  # 97 in 100 are promised, and another version of a decoder may change one


def test_page_tells_of_every_kind_and_keeps_its_goals() -> None:
    assert [kind for kind, _, _ in ROWS] == list(KINDS)
    for kind, count, right in ROWS:
        assert int(count) == COUNT
        least = 100 * MISSED.get(kind, goal(kind))
        assert float(right) >= least, f"{kind}: got {right} %, expected {least:g} %"
    missed = PAGE.partition("It is missed by: ")[2].partition(".\n")[0].split(", ")
    assert sorted(missed) == sorted(MISSED)


def test_words_of_the_page_are_those_that_its_script_writes() -> None:
    """Else the next measurement takes back what was written by hand."""
    assert PAGE.startswith(HEAD.format(count=COUNT, best=BEST))


@pytest.mark.parametrize(
    ("step", "without", "kind"),
    [
        ((reading, "without_lines"), lambda mask_HW: mask_HW, "dark lines"),
        ((pieces, "_without_frames"), lambda _, found: found, "box of a form"),
        ((pieces, "_without_cut"), lambda _, found, **__: found, "neighbour cut"),
        ((ground, "_telling"), lambda raster: raster.grey_HW, "colours of one luminance"),
        ((ground, "_uneven"), lambda *_, **__: False, "hard shadow"),
        ((reading, "_standing_out"), lambda *_: 1.0, "chalk in a lamp's light"),
        ((reading, "_is_grain"), lambda *_: False, "blank paper"),
    ],
)
def test_without_its_step_a_kind_is_not_read(
    classifier: mnist_dvc.Classifier,
    monkeypatch: pytest.MonkeyPatch,
    step: tuple[ModuleType, str],
    without: object,
    kind: str,
) -> None:
    before = measured(classifier, kind, 6, SEED)
    monkeypatch.setattr(*step, without)
    assert measured(classifier, kind, 6, SEED).right < before.right


def test_without_the_look_for_paper_a_frame_is_in_the_way(
    classifier: mnist_dvc.Classifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seldom, so among pictures where it is seen."""
    before = measured(classifier, "frame at the border", 8, 1)
    monkeypatch.setattr(ground, "_is_paper", lambda _: False)
    assert measured(classifier, "frame at the border", 8, 1).right < before.right


@pytest.mark.parametrize("kind", NONE)
def test_blank_paper_is_refused(kind: str) -> None:
    for drawn in draw(kind, 3, SEED):
        with pytest.raises(ImageError, match="contrast|pixels of ink"):
            parse_digits(drawn.content, "blank")


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", SEVERAL)
def test_several_digits_are_refused_as_one_and_read_in_order(classifier: mnist_dvc.Classifier, kind: str) -> None:
    for drawn in draw(kind, 2, SEED):
        with pytest.raises(ImageError, match=rf"digits: got {len(drawn.shown)}, expected one: `predict --many` reads"):
            parse_picture(drawn.content, "several")
        found = parse_digits(drawn.content, "several")
        assert tuple(classifier.answer(picture).digit for picture in found) == drawn.shown


def test_line_of_one_pixel_in_a_thousand_becomes_a_stroke(monkeypatch: pytest.MonkeyPatch) -> None:
    image = Image.new("L", (1000, 1000), 255)
    ImageDraw.Draw(image).line([(250, 200), (750, 230), (420, 800)], fill=0, width=1)
    content = encoded(image)
    inked = (parse_picture(content, "thin").pixels_HW > 127).sum()
    monkeypatch.setattr(fitting, "_thickened", lambda ink_HW: ink_HW)
    assert inked > 1.5 * (parse_picture(content, "thin").pixels_HW > 127).sum()


def two_strokes(side: int) -> Image.Image:
    """A long stroke at the left and a short one at the right, on white."""
    image = Image.new("L", (side, side), 255)
    pen = ImageDraw.Draw(image)
    pen.rectangle((side * 0.2, side * 0.3, side * 0.25 - 1, side * 0.7 - 1), fill=0)
    pen.rectangle((side * 0.7, side * 0.4, side * 0.75 - 1, side * 0.7 - 1), fill=0)
    return image


@pytest.mark.parametrize(("side", "kind"), [(400, "PNG"), (4000, "PNG"), (4000, "JPEG")])
def test_boxes_are_pixels_of_the_picture_even_if_it_was_reduced(side: int, kind: str) -> None:
    found = parse_digits(encoded(two_strokes(side), kind), "boxes")
    expected = [(0.2, 0.3, 0.25, 0.7), (0.7, 0.4, 0.75, 0.7)]
    for picture, corners in zip(found, expected, strict=True):
        np.testing.assert_allclose(picture.box, np.array(corners) * side, atol=side / 100)


@pytest.mark.parametrize("side", [400, 4000])
def test_boxes_and_upright_picture_are_turned_alike(side: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # a quarter turn clockwise makes it upright
    lying = two_strokes(side).crop((0, 0, side, side * 3 // 4)).transpose(Image.Transpose.ROTATE_90)
    content = encoded(lying, exif=exif)
    shown = upright(content, "turned")
    assert shown.size == (side, side * 3 // 4)
    left, top, right, bottom = parse_digits(content, "turned")[0].box
    inside_HW3 = np.asarray(shown)[top:bottom, left:right]
    assert inside_HW3.mean() < 40


def test_upright_picture_of_any_mode_is_in_colour() -> None:
    grey = two_strokes(100)
    deep = Image.fromarray(np.asarray(grey).astype(np.uint16) * 257)
    clear = Image.merge("LA", [grey, grey.point(lambda level: 255 - level)])
    for image in (grey, deep, clear, grey.convert("P"), grey.convert("1")):
        shown = upright(encoded(image), "mode")
        assert shown.mode == "RGB"
        np.testing.assert_allclose(np.asarray(shown)[..., 1], np.asarray(grey), atol=1)


def test_photo_of_24_megapixels_is_read_at_a_fraction_of_its_size(monkeypatch: pytest.MonkeyPatch) -> None:
    content = encoded(two_strokes(1000).crop((0, 0, 500, 1000)).resize((4284, 5712)), "JPEG", quality=60)
    sizes: list[tuple[int, int]] = []
    luminance = decode._luminance

    def noted(image: Image.Image) -> NDArray[np.float32]:
        sizes.append(image.size)
        return luminance(image)

    monkeypatch.setattr(decode, "_luminance", noted)
    assert parse_picture(content, "photo").box[3] > 3900
    assert max(sizes[0]) < 2000
