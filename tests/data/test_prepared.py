from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import raw_digits

from mnist_dvc.data.prepared import DIGITS, MANIFEST, Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

RAW = raw_digits(train=12, test=3)
PARTS = split(RAW, validation=20, seed=5)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_prepared(tmp_path, RAW, PARTS, validation=20, seed=5)
    return tmp_path


def test_same_digits_give_the_same_bytes(folder: Path) -> None:
    before = [(folder / name).read_bytes() for name in (DIGITS, MANIFEST)]
    write_prepared(folder / "again", RAW, PARTS, validation=20, seed=5)
    assert [(folder / "again" / name).read_bytes() for name in (DIGITS, MANIFEST)] == before


def test_what_is_read_is_what_was_written(folder: Path) -> None:
    prepared = Prepared.open(folder)
    assert prepared.dataset == "mnist"
    for name, part in PARTS.items():
        assert name in prepared
        digits = prepared.read(name)
        np.testing.assert_array_equal(digits.images_NHW, part.digits.images_NHW)
        np.testing.assert_array_equal(digits.labels_N, part.digits.labels_N)
        np.testing.assert_array_equal(prepared.index(name), part.index_N)
    assert "holdout" not in prepared


def test_manifest_counts_and_names_the_split(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    assert (manifest["dataset"], manifest["validation"], manifest["seed"]) == ("mnist", 20, 5)
    assert {name: part["images"] for name, part in manifest["splits"].items()} == {
        "train": 100,
        "validation": 20,
        "test": 30,
    }
    assert manifest["splits"]["validation"]["per_class"] == [2] * 10


def test_digest_follows_the_content(folder: Path, tmp_path: Path) -> None:
    write_prepared(tmp_path / "other", RAW, split(RAW, validation=20, seed=6), validation=20, seed=6)
    assert Prepared.open(folder).digest != Prepared.open(tmp_path / "other").digest


def test_pixels_that_the_manifest_does_not_know_are_refused(folder: Path) -> None:
    write_prepared(folder / "other", RAW, split(RAW, validation=20, seed=6), validation=20, seed=6)
    (folder / "other" / DIGITS).replace(folder / DIGITS)
    with pytest.raises(DataError, match="SHA-256 of train_images: got [0-9a-f]{64}, expected [0-9a-f]{64}"):
        Prepared.open(folder).read("train")


@pytest.mark.parametrize("keep", [0, 10, 2000], ids=["empty", "ten bytes", "truncated"])
def test_damaged_digits_are_refused(folder: Path, keep: int) -> None:
    path = folder / DIGITS
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DataError, match="array train_images: got damage"):
        Prepared.open(folder).read("train")


def test_flipped_bit_in_the_pixels_is_refused(folder: Path) -> None:
    path = folder / DIGITS
    content = bytearray(path.read_bytes())
    content[len(content) // 3] ^= 1
    path.write_bytes(content)
    prepared = Prepared.open(folder)
    damaged = 0
    for name in PARTS:
        try:
            prepared.read(name)
        except DataError:
            damaged += 1
    assert damaged == 1


def test_missing_files_say_what_makes_them(folder: Path) -> None:
    (folder / DIGITS).unlink()
    with pytest.raises(DataError, match="expected the digits that `prepare` writes"):
        Prepared.open(folder).read("train")
    (folder / MANIFEST).unlink()
    with pytest.raises(DataError, match="expected the manifest that `prepare` writes"):
        Prepared.open(folder)


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 2}', "null"])
def test_other_manifest_is_refused(folder: Path, text: str) -> None:
    (folder / MANIFEST).write_text(text)
    with pytest.raises(DataError, match="manifest|schema"):
        Prepared.open(folder)
