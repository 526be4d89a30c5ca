from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import blobs

from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.errors import DataError

GOOD = blobs(2)


def eleven(labels_N: Any) -> Any:
    labels_N = labels_N.copy()
    labels_N[0] = 10
    return labels_N


WRONG = {
    "28 x 27": (GOOD.images_NHW[:, :, 1:], GOOD.labels_N, "images: got uint8 (20, 28, 27), expected uint8 (N, 28, 28)"),
    "floats": (GOOD.images_NHW / 255.0, GOOD.labels_N, "images: got float64"),
    "flat": (GOOD.images_NHW[0], GOOD.labels_N, "images: got uint8 (28, 28)"),
    "wide labels": (GOOD.images_NHW, GOOD.labels_N.astype(np.int64), "labels: got int64 (20,), expected uint8 (N,)"),
    "one label less": (GOOD.images_NHW, GOOD.labels_N[:-1], "number of labels: got 19, expected 20, as images"),
    "label 10": (GOOD.images_NHW, eleven(GOOD.labels_N), "largest label: got 10, expected at most 9"),
    "one class": (GOOD.images_NHW[:1], GOOD.labels_N[:1], "classes present: got [0], expected at least 2"),
    "none at all": (GOOD.images_NHW[:0], GOOD.labels_N[:0], "classes present: got [], expected at least 2"),
    "blank": (np.zeros_like(GOOD.images_NHW), GOOD.labels_N, "pixels: got only zeros, expected some ink"),
}


@pytest.mark.parametrize("name", WRONG)
def test_unfit_arrays_are_refused(name: str) -> None:
    images, labels, expected = WRONG[name]
    with pytest.raises(DataError) as caught:
        LabelledImages(images, labels, "file")
    assert str(caught.value).startswith("file: ")
    assert expected in str(caught.value)


def test_two_classes_are_enough() -> None:
    assert len(LabelledImages(GOOD.images_NHW[:2], GOOD.labels_N[:2], "file")) == 2


def test_length_is_the_number_of_images() -> None:
    assert len(GOOD) == 20
