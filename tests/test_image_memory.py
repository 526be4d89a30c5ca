"""Pictures that PIL holds: they come out of the door as their files do."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image, ImageDraw

from mnist_dvc.errors import ImageError
from mnist_dvc.image import parse_picture
from mnist_dvc.image.memory import as_file, is_image

if TYPE_CHECKING:
    from pathlib import Path

ORIENTATION = 0x0112
ON_ITS_SIDE = 6


def drawn() -> Image.Image:
    """A seven, dark on light."""
    picture = Image.new("L", (80, 100), 255)
    ImageDraw.Draw(picture).line([(20, 20), (60, 20), (40, 80)], fill=0, width=8)
    return picture


@pytest.mark.parametrize(
    "mode", ["1", "L", "LA", "P", "RGB", "RGBA", "I;16", "I", "F", "CMYK", "YCbCr", "HSV", "RGBa", "PA"]
)
def test_image_of_any_mode_shows_the_same_digit(mode: str) -> None:
    expected = parse_picture(as_file(drawn(), "picture"), "picture")
    image = drawn()
    if mode in ("I", "I;16"):
        image = Image.fromarray(
            (np.asarray(image).astype(np.uint16) * 257).astype(np.int32 if mode == "I" else np.uint16)
        )
    else:
        image = image.convert("RGB" if mode in ("HSV", "CMYK", "YCbCr") else "RGBA" if mode == "RGBa" else "L").convert(
            mode
        )
    assert image.mode == mode
    found = parse_picture(as_file(image, "picture"), "picture")
    assert found.box == pytest.approx(expected.box, abs=1)
    assert np.abs(found.pixels_HW.astype(int) - expected.pixels_HW).mean() < 8


def test_transparent_paper_stays_transparent() -> None:
    ink = drawn()
    picture = Image.merge("RGBA", (*[Image.new("L", ink.size, 0)] * 3, Image.eval(ink, lambda level: 255 - level)))
    assert parse_picture(as_file(picture, "picture"), "picture").inverted


def test_turn_of_the_camera_is_kept(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[ORIENTATION] = ON_ITS_SIDE
    drawn().rotate(90, expand=True).save(tmp_path / "turned.png", exif=exif)
    expected = parse_picture((tmp_path / "turned.png").read_bytes(), "file")
    upright = parse_picture(as_file(drawn(), "picture"), "picture")
    with Image.open(tmp_path / "turned.png") as image:
        found = parse_picture(as_file(image, "picture"), "picture")
    assert found.box == expected.box == upright.box
    np.testing.assert_array_equal(found.pixels_HW, upright.pixels_HW)


def test_damage_that_shows_only_now_is_refused() -> None:
    """PIL opens a file by its head, and decodes the rest when it is asked to."""
    buffer = io.BytesIO()
    drawn().save(buffer, "BMP")
    with pytest.raises(ImageError, match="picture: image: got damage .*truncated.*, expected one that can be decoded"):
        as_file(Image.open(io.BytesIO(buffer.getvalue()[:-1000])), "picture")


def test_mode_that_stands_for_no_colours_is_refused() -> None:
    with pytest.raises(ImageError, match="picture: image: got damage .ValueError"):
        as_file(Image.new("La", (30, 30)), "picture")


def test_what_is_an_image() -> None:
    assert is_image(drawn())
    assert not is_image(np.asarray(drawn()))
    assert not is_image("picture.png")
