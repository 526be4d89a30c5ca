"""Digits of any data set: what it is called, what its classes are called, and which of its images are the test."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import CLASSES, FEWEST, NAME, LabelledImages
from mnist_dvc.data.splits import RawDigits
from mnist_dvc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnist_dvc.data.splits import Part

__all__ = [
    "EXPECTED_NAME",
    "TESTED",
    "NamedDigits",
    "class_names",
    "is_name",
    "refuse_absent_classes",
    "with_test",
]

EXPECTED_NAME = 'at most 60 characters, none of them a control character or ` | < > " \\'
"""What :func:`is_name` asks for, in words."""
TESTED = 7
"""One image of so many becomes a test image where there are no test files: the proportion of MNIST."""


@dataclass(frozen=True, slots=True)
class NamedDigits(RawDigits):
    """Digits before they are split; ``classes`` are the names of labels 0, 1, ..., none where labels are digits."""

    classes: tuple[str, ...] = ()


def is_name(text: str) -> bool:
    """Whether a data set or a class may be called so."""
    return re.match(NAME, text) is not None and text.isprintable()


def class_names(names: Sequence[str], where: object) -> tuple[str, ...]:
    """``names`` of the labels 0, 1, ..., if classes can be called so; none if they are the ten digits themselves.

    Raises:
        DataError: too few or too many, one twice, or one that cannot stand in a table.
    """
    if not FEWEST <= len(names) <= CLASSES:
        raise DataError(where, "classes", got=len(names), expected=f"{FEWEST} to {CLASSES}")
    for name in names:
        if not is_name(name):
            raise DataError(where, "name of a class", got=repr(name), expected=EXPECTED_NAME)
        if names.count(name) > 1:
            raise DataError(where, "name of a class", got=f"{name} twice", expected="names that differ")
    return () if list(names) == [str(label) for label in range(CLASSES)] else tuple(names)


def with_test(raw: NamedDigits) -> NamedDigits:
    """``raw`` with every seventh image of each class as its test, in the place of the test files that it lacks.

    By position, so that the same images are kept back whatever the seed is and whatever is trained.

    Raises:
        DataError: a class has fewer than seven images.
    """
    test_N = np.zeros(len(raw.pool), np.bool_)
    for label in np.unique(raw.pool.labels_N).tolist():
        places_M = np.flatnonzero(raw.pool.labels_N == label)
        if len(places_M) < TESTED:
            name = raw.classes[label] if raw.classes else label
            expected = f"at least {TESTED}, of which one is for the test, or test images of their own"
            raise DataError(raw.pool.where, f"images of class {name}", got=len(places_M), expected=expected)
        test_N[places_M[TESTED - 1 :: TESTED]] = True
    pool, test = (
        LabelledImages(raw.pool.images_NHW[chosen_N], raw.pool.labels_N[chosen_N], raw.pool.where)
        for chosen_N in (~test_N, test_N)
    )
    return replace(raw, pool=pool, test=test)


def refuse_absent_classes(parts: Mapping[str, Part], where: object) -> None:
    """See that what is learned is what is validated and tested.

    Raises:
        DataError: a split lacks a class that another one has.
    """
    present = {name: set(part.digits.labels_N.tolist()) for name, part in parts.items()}
    wanted = set().union(*present.values())
    for name, labels in present.items():
        if labels != wanted:
            expected = f"some of each class, as there are in others: {sorted(wanted)}"
            raise DataError(where, f"classes of the {name} images", got=sorted(labels), expected=expected)
