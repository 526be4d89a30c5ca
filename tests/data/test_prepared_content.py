"""Prepared digits with every digest right and another content than their manifest says of them."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import raw_digits

from mnist_dvc.data.prepared import DIGITS, MANIFEST, Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import DataError
from mnist_dvc.files import json_bytes, sha256

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

    Arrays = dict[str, NDArray[Any]]

SPLITS = ("train", "validation", "test")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    raw = raw_digits(train=3, test=1)
    write_prepared(tmp_path, raw, split(raw, validation=10, seed=5), validation=10, seed=5)
    return tmp_path


def rewrite(folder: Path, change: Callable[[Arrays], None]) -> None:
    """Change the arrays and set every digest of them right, and no count."""
    with np.load(folder / DIGITS) as archive:
        arrays = {name: archive[name].copy() for name in archive.files}
    change(arrays)
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    (folder / DIGITS).write_bytes(content.getvalue())
    manifest = json.loads((folder / MANIFEST).read_text())
    for name, array in arrays.items():
        of, _, key = name.rpartition("_")
        manifest["splits"][of]["sha256"][key] = sha256(np.ascontiguousarray(array).data)
    (folder / MANIFEST).write_bytes(json_bytes(manifest))


def labels(name: str, change: Callable[[NDArray[Any]], Any]) -> Callable[[Arrays], None]:
    def make(arrays: Arrays) -> None:
        change(arrays[f"{name}_labels"])

    return make


WRONG: dict[str, tuple[Callable[[Arrays], None], str]] = {
    **{f"one class more often in {name}": (
        labels(name, lambda labels_N: np.copyto(labels_N, np.where(labels_N == 3, 4, labels_N))),
        f"labels of {name} per class: got [",
    ) for name in SPLITS},
    "labels of ten": (labels("train", lambda labels_N: labels_N.fill(10)), "train: largest label: got 10, expected at"),
    "one class": (labels("test", lambda labels_N: labels_N.fill(1)), "test: classes present: got [1], expected"),
    "blank images": (lambda arrays: arrays["train_images"].fill(0), "train: pixels: got only zeros, expected some ink"),
}  # fmt: skip


def read_all(folder: Path) -> None:
    prepared = Prepared.open(folder)
    for name in SPLITS:
        prepared.read(name)


@pytest.mark.parametrize("name", WRONG)
def test_content_that_the_manifest_does_not_tell_of_is_refused(folder: Path, name: str) -> None:
    change, expected = WRONG[name]
    rewrite(folder, change)
    with pytest.raises(DataError) as caught:
        read_all(folder)
    assert str(caught.value).startswith(str(folder / DIGITS))
    assert expected in str(caught.value)
    assert caught.value.exit_code == 65


def test_rewritten_with_the_same_labels_it_is_read(folder: Path) -> None:
    """The twin: neither the compression nor the digests are what is refused, nor labels in another order."""
    rewrite(folder, lambda _: None)
    read_all(folder)
    rewrite(folder, labels("train", lambda labels_N: labels_N.sort()))
    read_all(folder)
