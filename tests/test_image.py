"""Good pictures: the same digit, whatever mode, format, orientation or light it comes in."""

from __future__ import annotations

import functools
import io
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import ROOT
from imaging import (
    BICUBIC,
    DARK,
    DIGIT_HW,
    GREY,
    LARGE,
    chunk,
    deep,
    distance,
    encoded,
    padded,
    phone,
    plain_greymap,
    rotated,
    with_alpha,
)
from PIL import Image, ImageDraw, ImageOps

from mnist_dvc.data.idx import parse_idx
from mnist_dvc.errors import ImageError
from mnist_dvc.image import fitting, ground, parse_picture

if TYPE_CHECKING:
    from collections.abc import Callable


TRAINING_IMAGES = ROOT.parent / "shared/mnist/MNIST/raw/train-images-idx3-ubyte"


# ---------------------------------------------------------------------------------------------- what MNIST itself is


def test_digit_is_as_mnist_has_them() -> None:
    rows, columns = np.flatnonzero(DIGIT_HW.any(axis=1)), np.flatnonzero(DIGIT_HW.any(axis=0))
    assert DIGIT_HW.shape == (28, 28)
    assert DIGIT_HW.dtype == np.uint8
    assert DIGIT_HW.max() == 255
    assert max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1 == 20
    centre = [(DIGIT_HW.sum(axis=1 - axis) * np.arange(28)).sum() / DIGIT_HW.sum() for axis in (0, 1)]
    assert all(13.5 <= c < 14.5 for c in centre)


def test_its_own_output_comes_back_unchanged() -> None:
    picture = parse_picture(encoded(GREY), "here")
    np.testing.assert_array_equal(picture.pixels_HW, DIGIT_HW)
    assert not picture.inverted


@pytest.mark.real_data
def test_images_of_mnist_come_through_unchanged() -> None:
    """59,986 of the 60,000 do; of the others 13 have ink 19 pixels high or wide."""
    if not TRAINING_IMAGES.exists():
        pytest.skip("the MNIST files are not on this machine")
    images_NHW = parse_idx(TRAINING_IMAGES.read_bytes(), TRAINING_IMAGES, dimensions=3)[:60_000:60]
    unchanged = sum(distance(encoded(Image.fromarray(image_HW)), image_HW) == 0 for image_HW in images_NHW)
    assert unchanged >= 0.995 * len(images_NHW)


# ------------------------------------------------------------------------------------------------------- good pictures


def with_transparent_index() -> bytes:
    return encoded(GREY.convert("P"), "PNG", transparency=0)


def cut_out() -> Image.Image:
    """Dark ink with blurred edges, its white paper made transparent, as by a magic wand."""
    return Image.merge("LA", [DARK, GREY.point(lambda level: 255 * (level > 0))])


def rounded_paper() -> Image.Image:
    """Dark ink on opaque white paper with transparent corners."""
    alpha = Image.new("L", (28, 28))
    ImageDraw.Draw(alpha).rounded_rectangle((0, 0, 27, 27), radius=6, fill=255)
    return Image.merge("LA", [DARK, alpha])


def key_deep() -> bytes:
    """16-bit PNG with black as its transparent level, which Pillow reads and does not write."""
    plain = encoded(deep())
    return plain[:33] + chunk(b"tRNS", bytes(2)) + plain[33:]


EXACT: dict[str, tuple[Callable[[], bytes], bool]] = {
    "L PNG": (lambda: encoded(GREY), False),
    "dark on light": (lambda: encoded(DARK), True),
    "P PNG": (lambda: encoded(GREY.convert("P")), False),
    "P PNG, transparent ground": (with_transparent_index, False),
    "RGB PNG": (lambda: encoded(GREY.convert("RGB")), False),
    "RGBA PNG, opaque": (lambda: encoded(DARK.convert("RGBA")), True),
    "LA PNG, black ink": (lambda: encoded(with_alpha(0)), True),
    "LA PNG, white ink": (lambda: encoded(with_alpha(255)), False),
    "RGBA PNG, black ink": (lambda: encoded(with_alpha(0).convert("RGBA")), True),
    "RGBA PNG, white ink": (lambda: encoded(with_alpha(255).convert("RGBA")), False),
    "dark ink cut out": (lambda: encoded(cut_out()), True),
    "paper with round corners": (lambda: encoded(rounded_paper()), True),
    "16-bit PNG": (lambda: encoded(deep()), False),
    "16-bit PNG, dark on light": (lambda: encoded(deep(DARK)), True),
    "16-bit PNG, transparent level": (key_deep, False),
    "GIF": (lambda: encoded(GREY, "GIF"), False),
    "GIF, dark on light": (lambda: encoded(DARK, "GIF"), True),
    "GIF, transparent ground": (lambda: encoded(GREY, "GIF", transparency=0), False),
    "BMP": (lambda: encoded(GREY, "BMP"), False),
    "BMP, 24 bits": (lambda: encoded(GREY.convert("RGB"), "BMP"), False),
    "PGM": (lambda: encoded(GREY, "PPM"), False),
    "PGM, 16 bits": (lambda: encoded(deep(), "PPM"), False),
    "PGM, 1000 levels": (lambda: plain_greymap(1000), False),
    "PGM in ASCII": (lambda: plain_greymap(255), False),
    "PGM in ASCII, 16 bits": (lambda: plain_greymap(65535), False),
    "padded": (lambda: encoded(padded(40, 40)), False),
    "shifted": (lambda: encoded(padded(50, 3)), False),
    **{f"EXIF orientation {number}": (functools.partial(rotated, number), False) for number in range(1, 9)},
}


