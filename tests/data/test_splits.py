from __future__ import annotations

import numpy as np
import pytest
from helpers import blobs, raw_digits

from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.splits import RawDigits, split
from mnist_dvc.errors import DataError

POOL = RawDigits("mnist-5k", {}, blobs(120), None)


def hashes(images: np.ndarray) -> set[bytes]:
    return {image.tobytes() for image in images}


@pytest.mark.parametrize("raw", [POOL, raw_digits()], ids=["one pool", "with test files"])
def test_parts_share_no_image(raw: RawDigits) -> None:
    parts = split(raw, validation=100, seed=0)
    images = {name: hashes(part.digits.images_NHW) for name, part in parts.items()}
    assert [len(images[name]) for name in parts] == [len(part.digits) for part in parts.values()]
    assert not images["train"] & images["validation"]
    assert not images["train"] & images["test"]
    assert not images["validation"] & images["test"]


def test_parts_of_a_pool_cover_it() -> None:
    parts = split(POOL, validation=100, seed=0)
    together = np.sort(np.concatenate([part.index_N for part in parts.values()]))
    np.testing.assert_array_equal(together, np.arange(1200))


def test_index_tells_where_each_image_came_from() -> None:
    for part in split(POOL, validation=100, seed=0).values():
        np.testing.assert_array_equal(part.digits.images_NHW, POOL.pool.images_NHW[part.index_N])
        np.testing.assert_array_equal(part.digits.labels_N, POOL.pool.labels_N[part.index_N])
        assert (np.diff(part.index_N) > 0).all()


def test_test_file_is_left_as_it_is() -> None:
    raw = raw_digits()
    assert raw.test is not None
    np.testing.assert_array_equal(split(raw, validation=50, seed=3)["test"].digits.images_NHW, raw.test.images_NHW)


def test_classes_are_in_proportion() -> None:
    parts = split(raw_digits(train=40), validation=100, seed=0)
    np.testing.assert_array_equal(np.bincount(parts["validation"].digits.labels_N), np.full(10, 10))
    np.testing.assert_array_equal(np.bincount(parts["train"].digits.labels_N), np.full(10, 30))


def test_seed_decides_and_repeats() -> None:
    first, again, other = (split(POOL, validation=100, seed=seed)["train"].index_N for seed in (1, 1, 2))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_seed_of_64_bits_is_taken() -> None:
    assert len(split(POOL, validation=100, seed=2**63 - 1)["validation"].digits) == 100


def test_no_validation_leaves_all_to_train_on() -> None:
    parts = split(raw_digits(train=40), validation=0, seed=0)
    assert set(parts) == {"train", "test"}
    assert len(parts["train"].digits) == 400


def test_validation_of_a_pool_has_a_ceiling() -> None:
    assert len(split(POOL, validation=5000, seed=0)["validation"].digits) == 500


def test_too_much_validation_is_a_data_error() -> None:
    with pytest.raises(DataError, match="holding out 399 of 400"):
        split(raw_digits(train=40), validation=399, seed=0)


@pytest.mark.parametrize(("seed", "start"), [(0, 0), (1, 100), (3, 300), (4, 0)])
def test_block_is_consecutive_and_its_number_goes_around(seed: int, start: int) -> None:
    parts = split(raw_digits(train=40), validation=100, seed=seed, holdout="block")
    np.testing.assert_array_equal(parts["validation"].index_N, np.arange(start, start + 100))
    assert sorted([*parts["train"].index_N, *parts["validation"].index_N]) == list(range(400))


def test_block_without_some_class_is_refused() -> None:
    raw = raw_digits(train=40)
    order = np.argsort(raw.pool.labels_N, kind="stable")
    pool = LabelledImages(raw.pool.images_NHW[order], raw.pool.labels_N[order], "sorted")
    with pytest.raises(DataError, match="sorted: holding out a block of 100: got 8 classes in one of the parts"):
        split(RawDigits("mnist", {}, pool, raw.test), validation=100, seed=0, holdout="block")
    assert len(split(RawDigits("mnist", {}, pool, raw.test), validation=100, seed=0)["validation"].digits) == 100


def test_block_of_nothing_holds_out_nothing() -> None:
    assert "validation" not in split(raw_digits(train=40), validation=0, seed=0, holdout="block")
