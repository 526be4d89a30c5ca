"""The bytes of a picture file that nobody vouches for to an upright picture of bounded size, or a refusal in words."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from mnist_dvc.errors import ImageError
from mnist_dvc.image.bounds import CountedFile, bare_jpeg, greymap, leaving_nothing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["KINDS", "LARGEST_FILE", "LARGEST_PIXELS", "LARGEST_SIDE", "Raster", "rastered", "upright"]

LARGEST_FILE = 16 * 2**20
"""Bytes; a photo of a telephone has up to about ten million."""
LARGEST_PIXELS = 48 * 2**20
"""The largest photos of most telephones, 8,192 x 6,144; these come as JPEG, which is decoded at a fraction of that."""
LARGEST_SIDE = 8192
WORKING_SIDE = 1000
"""Pixels: a picture with twice as many on its longer side is reduced, to no fewer than these."""
STRIP = 64
"""Rows of a reduced picture that are made at once."""
LARGEST_SLOW = 24 * 2**20
"""Pixels of a WebP, or of a PNG with 16 bits for each of several channels: tens of nanoseconds are spent on each."""
DEEP_CHANNELS = (b"\x10\2", b"\x10\4", b"\x10\6")
"""Bits and kind of such a PNG, as its header has them."""
FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM")
LOSSY = ("JPEG", "WEBP")
ANIMATED = ("PNG", "GIF", "WEBP")
GREYMAPS = (b"P2", b"P5")
JPEG = b"\xff\xd8\xff"
KINDS = "a PNG, JPEG, BMP, GIF, WebP or PGM picture"
DEEP = 257
"""Levels of 16 bits to one of 8."""
WHITE, MIDDLE = 255.0, 127.5
OPAQUE = 0.5
"""What covers at least so much of what lies below is a picture with a soft rim, not ink on nothing."""


@dataclass(frozen=True, slots=True)
class Raster:
    """A picture to look for digits in.

    ``grey_HW`` is its luminance, 0 to 255, float32; ``colour_HWC`` its red, green and blue, uint8, None where it has
    no colour; ``lossy`` tells of a format that leaves traces; ``size`` is width and height of the upright picture
    before it was reduced.
    """

    grey_HW: NDArray[np.float32]
    colour_HWC: NDArray[np.uint8] | None
    lossy: bool
    size: tuple[int, int]


def rastered(content: bytes, where: object) -> Raster:
    """The picture in the bytes of a file; ``where`` they come from is for errors.

    Raises:
        ImageError: too large, no picture of these kinds, damaged, or animated.
    """
    with _in_words(where):
        image, size = _decoded(content, where, WORKING_SIDE)
        lossy = image.format in LOSSY
        factor = max(1, max(image.size) // WORKING_SIDE)
        image = _turned(_reduced(image, factor) if factor > 1 else image)
        transposed = (image.width < image.height) != (size[0] < size[1])
        return Raster(_luminance(image), _colour(image), lossy, size[::-1] if transposed else size)


@leaving_nothing
def upright(content: bytes, where: object) -> Image.Image:
    """The picture in the bytes of a file as its maker saw it, in red, green and blue, on white where transparent.

    Raises:
        ImageError: as ``rastered``.
    """
    with _in_words(where):
        image = _turned(_decoded(content, where, None)[0])
        if image.mode.startswith("I"):
            levels_HW = np.rint(np.asarray(image).astype(np.float32) / DEEP).clip(0, WHITE)
            image = Image.fromarray(levels_HW.astype(np.uint8))
        if not image.has_transparency_data:
            return image.convert("RGB")
        image = image.convert("RGBA")
        paper = Image.new("RGBA", image.size, "white")
        return Image.alpha_composite(paper, image).convert("RGB")


@contextmanager
def _in_words(where: object) -> Iterator[None]:
    """Nothing of the library gets out of here but as a refusal of ours."""
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


def _decoded(content: bytes, where: object, side: int | None) -> tuple[Image.Image, tuple[int, int]]:
    """The single picture in ``content``, whose size is known to be harmless before a pixel is decoded, and that size.

    A JPEG is decoded at the smallest fraction of its size that leaves ``side`` pixels on its longer side.
    """
    if len(content) > LARGEST_FILE:
        raise ImageError(where, "size", got=f"more than {LARGEST_FILE:,} bytes", expected=KINDS)
    if content[:1] == b"P" and content[:2] not in GREYMAPS:  # Pillow's PPM reads a dozen relatives of PGM
        raise _unknown(where)
    if content[:3] == JPEG:
        content = bare_jpeg(content, where)
    file = CountedFile(content, where)
    with Image.open(file, formats=FORMATS) as unread:
        width, height = size = unread.size
        if width * height > LARGEST_PIXELS or max(width, height) > LARGEST_SIDE:
            raise _too_large(where, f"{width:,} x {height:,}")
        slow = unread.format == "WEBP" or (unread.format == "PNG" and content[24:26] in DEEP_CHANNELS)
        if slow and width * height > LARGEST_SLOW:
            expected = f"at most {LARGEST_SLOW:,} pixels of this kind"
            raise ImageError(where, "size", got=f"{width:,} x {height:,}", expected=expected)
        if unread.format in ANIMATED and getattr(unread, "n_frames", 1) > 1:
            raise ImageError(where, "content", got="an animation", expected="a single picture")
        unread.verify()  # a PNG's checksums, which decoding alone does not look at
    file.seek(0)
    image = Image.open(file, formats=FORMATS)
    if image.tile and image.tile[0][0] in ("ppm", "ppm_plain"):
        return greymap(image, content), size
    if side and max(size) >= 2 * side:
        fraction = side / max(size)
        image.draft(None, (int(width * fraction), int(height * fraction)))
    image.load()
    return image, size


def _reduced(image: Image.Image, factor: int) -> Image.Image:
    """Means of ``factor`` x ``factor`` pixels; levels of 16 bits stay as they are, and so does transparency.

    Strip by strip, since each step on the whole would put another picture of that size into memory.
    """
    width, height = (-(-side // factor) for side in image.size)
    whole = None
    for top in range(0, height, STRIP):
        part = image.crop((0, top * factor, image.width, min(image.height, (top + STRIP) * factor)))
        part = _reducible(part).reduce(factor)
        if whole is None:
            whole = Image.new(part.mode, (width, height))
            whole.info = part.info
        whole.paste(part, (0, top))
    return whole or image


def _reducible(image: Image.Image) -> Image.Image:
    """``image`` in a mode that means are taken of."""
    key = image.info.get("transparency")
    if image.mode.startswith("I") and key is not None:
        levels_HW = np.asarray(image)
        grey_HW = np.rint(levels_HW / np.float32(DEEP)).clip(0, WHITE).astype(np.uint8)
        alpha_HW = np.where(levels_HW == key, np.uint8(0), np.uint8(WHITE))
        return Image.merge("LA", [Image.fromarray(grey_HW), Image.fromarray(alpha_HW)]).convert("RGBA")
    if image.mode.startswith("I"):
        return image.convert("I")
    if image.has_transparency_data:
        return image.convert("RGBA")
    return image if image.mode in ("L", "RGB") else image.convert("RGB")


def _turned(image: Image.Image) -> Image.Image:
    """As its EXIF orientation says."""
    ImageOps.exif_transpose(image, in_place=True)
    return image


def _luminance(image: Image.Image) -> NDArray[np.float32]:
    """Brightness (H, W) of any mode, 0 to 255, transparent parts filled with paper."""
    if image.mode.startswith("I"):  # 16 bits, which convert() would clip instead of scaling
        levels_HW = np.asarray(image).astype(np.float32)
        alpha_HW = (levels_HW != image.info.get("transparency", -1)).astype(np.float32)
        return _on_paper(levels_HW / np.float32(DEEP), alpha_HW)
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
    if alpha_HW.min() >= OPAQUE:
        return grey_HW
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


def _colour(image: Image.Image) -> NDArray[np.uint8] | None:
    """Red, green and blue (H, W, 3), where the picture is opaque and may have colour."""
    if image.has_transparency_data or image.mode in ("1", "L") or image.mode.startswith("I"):
        return None
    return np.asarray(image.convert("RGB"))
