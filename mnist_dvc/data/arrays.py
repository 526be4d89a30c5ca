"""Labelled images in memory, checked once where they are made."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["CLASSES", "FEWEST", "MOST_IMAGES", "NAME", "SIDE", "LabelledImages"]

CLASSES = 10
"""Outputs of every network, and so the most classes that there can be."""
FEWEST = 2
"""Classes that there is a choice between."""
SIDE = 28
"""Height and width of an image in pixels."""
MOST_IMAGES = 300_000
"""In a file or a split; EMNIST's digits, the largest set that is known by name, train on 240,000."""
NAME = r"^[^\x00-\x1f\x7f-\x9f`|<>\"\\]{1,60}$"
"""What a data set or a class may be called, so that the name can stand in a table, a page and a figure."""


@dataclass(frozen=True, slots=True)
class LabelledImages:
    """Images and their labels, paired by position.

    ``images_NHW`` is (N, 28, 28) uint8, 0 background to 255 ink; ``labels_N`` is (N,) uint8, 0 to 9, of which at least
    two are present. ``where`` names the origin in errors.

    Raises:
        DataError: a shape, a type or a label is not as above, the counts differ, or all is blank.
    """

    images_NHW: NDArray[np.uint8]
    labels_N: NDArray[np.uint8]
    where: str

    def __post_init__(self) -> None:
        images_NHW, labels_N = self.images_NHW, self.labels_N
        if images_NHW.shape[1:] != (SIDE, SIDE) or images_NHW.dtype != np.uint8:
            got = f"{images_NHW.dtype} {images_NHW.shape}"
            raise DataError(self.where, "images", got=got, expected=f"uint8 (N, {SIDE}, {SIDE})")
        if labels_N.ndim != 1 or labels_N.dtype != np.uint8:
            raise DataError(self.where, "labels", got=f"{labels_N.dtype} {labels_N.shape}", expected="uint8 (N,)")
        if len(images_NHW) != len(labels_N):
            raise DataError(self.where, "number of labels", got=len(labels_N), expected=f"{len(images_NHW)}, as images")
        present = np.unique(labels_N)
        if present.size and present[-1] >= CLASSES:
            raise DataError(self.where, "largest label", got=present[-1], expected=f"at most {CLASSES - 1}")
        if present.size < FEWEST:
            raise DataError(self.where, "classes present", got=present.tolist(), expected=f"at least {FEWEST}")
        if not images_NHW.any():
            raise DataError(self.where, "pixels", got="only zeros", expected="some ink")

    def __len__(self) -> int:
        """Number of images."""
        return len(self.labels_N)