@pytest.mark.parametrize("name", EXACT)
def test_lossless_picture_gives_the_very_digit(name: str) -> None:
    content, inverted = EXACT[name]
    picture = parse_picture(content(), name)
    # One level: a thousand levels are no multiple of 255, and the rounding may fall to either side.
    np.testing.assert_allclose(picture.pixels_HW.astype(int), DIGIT_HW, atol=1)
    assert picture.inverted is inverted


def test_one_bit_is_black_and_white() -> None:
    image = GREY.point(lambda level: 255 * (level > 127))
    assert distance(encoded(image.convert("1")), parse_picture(encoded(image), "here").pixels_HW) == 0


CLOSE: dict[str, tuple[Callable[[], bytes], float]] = {
    # Mean difference in levels; a digit moved by one pixel differs by more than 12 (the test after the next).
    "JPEG": (lambda: encoded(GREY, "JPEG", quality=75), 2),
    "JPEG, dark on light": (lambda: encoded(DARK, "JPEG", quality=90), 2),
    "CMYK JPEG": (lambda: encoded(GREY.convert("CMYK"), "JPEG", quality=90), 2),
    "colour JPEG": (lambda: encoded(GREY.convert("RGB"), "JPEG", quality=90), 2),
    "progressive JPEG": (lambda: encoded(GREY, "JPEG", progressive=True, quality=90), 2),
    "WebP": (lambda: encoded(GREY, "WEBP", quality=80), 2),
    "WebP, lossless": (lambda: encoded(GREY, "WEBP", lossless=True), 1),
    "WebP, black ink on nothing": (lambda: encoded(with_alpha(0).convert("RGBA"), "WEBP", lossless=True), 1),
    "three times as large": (lambda: encoded(GREY.resize((84, 84), Image.Resampling.NEAREST)), 2),
    "enlarged smoothly": (lambda: encoded(LARGE), 6),
    "enlarged with ringing": (lambda: encoded(GREY.resize((300, 300), Image.Resampling.LANCZOS)), 6),
    "reduced": (lambda: encoded(GREY.resize((21, 21), BICUBIC)), 11),
    "faint": (lambda: encoded(GREY.point(lambda level: 90 + level // 5)), 2),
    "colour of equal steps": (lambda: encoded(ImageOps.colorize(GREY, "navy", "yellow")), 2),
    "large JPEG, dark on light": (lambda: encoded(ImageOps.invert(LARGE), "JPEG", quality=75), 6),
    "cropped to the ink": (lambda: encoded(LARGE.crop(LARGE.point(lambda level: 255 * (level > 40)).getbbox())), 6),
}


@pytest.mark.parametrize("name", CLOSE)
def test_lossy_or_scaled_picture_gives_nearly_the_digit(name: str) -> None:
    content, tolerance = CLOSE[name]
    assert distance(content()) < tolerance


def test_the_tolerances_would_notice_a_shift() -> None:
    assert np.abs(np.roll(DIGIT_HW, 1, axis=1).astype(float) - DIGIT_HW).mean() > 12


def photo(slope: float, noise: float) -> bytes:
    """Dark ink on paper that is lit from one side, 200 x 200, with the noise of a sensor."""
    ink_HW = np.asarray(GREY.resize((200, 200), BICUBIC)) * 0.5
    light_HW = 190 + np.linspace(-slope, slope, 200)[:, None] + np.linspace(-slope / 2, slope / 2, 200)
    noise_HW = np.random.default_rng(0).normal(0, noise, ink_HW.shape)
    return encoded(Image.fromarray((light_HW - ink_HW + noise_HW).clip(0, 255).astype(np.uint8)), "JPEG", quality=90)


@pytest.mark.parametrize(("slope", "noise"), [(0, 0), (0, 6), (40, 2), (-40, 2)])
def test_photo_with_noise_and_slanting_light_gives_nearly_the_digit(slope: float, noise: float) -> None:
    assert parse_picture(photo(slope, noise), "photo").inverted
    assert distance(photo(slope, noise)) < 6


def test_ink_darker_than_black_does_not_wrap_around() -> None:
    """Taking a slope of the light away can push it beyond 255, where uint8 begins again at 0."""
    ink_HW = np.linspace(0, 300, 400, dtype=np.float32).reshape(20, 20)
    pixels_HW = fitting._scaled(ink_HW)
    assert (np.diff(pixels_HW.ravel().astype(int)) >= 0).all()
    assert pixels_HW.max() == 255


def test_slanting_light_needs_levelling(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground, "_levelled", lambda grey_HW: grey_HW)
    monkeypatch.setattr(ground, "_uneven", lambda *_, **__: False)
    with pytest.raises(ImageError, match="contrast"):
        parse_picture(photo(40, 2), "photo")


def test_preview_in_a_photo_is_no_animation() -> None:
    with Image.open(io.BytesIO(phone())) as image:
        assert (image.format, getattr(image, "n_frames", 1)) == ("MPO", 2)
    assert distance(phone()) < 6


def test_plain_conversion_would_fail_where_this_one_does_not() -> None:
    """What the guards are for: Pillow's own way to grey clips 16 bits, drops alpha and turns nothing."""
    with Image.open(io.BytesIO(encoded(deep()))) as image:
        assert (np.asarray(image.convert("L"))[DIGIT_HW > 1] == 255).all()
    assert not np.asarray(with_alpha(0).convert("L")).any()
    with Image.open(io.BytesIO(rotated(6))) as image:
        assert (np.asarray(image) != DIGIT_HW).any()
