"""A folder of the user's own IDX files: any count, up to ten classes with names, digests recorded and not demanded."""

from __future__ import annotations

import gzip
import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import blobs, idx_bytes, idx_folder, no_pictures

from mnist_dvc.data import folders, packed, sources
from mnist_dvc.data.folders import dataset_name
from mnist_dvc.data.named import TESTED
from mnist_dvc.data.sources import read_digits
from mnist_dvc.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mnist_dvc.data.arrays import LabelledImages
    from mnist_dvc.data.named import NamedDigits

TRAIN, TEST = blobs(5, seed=1), blobs(2, seed=2)


def write(folder: Path, train: LabelledImages = TRAIN, test: LabelledImages | None = TEST, *, modulo: int = 10) -> Path:
    """IDX files under MNIST's names; the labels are taken modulo ``modulo``, so that there are fewer classes."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, digits in (("train", train), *([("t10k", test)] if test is not None else [])):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(digits.images_NHW))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(digits.labels_N % modulo))
    return folder


def ask(folder: Path) -> tuple[NamedDigits, list[str]]:
    said: list[str] = []
    return read_digits(str(folder), folder, environment={}, say=said.append, pictures=no_pictures), said


def refusal(folder: Path) -> str:
    with pytest.raises(DataError) as caught:
        ask(folder)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 65
    return str(caught.value)


def test_any_count_is_taken_under_the_folders_name_with_its_digests(tmp_path: Path) -> None:
    folder = write(tmp_path / "letters")
    raw, said = ask(folder)
    assert raw.test is not None
    assert (raw.dataset, raw.classes, len(raw.pool), len(raw.test)) == ("letters", (), 50, 20)
    assert raw.origin == {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}
    assert said == ["data set letters: files of your own, whose SHA-256 are recorded in the manifest"]


@pytest.mark.parametrize(
    ("spelt", "changed"),
    [
        ("gzipped", lambda name: f"{name}.gz"),
        ("with a dot", lambda name: name.replace("-idx", ".idx")),
        ("test for t10k", lambda name: name.replace("t10k", "test")),
        ("in raw", lambda name: f"raw/{name}"),
    ],
)
def test_other_spellings_of_the_names_give_the_same(tmp_path: Path, spelt: str, changed: Callable[[str], str]) -> None:
    folder = write(tmp_path / "letters")
    raw, _ = ask(folder)
    (folder / "raw").mkdir()
    for path in [path for path in folder.iterdir() if path.is_file()]:
        content = path.read_bytes()
        path.unlink()
        (folder / changed(path.name)).write_bytes(gzip.compress(content) if spelt == "gzipped" else content)
    again, _ = ask(folder)
    assert again.dataset == raw.dataset
    assert sorted(again.origin.values()) == sorted(raw.origin.values())
    np.testing.assert_array_equal(again.pool.images_NHW, raw.pool.images_NHW)


@pytest.mark.parametrize("modulo", [2, 4])
def test_fewer_classes_are_taken(tmp_path: Path, modulo: int) -> None:
    raw, _ = ask(write(tmp_path / "few", modulo=modulo))
    assert set(raw.pool.labels_N.tolist()) == set(range(modulo))


def test_names_of_the_classes_stand_in_a_file(tmp_path: Path) -> None:
    folder = write(tmp_path / "fruits", modulo=3)
    (folder / "classes.txt").write_text("apple\npear / nashi\n\nお茶\n", encoding="utf-8")
    assert ask(folder)[0].classes == ("apple", "pear / nashi", "お茶")


def test_names_that_are_the_digits_are_none(tmp_path: Path) -> None:
    folder = write(tmp_path / "mine")
    (folder / "classes.txt").write_text("\n".join("0123456789"))
    assert ask(folder)[0].classes == ()


@pytest.mark.parametrize(
    ("name", "dataset"),
    [("fashion", "fashion-folder"), ("FashionMNIST", "FashionMNIST"), ("Fashion-MNIST", "Fashion-MNIST")],
)
def test_folder_that_is_called_fashion_has_fashions_classes(tmp_path: Path, name: str, dataset: str) -> None:
    """But not the name that stands for the published bytes, which nobody compares it with."""
    raw, _ = ask(write(tmp_path / name))
    assert (raw.dataset, raw.classes[:2]) == (dataset, ("T-shirt/top", "Trouser"))


@pytest.mark.parametrize("name", ["mnist", "mnist-5k", "fashion", "kmnist", "emnist-digits", "qmnist"])
def test_name_that_stands_for_published_bytes_is_not_given_to_others(name: str) -> None:
    assert dataset_name(name, "a folder") == f"{name}-folder"


def test_without_test_files_every_seventh_image_of_a_class_is_the_test(tmp_path: Path) -> None:
    whole = blobs(15, seed=1)
    raw, said = ask(write(tmp_path / "letters", whole, None))
    assert raw.test is not None
    assert said[-1] == "no test files: every seventh image of each class is kept for the test"
    np.testing.assert_array_equal(np.bincount(raw.test.labels_N), np.full(10, 15 // TESTED))
    np.testing.assert_array_equal(raw.test.images_NHW[0], whole.images_NHW[60])
    assert len(raw.pool) + len(raw.test) == len(whole)
    assert not {image.tobytes() for image in raw.pool.images_NHW} & {image.tobytes() for image in raw.test.images_NHW}


def test_what_is_called_mnist_has_to_be_mnist(tmp_path: Path) -> None:
    assert "dimensions: got (50, 28, 28), expected (60000, 28, 28)" in refusal(write(tmp_path / "mnist"))
    assert "dimensions: got (50, 28, 28), expected (60000, 28, 28)" in refusal(
        write(tmp_path / "a/MNIST/raw").parents[1]
    )


def test_what_is_mnist_is_called_so_whatever_the_folder_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = idx_folder(tmp_path / "mine")
    assert ask(tmp_path / "mine")[0].dataset == "mine"
    monkeypatch.setattr(sources, "MNIST_FILES", files)
    monkeypatch.setattr(sources.read_folder, "__defaults__", (files,))
    assert ask(tmp_path / "mine")[0].dataset == "mnist"


def change(name: str, content: bytes | None) -> Callable[[Path], None]:
    """A change of one file of the folder; None removes it."""

    def made(folder: Path) -> None:
        (folder / name).unlink(missing_ok=True)
        if content is not None:
            (folder / name).write_bytes(content)

    return made


IMAGES, LABELS = "train-images-idx3-ubyte", "train-labels-idx1-ubyte"


def no_training(folder: Path) -> None:
    (folder / IMAGES).unlink()
    (folder / LABELS).unlink()


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "no labels": (change(LABELS, None), f"{LABELS}: file: got nothing, expected an IDX file"),
    "no training": (no_training, f"{IMAGES}: file: got nothing"),
    "half a test": (change("t10k-labels-idx1-ubyte", None), "test-labels-idx1-ubyte: file: got nothing"),
    "27 columns": (change(IMAGES, idx_bytes(TRAIN.images_NHW[:, :, 1:])), "images: got uint8 (50, 28, 27), expected"),
    "labels for images": (change(IMAGES, idx_bytes(TRAIN.labels_N)), "magic number: got 0x00000801"),
    "a label less": (change(LABELS, idx_bytes(TRAIN.labels_N[1:])), "number of labels: got 49, expected 50"),
    "label 10": (change(LABELS, idx_bytes(TRAIN.labels_N + 1)), "largest label: got 10, expected at most 9"),
    "one class": (change(LABELS, idx_bytes(TRAIN.labels_N * 0)), "classes present: got [0], expected at least 2"),
    "cut": (change(IMAGES, idx_bytes(TRAIN.images_NHW)[:-1]), "length: got 39215 bytes, expected 39216"),
    "cut gzip": (
        change(IMAGES, gzip.compress(idx_bytes(TRAIN.images_NHW))[:-9]),
        "gzip stream: got damage (Compressed",
    ),
    "flipped gzip": (change(IMAGES, gzip.compress(b"x")[:-8] + bytes(8)), "gzip stream: got damage (CRC check failed"),
    "gzip of a bomb": (change(IMAGES, gzip.compress(bytes(200_001))), "unpacked size: got more, expected at most"),
    "too large": (change(IMAGES, bytes(200_001)), "size: got more than 200,000 bytes, expected an IDX file"),
    "blank": (change(IMAGES, idx_bytes(TRAIN.images_NHW * 0)), "pixels: got only zeros, expected some ink"),
    "few names": (change("classes.txt", b"a\nb\n"), "largest label of test: got 9, expected at most 1, the last of 2"),
    "many names": (change("classes.txt", b"\n".join(b"abcdefghijk"[i : i + 1] for i in range(11))), "classes: got 11"),
    "a name twice": (change("classes.txt", b"a\nb\na\n"), "name of a class: got a twice, expected names that differ"),
    "a name that paints": (change("classes.txt", b"a\n\x1b[31mb\n"), "name of a class: got '\\x1b[31mb', expected"),
    "a name in HTML": (change("classes.txt", b"a\n<b>\n"), "name of a class: got '<b>', expected at most 60"),
    "a long name": (change("classes.txt", b"a\n" + b"b" * 61), "name of a class: got 'bbbb"),
    "names in Latin-1": (change("classes.txt", b"a\n\xe9\n"), "classes.txt: content: got no UTF-8"),
    "endless names": (change("classes.txt", b"a" * 5000), "classes.txt: size: got more than 4,096 bytes"),
}


@pytest.mark.parametrize("how", BAD)
def test_unfit_folder_is_refused_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(packed, "LARGEST_IDX", 200_000)
    folder = write(tmp_path / "mine")
    make, expected = BAD[how]
    make(folder)
    assert expected in refusal(folder)


def test_small_files_are_taken_under_the_same_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin of the test above."""
    monkeypatch.setattr(packed, "LARGEST_IDX", 200_000)
    assert len(ask(write(tmp_path / "mine"))[0].pool) == 50


def test_more_images_than_are_prepared_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(folders, "MOST_IMAGES", 49)
    assert "count: got 50, expected at most 49" in refusal(write(tmp_path / "mine"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a|b", "got 'a|b', expected at most 60 characters"),
        ("a\x1b[31m", "got 'a\\x1b[31m', expected"),
        ("x" * 61, "expected at most 60 characters"),
    ],
)
def test_folder_whose_name_is_no_name_is_refused(tmp_path: Path, name: str, expected: str) -> None:
    told = refusal(write(tmp_path / name))
    assert "name of the folder, which names the data set: got " in told
    assert expected in told


def test_class_with_fewer_than_seven_images_needs_test_files(tmp_path: Path) -> None:
    told = refusal(write(tmp_path / "mine", TRAIN, None))
    assert (
        "images of class 0: got 5, expected at least 7, of which one is for the test, or test images of their" in told
    )
