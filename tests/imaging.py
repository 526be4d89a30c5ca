"""One drawn digit, and ways to encode it as a picture."""

from __future__ import annotations

import io
import struct
import zlib
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, ImageDraw, ImageOps

from mnist_dvc.image import parse_picture

if TYPE_CHECKING:
    from numpy.typing import NDArray

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


def with_alpha(ink: int) -> Image.Image:
    """The digit as coverage of one grey on nothing; what lies below the transparent parts is the same grey."""
    return Image.merge("LA", [Image.new("L", GREY.size, ink), GREY])


def padded(before: int, after: int, image: Image.Image = GREY) -> Image.Image:
    return Image.fromarray(np.pad(np.asarray(image), ((before, after), (after, before))))


def deep(image: Image.Image = GREY) -> Image.Image:
    """16 bits, all levels of which end in the same half: 257 times the level."""
    return Image.fromarray(np.asarray(image).astype(np.uint16) * 257)


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


def phone() -> bytes:
    """A JPEG with a second picture in it, as telephones store their previews."""
    return encoded(LARGE, "MPO", save_all=True, append_images=[NO_INK], quality=90)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def animated(kind: str) -> bytes:
    return encoded(GREY.convert("RGB"), kind, save_all=True, append_images=[DARK.convert("RGB")], duration=100)
