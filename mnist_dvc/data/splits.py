"""Train, validation and test: which image belongs to which, decided once and by seed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import CLASSES, LabelledImages
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


def split(raw: RawDigits, *, validation: int, seed: int, holdout: str = "random") -> dict[str, Part]:
    """Train, validation and test; the parts of one pool are disjoint and in file order, the test stratified by class.

    Args:
        raw: a source with its own test images, or one pool, of which ``SAMPLE_HOLDOUT`` become the test.
        validation: images to hold out of the training ones; at most ``SAMPLE_HOLDOUT`` where there is one pool.
        seed: chooses them.
        holdout: ``random``, stratified by class, or ``block``, consecutive ones: MNIST's file is in the order of its
            writers, so a block has writers of its own, as the test images have.

    Raises:
        DataError: ``validation`` leaves no image of some class to train on, or to validate with.
    """
    pool_M = np.arange(len(raw.pool), dtype=np.int32)
    if raw.test is not None:
        test = Part(raw.test, np.arange(len(raw.test), dtype=np.int32))
    else:
        pool_M, test_M = _hold_out(raw.pool, pool_M, SAMPLE_HOLDOUT, seed)
        test = _take(raw.pool, test_M)
        validation = min(validation, SAMPLE_HOLDOUT)
    held = _hold_out_block if holdout == "block" else _hold_out
    train_M, validation_M = held(raw.pool, pool_M, validation, seed)
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


def _hold_out_block(
    pool: LabelledImages, candidates_M: NDArray[np.int32], count: int, seed: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """``candidates_M`` in two: the rest, and block number ``seed`` of the blocks of ``count``, counted around."""
    if count == 0:
        return candidates_M, candidates_M[:0]
    start = seed % (len(candidates_M) // count) * count if count <= len(candidates_M) else 0
    held_M = candidates_M[start : start + count]
    kept_M = np.setdiff1d(candidates_M, held_M)
    for part_M in (kept_M, held_M):
        classes = len(np.unique(pool.labels_N[part_M]))
        if classes < CLASSES:
            got, expected = f"{classes} classes in one of the parts", f"all {CLASSES} in both"
            raise DataError(pool.where, f"holding out a block of {count}", got=got, expected=expected)
    return kept_M, held_M


def _take(pool: LabelledImages, index_M: NDArray[np.int32]) -> Part:
    digits = LabelledImages(pool.images_NHW[index_M], pool.labels_N[index_M], pool.where)
    return Part(digits, index_M)
