from __future__ import annotations

import functools
import io
import os
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import ROOT
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageOps

from mnist_dvc.data.idx import parse_idx
from mnist_dvc.errors import ImageError
from mnist_dvc.image import (
    LARGEST_FILE,
    LARGEST_SIDE,
    Picture,
    decode,
    fitting,
    ground,
    parse_digits,
    parse_picture,
    read_picture,
    reading,
)

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path
    from types import ModuleType

    from numpy.typing import NDArray

TRAINING_IMAGES = ROOT.parent / "shared/mnist/MNIST/raw/train-images-idx3-ubyte"
BICUBIC = Image.Resampling.BICUBIC


def drawn() -> Image.Image:
    """A seven with a bar, white on black, 280 x 280: no symmetry that could hide a rotation."""
    image = Image.new("L", (280, 280))
    strokes = [[(70, 60), (200, 60), (110, 230)], [(100, 150), (190, 150)]]
    for stroke in strokes:
        ImageDraw.Draw(image).line(stroke, fill=255, width=26, joint="curve")
    return image


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


DIGIT_HW = parse_picture(encoded(drawn()), "drawn").pixels_HW
GREY = Image.fromarray(DIGIT_HW)
DARK = ImageOps.invert(GREY)
LARGE = GREY.resize((112, 112), BICUBIC)
NO_INK = Image.new("L", (28, 28))


def distance(content: bytes, expected_HW: NDArray[np.uint8] = DIGIT_HW) -> float:
    """Mean absolute difference of the pixels, in levels of 255."""
    return float(np.abs(parse_picture(content, "here").pixels_HW.astype(float) - expected_HW).mean())


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


def with_alpha(ink: int) -> Image.Image:
    """The digit as coverage of one grey on nothing; what lies below the transparent parts is the same grey."""
    return Image.merge("LA", [Image.new("L", GREY.size, ink), GREY])


def padded(before: int, after: int, image: Image.Image = GREY) -> Image.Image:
    return Image.fromarray(np.pad(np.asarray(image), ((before, after), (after, before))))


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


def deep(image: Image.Image = GREY) -> Image.Image:
    """16 bits, all levels of which end in the same half: 257 times the level."""
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


def key_deep() -> bytes:
    """16-bit PNG with black as its transparent level, which Pillow reads and does not write."""
    plain = encoded(deep())
    return plain[:33] + chunk(b"tRNS", bytes(2)) + plain[33:]


def plain_greymap(maximum: int) -> bytes:
    levels = (DIGIT_HW.astype(int) * maximum // 255).ravel().tolist()
    return f"P2 # by hand\n28 28\n{maximum}\n{' '.join(map(str, levels))}\n".encode()


def rotated(orientation: int) -> bytes:
    """A PNG that looks like the digit only after its EXIF orientation was applied."""
    undo = {2: 0, 3: 3, 4: 1, 5: 5, 6: 2, 7: 6, 8: 4}  # EXIF's number to Pillow's inverse transposition
    image = GREY if orientation == 1 else GREY.transpose(Image.Transpose(undo[orientation]))
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, exif=exif)


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


def phone() -> bytes:
    """A JPEG with a second picture in it, as telephones store their previews."""
    return encoded(LARGE, "MPO", save_all=True, append_images=[NO_INK], quality=90)


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


