from __future__ import annotations

import torch
from helpers import blobs

from mnist_dvc.data.digits import MEAN, STD, Digits, normalise

DIGITS = Digits.on(torch.device("cpu"), blobs(3))


def test_digits_are_resident_as_bytes() -> None:
    assert DIGITS.images_N1HW.shape == (30, 1, 28, 28)
    assert DIGITS.images_N1HW.dtype == torch.uint8
    assert DIGITS.labels_N.dtype == torch.int64
    assert len(DIGITS) == 30


def test_batch_gathers_by_position_and_scales_to_one() -> None:
    images_N1HW, labels_N = DIGITS.batch(torch.tensor([7, 3]))
    torch.testing.assert_close(images_N1HW, DIGITS.images_N1HW[[7, 3]].float() / 255)
    assert labels_N.tolist() == [7, 3]
    assert 0.0 <= float(images_N1HW.min()) <= float(images_N1HW.max()) <= 1.0


def test_chunks_go_through_all_images_once_and_in_order() -> None:
    chunks = list(DIGITS.chunks(8))
    assert [len(labels_N) for _, labels_N in chunks] == [8, 8, 8, 6]
    images_N1HW, labels_N = DIGITS.batch(torch.arange(30))
    torch.testing.assert_close(torch.cat([images for images, _ in chunks]), normalise(images_N1HW))
    torch.testing.assert_close(torch.cat([labels for _, labels in chunks]), labels_N)


def test_normalise_maps_the_mean_to_zero() -> None:
    images_N1HW = torch.tensor([0.0, MEAN, MEAN + STD]).view(3, 1, 1, 1)
    torch.testing.assert_close(normalise(images_N1HW).flatten(), torch.tensor([-MEAN / STD, 0.0, 1.0]))
