"""A picture file that nobody vouches for to a 28 x 28 digit as MNIST has them, or a refusal in words."""

from __future__ import annotations

import contextlib
import io
import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_dvc.data.arrays import SIDE
from mnist_dvc.errors import ImageError
from mnist_dvc.files import read_regular

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = [
    "KINDS",
    "LARGEST_FILE",
    "LARGEST_PIXELS",
    "LARGEST_SIDE",
    "Box",
    "Picture",
    "parse_digits",
    "parse_picture",
    "read_digits",
    "read_picture",
    "upright",
]

Box = tuple[int, int, int, int]
"""Left, top, right and bottom in pixels, the last two exclusive."""

LARGEST_FILE = 16 * 2**20
"""Bytes; a photo of a telephone has up to about ten million."""
LARGEST_PIXELS = 16 * 2**20
"""A photo of a telephone has twelve million."""
LARGEST_SIDE = 8192
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
LOSSY = ("JPEG", "MPO", "WEBP")
ANIMATED = ("PNG", "GIF", "WEBP")
GREYMAPS = (b"P2", b"P5")
KINDS = "a PNG, JPEG, BMP, GIF, WebP or PGM picture"

WHITE, MIDDLE = 255.0, 127.5
FULL_INK = 254.0
"""A tenth of MNIST's images reach no more than this, and should come through as they are."""
INK_SIDE = 20
"""Height or width of the ink in pixels, whichever is larger, in all but 13 of MNIST's 60,000 training images."""
SMALLEST_INK = 7
"""The height of digits in the smallest fonts."""
LEAST_CONTRAST = 24.0
FAINT = 0.15
"""Fraction of the darkest ink below which compression and scaling leave traces; chosen on training images."""
NOISE_DEVIATIONS = 6.0
"""So many standard deviations are exceeded by chance once in 500 million pixels."""
DEVIATION_OF_MEDIAN = 1.4826
"""Standard deviation over median absolute deviation, for normal noise."""


@dataclass(frozen=True, slots=True)
class Picture:
    """A digit as MNIST has them: ``pixels_HW`` (28, 28) uint8, 0 background to 255 ink.

    ``inverted`` tells that the file showed dark ink on a light ground, ``box`` where in the upright picture the ink is.
    """

    pixels_HW: NDArray[np.uint8]
    inverted: bool
    box: Box


def read_picture(path: Path) -> Picture:
    """The digit in the file ``path``.

    Raises:
        ImageError: as ``parse_picture``, or the file is missing, not a regular one, or may not be read.
    """
    return parse_picture(_content(path), path)


def read_digits(path: Path) -> tuple[Picture, ...]:
    """The digits in the file ``path``, line by line, left to right.

    Raises:
        ImageError: as ``read_picture``.
    """
    return parse_digits(_content(path), path)


def _content(path: Path) -> bytes:
    try:
        return read_regular(path, LARGEST_FILE, ImageError, KINDS)
    except OSError as error:
        raise ImageError(path, "file", got=error.strerror, expected="one that can be read") from error


def parse_digits(content: bytes, where: object) -> tuple[Picture, ...]:
    """The digits in the bytes of a picture file, line by line, left to right.

    Raises:
        ImageError: as ``parse_picture``.
    """
    return (parse_picture(content, where),)


def parse_picture(content: bytes, where: object) -> Picture:
    """The digit in the bytes of a picture file; ``where`` they come from is for errors.

    The ink is scaled and centred as MNIST's makers did (http://yann.lecun.com/exdb/mnist): its box fits into 20 x 20
    pixels, its centre of mass lies in the middle of 28 x 28.

    Raises:
        ImageError: too large, no picture of these kinds, damaged, animated, blank, or without ink of a digit's size.
    """
    if len(content) > LARGEST_FILE:
        raise ImageError(where, "size", got=f"more than {LARGEST_FILE:,} bytes", expected=KINDS)
    grey_HW, lossy = _grey(content, where)
    ink_HW, noise, inverted = _ink(_levelled(grey_HW), where)
    inside_HW, box = _cropped(ink_HW, noise, where, lossy=lossy)
    return Picture(_centred(_fitted(inside_HW)), inverted, box)


