"""Pictures and files that are refused, in one line, at no more cost than a good one."""

from __future__ import annotations

import functools
import io
import os
import struct
import subprocess
import sys
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from imaging import DIGIT_HW, GREY, NO_INK, animated, chunk, encoded, padded
from PIL import Image

from mnist_dvc.errors import ImageError
from mnist_dvc.image import (
    LARGEST_FILE,
    LARGEST_SIDE,
    decode,
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


# -------------------------------------------------------------------------------------------------------- bad pictures


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
