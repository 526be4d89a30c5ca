"""Picture files to 28 x 28 digits as MNIST has them, or refusals in words."""

from mnist_dvc.image.decode import LARGEST_FILE, LARGEST_PIXELS, LARGEST_SIDE, upright
from mnist_dvc.image.reading import (
    Picture,
    parse_digits,
    parse_drawing,
    parse_picture,
    picture_bytes,
    read_digits,
    read_picture,
)

__all__ = [
    "LARGEST_FILE",
    "LARGEST_PIXELS",
    "LARGEST_SIDE",
    "Picture",
    "parse_digits",
    "parse_drawing",
    "parse_picture",
    "picture_bytes",
    "read_digits",
    "read_picture",
    "upright",
]