def upright(content: bytes, where: object) -> Image.Image:
    """The picture in the bytes of a file as people look at it: turned as its camera says, RGB, transparent on white.

    Raises:
        ImageError: too large, no picture of these kinds, damaged, or animated.
    """
    if len(content) > LARGEST_FILE:
        raise ImageError(where, "size", got=f"more than {LARGEST_FILE:,} bytes", expected=KINDS)
    with _refused_in_words(where):
        image = _decoded(content, where)
        ImageOps.exif_transpose(image, in_place=True)
        if image.mode.startswith("I"):
            image = Image.fromarray((np.asarray(image) // 257).astype(np.uint8))
        paper = Image.new("RGBA", image.size, "white")
        paper.alpha_composite(image.convert("RGBA"))
        return paper.convert("RGB")


def _grey(content: bytes, where: object) -> tuple[NDArray[np.float32], bool]:
    """Luminance (H, W), 0 to 255, and whether the format is a lossy one."""
    with _refused_in_words(where):
        image = _decoded(content, where)
        ImageOps.exif_transpose(image, in_place=True)
        return _luminance(image), image.format in LOSSY


@contextlib.contextmanager
def _refused_in_words(where: object) -> Iterator[None]:
    """Nothing that the library raises or warns of gets out of here."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        try:
            yield
        except (ImageError, MemoryError):
            raise
        except UnidentifiedImageError as error:
            raise _unknown(where) from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
            raise _too_large(where, "far more") from error
        except Exception as error:  # what a decoder raises on damage is not documented, and is any class
            reason = " ".join(f"{type(error).__name__}: {error}".split())
            raise ImageError(where, "content", got=f"damage ({reason})", expected=KINDS) from error


def _unknown(where: object) -> ImageError:
    return ImageError(where, "content", got="an unknown or damaged file", expected=KINDS)


def _too_large(where: object, got: str) -> ImageError:
    expected = f"at most {LARGEST_PIXELS:,} pixels and {LARGEST_SIDE:,} on a side"
    return ImageError(where, "size", got=got, expected=expected)


def _decoded(content: bytes, where: object) -> Image.Image:
    """The single picture in ``content``; its size is known to be harmless before a pixel is decoded."""
    if content[:1] == b"P" and content[:2] not in GREYMAPS:  # Pillow's PPM reads a dozen relatives of PGM
        raise _unknown(where)
    with Image.open(io.BytesIO(content), formats=FORMATS) as unread:
        width, height = unread.size
        if width * height > LARGEST_PIXELS or max(width, height) > LARGEST_SIDE:
            raise _too_large(where, f"{width:,} x {height:,}")
        # In a JPEG further frames are the previews and depth maps of a telephone (MPO), not an animation.
        if unread.format in ANIMATED and getattr(unread, "n_frames", 1) > 1:
            raise ImageError(where, "content", got="an animation", expected="a single picture")
        unread.verify()  # a PNG's checksums, which decoding alone does not look at
    image = Image.open(io.BytesIO(content), formats=FORMATS)
    image.load()
    return image


def _luminance(image: Image.Image) -> NDArray[np.float32]:
    """Brightness (H, W) of any mode, 0 to 255, transparent parts filled with paper."""
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip instead of scaling
        levels_HW = np.asarray(image).astype(np.float32)
        alpha_HW = (levels_HW != image.info.get("transparency", -1)).astype(np.float32)
        return _on_paper(levels_HW / np.float32(257), alpha_HW)
    if not image.has_transparency_data:
        return np.asarray(image.convert("L"), np.float32)
    image = image.convert("RGBA")
    alpha_HW = np.asarray(image.getchannel("A"), np.float32) / np.float32(WHITE)
    return _on_paper(np.asarray(image.convert("L"), np.float32), alpha_HW)


def _on_paper(grey_HW: NDArray[np.float32], alpha_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """``grey_HW`` on the paper, white or black, that its visible ink stands out from; ``alpha_HW`` is 0 to 1.

    Ink of one colour stands out from the other. Of more colours, those next to the transparent parts are nearer to
    the paper's: they are the ink's blurred edge, or the paper itself.
    """
    seen_HW = alpha_HW >= alpha_HW.max() / 2
    seen_M, rim_M = grey_HW[seen_HW], grey_HW[_rim(seen_HW)]
    coloured = rim_M.size > 0 and np.ptp(seen_M) >= MIDDLE
    dark = rim_M.mean() > seen_M.mean() if coloured else np.median(seen_M) < MIDDLE
    paper = np.float32(WHITE if dark else 0)
    return paper + (grey_HW - paper) * alpha_HW


def _rim(seen_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The seen pixels, (H, W), with an unseen one above, below, left or right."""
    around_HW = np.pad(seen_HW, 1, constant_values=True)
    inside_HW = around_HW[:-2, 1:-1] & around_HW[2:, 1:-1] & around_HW[1:-1, :-2] & around_HW[1:-1, 2:]
    return seen_HW & ~inside_HW


def _levelled(grey_HW: NDArray[np.float32]) -> NDArray[np.float32]:
    """Without a slope of the light from side to side, if its border shows one, as in most photos."""
    height, width = grey_HW.shape
    down = np.median(grey_HW[-1]) - np.median(grey_HW[0])
    across = np.median(grey_HW[:, -1]) - np.median(grey_HW[:, 0])
    rows_H, columns_W = (np.linspace(-0.5, 0.5, side, dtype=np.float32) for side in (height, width))
    levelled_HW = grey_HW - rows_H[:, None] * down - columns_W * across
    # Where ink touches a side there seems to be a slope, too, but taking it away makes the border no more even.
    return levelled_HW if _ground(levelled_HW)[1] < _ground(grey_HW)[1] / 2 else grey_HW


def _ground(grey_HW: NDArray[np.float32]) -> tuple[float, float]:
    """Level and noise of the ground: the border's median, as a digit covers less than half of it, and its spread."""
    border_M = np.concatenate([grey_HW[0], grey_HW[-1], grey_HW[:, 0], grey_HW[:, -1]])
    level = float(np.median(border_M))
    deviation = DEVIATION_OF_MEDIAN * float(np.median(np.abs(border_M - level)))
    return level, NOISE_DEVIATIONS * deviation


def _ink(grey_HW: NDArray[np.float32], where: object) -> tuple[NDArray[np.float32], float, bool]:
    """Distance from the ground towards the ink (H, W), 0 to 255; how much of it is noise; whether ink is dark."""
    level, noise = _ground(grey_HW)
    inverted = level > (float(grey_HW.min()) + float(grey_HW.max())) / 2
    ink_HW = np.maximum(level - grey_HW if inverted else grey_HW - level, 0)
    contrast, least = float(ink_HW.max()), max(LEAST_CONTRAST, noise)
    if contrast <= least:
        raise ImageError(where, "contrast", got=f"{contrast:.0f} of 255", expected=f"more than {least:.0f}: no digit")
    return ink_HW, noise, inverted


def _cropped(
    ink_HW: NDArray[np.float32], noise: float, where: object, *, lossy: bool
) -> tuple[NDArray[np.float32], Box]:
    """The ink within its box, what is noise set to 0, and that box.

    A lossless picture with ink no larger than MNIST's keeps even the faintest; any other was compressed or scaled,
    or will be scaled.
    """
    box = _box(ink_HW > noise)
    if lossy or max(ink_HW[box].shape) > INK_SIDE:
        noise = max(noise, FAINT * float(ink_HW.max()))
        box = _box(ink_HW > noise)
    inside_HW = ink_HW[box]
    height, width = inside_HW.shape
    if max(height, width) < SMALLEST_INK:
        expected = f"at least {SMALLEST_INK} one way: no digit"
        raise ImageError(where, "pixels of ink", got=f"{width} x {height}", expected=expected)
    rows, columns = box
    place = (int(columns.start), int(rows.start), int(columns.stop), int(rows.stop))
    return np.where(inside_HW > noise, inside_HW, 0), place


def _box(ink_HW: NDArray[np.bool_]) -> tuple[slice, slice]:
    """Rows and columns from the first with ink to the last; there is some."""
    rows, columns = np.flatnonzero(ink_HW.any(axis=1)), np.flatnonzero(ink_HW.any(axis=0))
    return slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)


def _fitted(ink_HW: NDArray[np.float32]) -> NDArray[np.uint8]:
    """The ink with its longer side at 20 pixels, anti-aliased, the darkest at 255.

    Hamming came closest to training images that had been enlarged before, of Pillow's filters.
    """
    height, width = ink_HW.shape
    scale = INK_SIDE / max(height, width)
    size = max(1, round(width * scale)), max(1, round(height * scale))
    if size != (width, height):
        ink_HW = np.asarray(Image.fromarray(ink_HW).resize(size, Image.Resampling.HAMMING))
    darkest = float(ink_HW.max())
    if not FULL_INK <= darkest <= WHITE:  # above where a slope of the light was taken away
        ink_HW = ink_HW * (WHITE / darkest)
    return np.rint(ink_HW).astype(np.uint8)


def _centred(ink_HW: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """The ink on 28 x 28 pixels, its centre of mass at 14 of 0 to 27, to the nearest pixel, and nothing cut off."""
    height, width = ink_HW.shape
    top, left = _start(ink_HW.sum(axis=1)), _start(ink_HW.sum(axis=0))
    pixels_HW = np.zeros((SIDE, SIDE), np.uint8)
    pixels_HW[top : top + height, left : left + width] = ink_HW
    return pixels_HW


def _start(mass_M: NDArray[np.unsignedinteger]) -> int:
    """Where a row or column of masses starts among the 28 pixels.

    In all but a few of MNIST's training images the centre lies in [13.5, 14.5), hence the rounding.
    """
    centre = float((mass_M * np.arange(len(mass_M))).sum() / mass_M.sum())
    return min(max(math.ceil(SIDE / 2 - 0.5 - centre), 0), SIDE - len(mass_M))
