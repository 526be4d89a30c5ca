"""A picture that PIL holds as the bytes of a file: what others opened comes through the door that files take."""

from __future__ import annotations

import io
from typing import TypeGuard

from PIL import Image

from mnist_dvc.errors import ImageError

__all__ = ["Image", "as_file", "is_image"]

MODES = ("1", "L", "LA", "P", "RGB", "RGBA", "I;16")
"""What a PNG holds as it is."""
QUICK = 1
"""Level of compression: the bytes are read once, and at once."""


def is_image(picture: object) -> TypeGuard[Image.Image]:
    """Whether ``picture`` is one of PIL's."""
    return isinstance(picture, Image.Image)


def as_file(image: Image.Image, where: object) -> bytes:
    """``image`` as a PNG, with its transparency and what its camera said of the way up.

    Raises:
        ImageError: it was opened from a damaged file, or is of a mode that stands for no colours.
    """
    buffer = io.BytesIO()
    try:
        if image.mode not in MODES:
            wider = "I;16" if image.mode == "I" else "RGBA" if image.has_transparency_data else "RGB"
            image = image.convert(wider)
        image.save(buffer, "PNG", compress_level=QUICK, exif=image.getexif())
    except Exception as error:  # PIL decodes what it opened only now, and its decoders raise any class
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        raise ImageError(where, "image", got=f"damage ({reason})", expected="one that can be decoded") from error
    return buffer.getvalue()
