"""Which classes a report shows, and what they are called."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

__all__ = ["answer_names", "shortened", "shown_classes"]

OUTPUTS = 10
"""Answers that every network can give."""
LONGEST = 14
"""Characters of a name that a figure has room for."""


def answer_names(classes: Sequence[str]) -> tuple[str, ...]:
    """A name for each of the ten answers: of its class, or its number where that is a digit or stands for nothing."""
    return (*classes, *map(str, range(len(classes), OUTPUTS)))


def shown_classes(confusion_KK: NDArray[np.int64]) -> list[int]:
    """The classes that an image has or that one was taken for: all ten of MNIST, fewer where there are fewer."""
    shown: list[int] = np.flatnonzero(confusion_KK.sum(axis=0) + confusion_KK.sum(axis=1)).tolist()
    return shown


def shortened(name: str) -> str:
    """``name``, as far as a figure has room for it."""
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