# -------------------------------------------------------------------------------------------------------- bad pictures


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(width: int, height: int, rows: bytes, *, before: bytes = b"") -> bytes:
    """A grey 8-bit PNG of ``rows``, compressed already, with chunks ``before`` them."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + before + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


@functools.cache
def zeros(mebibytes: int) -> bytes:
    """So many zeros, compressed a thousandfold."""
    packer = zlib.compressobj(9)
    return b"".join([packer.compress(bytes(2**20)) for _ in range(mebibytes)]) + packer.flush()


def bomb() -> bytes:
    """400 million pixels in 400 kB."""
    return png(20_000, 20_000, zeros(382))


def text_bomb(count: int) -> bytes:
    texts = b"".join(chunk(b"zTXt", b"key%d\0\0" % number + zeros(1)) for number in range(count))
    return png(28, 28, zlib.compress(bytes(29 * 28)), before=texts)


def animated(kind: str) -> bytes:
    return encoded(GREY.convert("RGB"), kind, save_all=True, append_images=[DARK.convert("RGB")], duration=100)


def flipped(content: bytes, position: int) -> bytes:
    return content[:position] + bytes([content[position] ^ 1]) + content[position + 1 :]


def bitmap_of(width: int, height: int) -> bytes:
    plain = encoded(GREY, "BMP")
    return plain[:18] + struct.pack("<ii", width, height) + plain[26:100]


def webp_of(width: int, height: int) -> bytes:
    """An animated WebP with a canvas of that size and a frame of 28 x 28."""
    still = encoded(GREY.convert("RGB"), "WEBP", lossless=True)
    part = still[still.index(b"VP8L") :]
    canvas = b"\x02\0\0\0" + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    frame = bytes(6) + (27).to_bytes(3, "little") * 2 + bytes((100, 0, 0, 0)) + part
    body = b"WEBP" + b"".join(
        kind + struct.pack("<I", len(content)) + content
        for kind, content in ((b"VP8X", canvas), (b"ANIM", bytes(6)), (b"ANMF", frame))
    )
    return b"RIFF" + struct.pack("<I", len(body)) + body


def noise() -> Image.Image:
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64)).astype(np.uint8))


def cut(kind: str, part: float) -> bytes:
    content = encoded(GREY, kind)
    return content[: int(len(content) * part)]


UNKNOWN = "content: got an unknown or damaged file, expected a PNG, JPEG, BMP, GIF, WebP or PGM picture"
BLANK = "contrast: got "
BAD: dict[str, tuple[Callable[[], bytes], str]] = {
    "0 bytes": (lambda: b"", UNKNOWN),
    "one byte": (lambda: b"P", UNKNOWN),
    "text": (lambda: b"a seven\n", UNKNOWN),
    "HTML": (lambda: b"<!doctype html><title>404</title>", UNKNOWN),
    "SVG": (lambda: b'<svg xmlns="http://www.w3.org/2000/svg"><path d="M0 0h9"/></svg>', UNKNOWN),
    "PDF": (lambda: encoded(GREY, "PDF"), UNKNOWN),
    "EPS": (lambda: encoded(GREY, "EPS"), UNKNOWN),
    "TIFF": (lambda: encoded(GREY, "TIFF"), UNKNOWN),
    "ICO": (lambda: encoded(GREY, "ICO"), UNKNOWN),
    "TGA": (lambda: encoded(GREY, "TGA"), UNKNOWN),
    "colour PPM": (lambda: encoded(GREY.convert("RGB"), "PPM"), UNKNOWN),
    "PBM": (lambda: encoded(GREY.convert("1"), "PPM"), UNKNOWN),
    "PFM": (lambda: encoded(GREY.convert("F"), "PPM"), UNKNOWN),
    "random bytes": (lambda: np.random.default_rng(0).bytes(1000), UNKNOWN),
    "PNG signature, then garbage": (lambda: b"\x89PNG\r\n\x1a\n" + b"garbage" * 50, "content: got "),
    "JPEG marker, then garbage": (lambda: b"\xff\xd8\xff" + b"garbage" * 50, "content: got "),
    "GIF signature, then garbage": (lambda: b"GIF89a" + b"garbage" * 50, "got "),
    "PGM header, then letters": (lambda: b"P2\n28 28\n255\n" + b"ink " * 784, "content: got damage (ValueError"),
    "PGM without pixels": (lambda: b"P5\n28 28\n255\n", "content: got damage"),
    "PGM of no size": (lambda: b"P5\n0 0\n255\n", "content: got "),
    "PNG of no size": (lambda: png(0, 0, zlib.compress(b"")), "content: got "),
    **{f"{kind} up to {part}": (functools.partial(cut, kind, part), "content: got ")
       for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM") for part in (0.1, 0.5, 0.95)},
    "PNG, flipped checksum": (lambda: flipped(encoded(GREY), 30), "content: got "),
    "PNG, flipped pixel": (lambda: flipped(encoded(GREY), 60), "content: got damage"),
    "PNG without its end": (lambda: encoded(GREY)[:-12], "content: got damage"),
    "PNG that says it is huge": (lambda: png(100_000, 100_000, zlib.compress(bytes(999))), "size: got "),
    "BMP that says it is huge": (lambda: bitmap_of(8000, 8000), "size: got 8,000 x 8,000"),
    "BMP that says it is negative": (lambda: bitmap_of(-28, -28), "size: got far more"),
    "GIF that says it is huge": (
        lambda: encoded(GREY, "GIF")[:6] + b"\xff\xff\xff\xff" + encoded(GREY, "GIF")[10:], "size: got "),
    "PGM that says it is huge": (lambda: b"P5\n99999 99999\n255\n", "size: got far more"),
    "WebP that says it is huge": (lambda: webp_of(16_383, 16_383), "size: got "),
    "bomb": (bomb, "size: got far more, expected at most 50,331,648 pixels and 8,192 on a side"),
    "bomb that Pillow only warns of": (lambda: png(8192, 12_000, zeros(94)), "size: got "),
    "bomb that Pillow does not mind": (lambda: png(7500, 7500, zeros(54)), "size: got 7,500 x 7,500"),
    "text bomb": (lambda: png(28, 28, zlib.compress(bytes(812)), before=chunk(b"zTXt", b"k\0\0" + zeros(382))),
                  "content: got damage (ValueError"),
    "many texts": (lambda: text_bomb(90), "content: got damage (ValueError"),
    "too many bytes": (lambda: encoded(GREY) + bytes(LARGEST_FILE), "size: got more than 16,777,216 bytes"),
    "a line too long": (lambda: encoded(Image.new("L", (1, 10_000))), "size: got 1 x 10,000"),
    "1 x 1": (lambda: encoded(Image.new("L", (1, 1), 255)), BLANK),
    "1 x 1, 16 bits": (lambda: encoded(Image.fromarray(np.full((1, 1), 65535, np.uint16))), BLANK),
    "blank white": (lambda: encoded(Image.new("L", (28, 28), 255)), BLANK),
    "blank black": (lambda: encoded(NO_INK), BLANK),
    "blank transparent": (lambda: encoded(Image.new("RGBA", (28, 28), (9, 9, 9, 0))), BLANK),
    "blank JPEG": (lambda: encoded(Image.new("RGB", (64, 64), "beige"), "JPEG"), BLANK),
    "too faint": (lambda: encoded(GREY.point(lambda level: 200 - level // 20)), "contrast: got 12 of 255"),
    "noise": (lambda: encoded(noise()), BLANK),
    "a speck": (lambda: encoded(padded(30, 30, Image.new("L", (3, 4), 255))), "pixels of ink: got 3 x 4"),
    "animated GIF": (lambda: animated("GIF"), "content: got an animation, expected a single picture"),
    "animated PNG": (lambda: animated("PNG"), "content: got an animation, expected a single picture"),
    "animated WebP": (lambda: animated("WEBP"), "content: got an animation, expected a single picture"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_bad_picture_is_refused_in_one_line(name: str) -> None:
    content, expected = BAD[name]
    with pytest.raises(ImageError) as caught:
        parse_picture(content(), "sent.png")
    message = str(caught.value)
    assert message.startswith("sent.png: ")
    assert expected in message
    assert message.isprintable()
    assert len(message) < 300
    assert caught.value.exit_code == 65


@pytest.mark.parametrize(
    ("module", "guard", "off", "name"),
    [
        (decode, "FORMATS", None, "TIFF"),
        (decode, "GREYMAPS", (b"P6",), "colour PPM"),
        (decode, "ANIMATED", (), "animated GIF"),
        (decode, "LARGEST_FILE", 2**30, "too many bytes"),
        (reading, "LEAST_CONTRAST", 1.0, "too faint"),
        (ground, "NOISE_DEVIATIONS", 0.0, "noise"),
        (reading, "SMALLEST_INK", 1, "a speck"),
    ],
)
def test_without_its_guard_the_bad_picture_would_be_classified(
    monkeypatch: pytest.MonkeyPatch, module: ModuleType, guard: str, off: object, name: str
) -> None:
    monkeypatch.setattr(module, guard, off)
    assert parse_digits(BAD[name][0](), "here")[0].pixels_HW.any()


@pytest.mark.parametrize("length", [2, LARGEST_SIDE])
def test_line_of_ink_is_read_or_refused(length: int) -> None:
    """One pixel high: the border is all there is."""
    line_HW = np.zeros((1, length), np.uint8)
    line_HW[0, : length // 3] = 255
    for turned_HW in (line_HW, line_HW.T):
        try:
            assert parse_picture(encoded(Image.fromarray(turned_HW)), "line").pixels_HW.max() == 255
        except ImageError as error:
            assert length == 2, error


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM"])
def test_cut_anywhere_it_is_refused_or_nothing_is_missing(kind: str) -> None:
    content = encoded(GREY, kind)
    whole_HW = parse_picture(content, "whole").pixels_HW
    complete = 0
    for length in range(0, len(content), 3 if kind in ("BMP", "PPM") else 1):
        try:
            np.testing.assert_array_equal(parse_picture(content[:length], "cut").pixels_HW, whole_HW)
            complete += 1
        except ImageError:
            continue
    assert complete <= 4  # a checksum or an end mark that says nothing about pixels


def test_flip_anywhere_in_a_png_is_refused_or_changes_nothing() -> None:
    """Unlike decoding alone, which looks at no checksum of the pixels."""
    content = encoded(GREY)
    unseen = 0
    for position in range(len(content)):
        broken = flipped(content, position)
        try:
            np.testing.assert_array_equal(parse_picture(broken, "flipped").pixels_HW, DIGIT_HW)
        except ImageError:
            try:
                with Image.open(io.BytesIO(broken)) as image:
                    unseen += (np.asarray(image) != DIGIT_HW).any()
            except Exception:  # noqa: BLE001, S112  (Pillow refuses with all kinds of errors)
                continue
    assert unseen


def test_a_decoder_s_error_of_any_class_is_turned_into_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_: object) -> None:
        raise RecursionError("deep\ninside")

    monkeypatch.setattr(Image.Image, "convert", lambda *_: fail(None))
    with pytest.raises(ImageError, match=r"^here: content: got damage \(RecursionError: deep inside\), expected"):
        parse_picture(encoded(GREY), "here")


def test_size_is_judged_before_anything_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    def load(_: object) -> None:
        raise AssertionError("decoded")

    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", load)
    with pytest.raises(ImageError, match="size: got 7,500 x 7,500"):
        parse_picture(png(7500, 7500, zeros(54)), "here")


MEASURED = """
import resource, sys
from mnist_dvc.errors import ImageError
from mnist_dvc.image import parse_picture
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for _ in range(2):
    try:
        parse_picture(sys.stdin.buffer.read(), "stdin")
    except ImageError:
        print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
        break
