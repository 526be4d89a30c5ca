"""Train, validation and test: which image belongs to which, decided once and by seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.errors import DataError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SAMPLE_HOLDOUT", "SPLITS", "Part", "RawDigits", "split"]

SPLITS = ("train", "validation", "test")

SAMPLE_HOLDOUT = 500
"""Images held out for the test, and at most for validation, where a source has no test file of its own."""


@dataclass(frozen=True, slots=True)
class RawDigits:
    """What a source holds before it is split.

    ``test`` is None where the source is a single pool. ``origin`` says what the bytes are, never where they lay, so
    that it is the same on every machine.
    """

    dataset: str
    origin: dict[str, str]
    pool: LabelledImages
    test: LabelledImages | None


@dataclass(frozen=True, slots=True)
class Part:
    """One split: its images, and the position of each in the file or pool it was taken from (int32, rising)."""

    digits: LabelledImages
    index_N: NDArray[np.int32]


def split(raw: RawDigits, *, validation: int, seed: int) -> dict[str, Part]:
    """Train, validation and test; the parts of one pool are disjoint, stratified by class and in file order.

    Args:
        raw: a source with its own test images, or one pool, of which ``SAMPLE_HOLDOUT`` become the test.
        validation: images to hold out of the training ones; at most ``SAMPLE_HOLDOUT`` where there is one pool.
        seed: chooses them.

    Raises:
        DataError: ``validation`` leaves no image of some class to train on.
    """
    pool_M = np.arange(len(raw.pool), dtype=np.int32)
    if raw.test is not None:
        test = Part(raw.test, np.arange(len(raw.test), dtype=np.int32))
    else:
        pool_M, test_M = _hold_out(raw.pool, pool_M, SAMPLE_HOLDOUT, seed)
        test = _take(raw.pool, test_M)
        validation = min(validation, SAMPLE_HOLDOUT)
    train_M, validation_M = _hold_out(raw.pool, pool_M, validation, seed)
    parts = {"train": _take(raw.pool, train_M), "test": test}
    if validation:
        parts["validation"] = _take(raw.pool, validation_M)
    return parts


def _hold_out(
    pool: LabelledImages, candidates_M: NDArray[np.int32], count: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """``candidates_M`` in two: the rest, and ``count`` of them with the classes in proportion."""
    if count == 0:
        return candidates_M, candidates_M[:0]
    from sklearn.model_selection import train_test_split  # noqa: PLC0415  (a second's import, for this call alone)

    labels_M = pool.labels_N[candidates_M]
    try:
        kept, held = train_test_split(candidates_M, test_size=count, random_state=seed % 2**32, stratify=labels_M)
    except ValueError as error:
        raise DataError(
            pool.where, f"holding out {count} of {len(candidates_M)}", got=error, expected="a split"
        ) from error
    return np.sort(kept), np.sort(held)


def _take(pool: LabelledImages, index_M: NDArray[np.int32]) -> Part:
    digits = LabelledImages(pool.images_NHW[index_M], pool.labels_N[index_M], pool.where)
    return Part(digits, index_M)