"""


def memory(content: bytes) -> int:
    """MiB that a refusal of ``content`` takes in a process of its own."""
    if sys.platform != "linux":
        pytest.skip("the unit of ru_maxrss is Linux's")
    result = subprocess.run([sys.executable, "-c", MEASURED], input=content, capture_output=True, check=True)
    return int(result.stdout)


@pytest.mark.parametrize(("name", "most"), [("bomb", 32), ("WebP that says it is huge", 32), ("many texts", 128)])
def test_refusal_of_a_bomb_takes_no_memory(name: str, most: int) -> None:
    assert memory(BAD[name][0]()) < most


def test_without_the_limit_the_bomb_would_go_off(monkeypatch: pytest.MonkeyPatch) -> None:
    """A small one: 56 million pixels that Pillow decodes without a word."""
    monkeypatch.setattr(decode, "LARGEST_PIXELS", 10**9)
    with pytest.raises(ImageError, match="contrast"):
        parse_picture(png(7500, 7500, zeros(54)), "here")


# --------------------------------------------------------------------------------------------------------------- files


def test_file_is_told_by_its_content_not_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "digit.jpg").write_bytes(encoded(GREY))
    np.testing.assert_array_equal(read_picture(tmp_path / "digit.jpg").pixels_HW, DIGIT_HW)
    (tmp_path / "digit.png").write_bytes(encoded(GREY, "TIFF"))
    with pytest.raises(ImageError, match=r"digit\.png: content: got an unknown"):
        read_picture(tmp_path / "digit.png")


def missing(path: Path) -> None:
    assert not path.exists()


def oversized(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(LARGEST_FILE + 1)


def loop(path: Path) -> None:
    path.symlink_to(path)


def inside_a_file(path: Path) -> None:
    path.parent.rmdir()
    path.parent.write_text("")


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (missing, "file: got nothing, expected a PNG"),
        (os.mkdir, "file: got something else than a file"),
        (os.mkfifo, "file: got something else than a file"),
        (oversized, "size: got more than 16,777,216 bytes"),
        (loop, "file: got Too many levels of symbolic links, expected one that can be read"),
        (inside_a_file, "file: got Not a directory, expected one that can be read"),
    ],
)
def test_what_is_no_readable_file_is_refused(tmp_path: Path, make: Callable[[Path], None], expected: str) -> None:
    path = tmp_path / "a/digit.png"
    path.parent.mkdir()
    make(path)
    with pytest.raises(ImageError) as caught:
        read_picture(path)
    assert str(caught.value).startswith(f"{path}: {expected}")


def test_file_that_may_not_be_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(os, "open", refuse)  # root may read everything
    with pytest.raises(ImageError, match="file: got Permission denied, expected one that can be read"):
        read_picture(tmp_path / "digit.png")


# ---------------------------------------------------------------------------------------------------------------- fuzz

SEEDS = [
    *(encoded(GREY, kind) for kind in ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")),
    *(encoded(with_alpha(0)), encoded(deep()), encoded(GREY, "GIF", transparency=0), plain_greymap(255), rotated(6)),
    *(animated("GIF"), animated("WEBP"), encoded(LARGE, "JPEG", progressive=True), phone()),
]


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """A valid file with some bytes replaced, a stretch removed, or a stretch doubled."""
    content = bytearray(draw(st.sampled_from(SEEDS)))
    position = st.integers(0, len(content) - 1)
    for _ in range(draw(st.integers(1, 4))):
        start, stop = sorted((draw(position), draw(position)))
        match draw(st.sampled_from(["replace", "header", "remove", "double"])):
            case "replace":
                content[start : start + 4] = draw(st.binary(min_size=1, max_size=4))
            case "header":
                content[start % 64 : start % 64 + 1] = draw(st.binary(min_size=1, max_size=1))
            case "remove":
                del content[start : min(stop, start + 50)]
            case "double":
                content[start:start] = content[start : min(stop, start + 50)]
    return bytes(content)


MAGIC = st.sampled_from(
    [b"", b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"BM", b"GIF89a", b"RIFF\x99\0\0\0WEBPVP8 ", b"P5\n"]
)
FUZZED = st.one_of(mutated(), st.builds(bytes.__add__, MAGIC, st.binary(max_size=300)))


def check_fuzzed(content: bytes) -> None:
    try:
        picture = parse_picture(content, "fuzzed")
    except ImageError as error:
        assert "\n" not in str(error)
        return
    assert isinstance(picture, Picture)
    assert picture.pixels_HW.shape == (28, 28)
    assert picture.pixels_HW.max() >= 254


@settings(max_examples=300)
@given(FUZZED)
def test_any_bytes_give_a_picture_or_a_refusal(content: bytes) -> None:
    check_fuzzed(content)


@pytest.mark.faults
@settings(max_examples=10_000, suppress_health_check=list(HealthCheck))
@given(FUZZED)
def test_ten_thousand_times_any_bytes_give_a_picture_or_a_refusal(content: bytes) -> None:
    check_fuzzed(content)
