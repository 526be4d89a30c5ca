"""A folder of pictures by class: read through the door of ``predict``, all refusals told, nothing half-taken."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import blobs, params
from PIL import Image

from mnist_dvc.data import pictures
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.data.sources import read_digits, read_sample
from mnist_dvc.errors import DataError, ImageError
from mnist_dvc.image import read_picture
from mnist_dvc.params import DataParams
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from mnist_dvc.data.named import NamedDigits

IMAGES_NHW = blobs(10, seed=1).images_NHW


def write(folder: Path, per_class: int, *classes: str) -> None:
    """``per_class`` files in the folder of each class; what stands in them is for the reader of these tests."""
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(per_class):
            (folder / name / f"{number:03d}.png").write_text(f"{number}")


def stand_in(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8] | ImageError]:
    """The image that a file's number says; a file without one is refused."""
    for path in paths:
        text = path.read_text()
        yield IMAGES_NHW[int(text)] if text.isdigit() else ImageError(path, "content", got="no picture", expected="one")


def ask(folder: Path) -> tuple[NamedDigits, list[str]]:
    said: list[str] = []
    return read_digits(str(folder), folder, environment={}, say=said.append, pictures=stand_in), said


def counts(raw: NamedDigits) -> tuple[list[int], list[int]]:
    assert raw.test is not None
    return np.bincount(raw.pool.labels_N).tolist(), np.bincount(raw.test.labels_N).tolist()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write(tmp_path / "mine/train", 3, "cat", "dog", "owl")
    write(tmp_path / "mine/test", 2, "cat", "dog", "owl")
    return tmp_path / "mine"


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training", "testing")])
def test_classes_are_labelled_in_the_order_of_their_names(folder: Path, train: str, test: str) -> None:
    (folder / "train").rename(folder / train)
    (folder / "test").rename(folder / test)
    raw, said = ask(folder)
    assert (raw.dataset, raw.classes) == ("mine", ("cat", "dog", "owl"))
    assert counts(raw) == ([3, 3, 3], [2, 2, 2])
    np.testing.assert_array_equal(raw.pool.images_NHW, np.tile(IMAGES_NHW[:3], (3, 1, 1)))
    assert said == []


def test_classes_that_are_called_as_digits_are_those_digits(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "mine" / part, 2, "3", "7")
    raw, _ = ask(tmp_path / "mine")
    assert raw.classes == ()
    assert counts(raw) == ([0, 0, 0, 2, 0, 0, 0, 2],) * 2


def test_ten_digits_need_no_names(tmp_path: Path) -> None:
    for part in ("train", "test"):
        write(tmp_path / "mine" / part, 2, *"0123456789")
    assert ask(tmp_path / "mine")[0].classes == ()


@pytest.mark.parametrize("inside", ["", "train"])
def test_without_a_test_every_seventh_picture_of_a_class_is_it(tmp_path: Path, inside: str) -> None:
    write(tmp_path / "mine" / inside, 14, "a", "b")
    raw, said = ask(tmp_path / "mine")
    assert counts(raw) == ([12, 12], [2, 2])
    assert raw.test is not None
    np.testing.assert_array_equal(raw.test.images_NHW[:2], IMAGES_NHW[[6, 13]])
    assert said == ["no folder test: every seventh picture of each class, by name, is kept for the test"]


def test_folders_within_a_class_belong_to_it_and_hidden_files_to_nobody(folder: Path) -> None:
    write(folder / "train/cat", 2, "more")
    for name in (".DS_Store", ".thumbnails/a.png"):
        (folder / "train/cat" / name).parent.mkdir(exist_ok=True)
        (folder / "train/cat" / name).write_text("hidden")
    assert counts(ask(folder)[0]) == ([5, 3, 3], [2, 2, 2])


def test_other_folders_are_left_aside_aloud(folder: Path) -> None:
    write(folder, 1, "valid")
    raw, said = ask(folder)
    assert counts(raw) == ([3, 3, 3], [2, 2, 2])
    assert said == ["not read, neither train nor test: valid"]


def test_origin_is_the_same_wherever_the_files_lie_and_follows_them(folder: Path, tmp_path: Path) -> None:
    before = ask(folder)[0].origin
    assert set(before) == {"train", "test"}
    shutil.copytree(folder, tmp_path / "elsewhere/mine")
    assert ask(tmp_path / "elsewhere/mine")[0].origin == before
    (folder / "test/cat/000.png").write_text("1")
    after = ask(folder)[0].origin
    assert (after["train"] == before["train"], after["test"] == before["test"]) == (True, False)


def refusal(folder: Path) -> tuple[str, list[str]]:
    said: list[str] = []
    with pytest.raises(DataError) as caught:
        read_digits(str(folder), folder, environment={}, say=said.append, pictures=stand_in)
    assert str(caught.value).isprintable()
    assert caught.value.exit_code == 65
    return str(caught.value), said


def test_every_refused_picture_is_told_and_none_is_passed_over(folder: Path) -> None:
    for name in ("train/cat/001.png", "test/owl/000.png"):
        (folder / name).write_text("blank")
    told, said = refusal(folder)
    assert told == f"{folder / 'train'}: pictures not read: got 2 of 15, expected none: mend them, or take them away"
    assert said == [
        f"{folder / name}: content: got no picture, expected one" for name in ("train/cat/001.png", "test/owl/000.png")
    ]


def test_folder_whose_name_paints_the_terminal_is_told_of_harmlessly(folder: Path) -> None:
    (folder / "\x1b[31m\nred").mkdir()
    assert ask(folder)[1] == [r"not read, neither train nor test: \x1b[31m\nred"]


def test_refusals_are_told_as_they_come(folder: Path) -> None:
    (folder / "train/cat/000.png").write_text("blank")
    said: list[str] = []

    def reading(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8] | ImageError]:
        for number, found in enumerate(stand_in(paths)):
            assert len(said) == (number > 0)
            yield found

    with pytest.raises(DataError, match="got 1 of 15"):
        read_digits(str(folder), folder, environment={}, say=said.append, pictures=reading)


def test_many_refused_pictures_are_counted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_TOLD", 2)
    for path in folder.rglob("*.png"):
        path.write_text("blank")
    assert len(refusal(folder)[1]) == 3
    assert refusal(folder)[1][-1] == "... and 13 more"


def eleven(folder: Path) -> None:
    write(folder / "train", 1, *"abcdefgh")


def no_test_of_owls(folder: Path) -> None:
    shutil.rmtree(folder / "test/owl")


def no_owls(folder: Path) -> None:
    for path in (folder / "train/owl").iterdir():
        path.unlink()


def only_a_test(folder: Path) -> None:
    shutil.rmtree(folder / "train")


def one_class(folder: Path) -> None:
    for name in ("train/cat", "train/dog", "test/cat", "test/dog"):
        shutil.rmtree(folder / name)


def called_in_html(folder: Path) -> None:
    for part in ("train", "test"):
        (folder / part / "cat").rename(folder / part / "<b>")


BAD: dict[str, tuple[Callable[[Path], None], str]] = {
    "eleven classes": (eleven, "classes of test: got ['cat', 'dog', 'owl'], expected ['a', 'b', "),
    "another test": (
        no_test_of_owls,
        "classes of test: got ['cat', 'dog'], expected ['cat', 'dog', 'owl'], as of train",
    ),
    "an empty class": (no_owls, "train/owl: folder of a class: got no files, expected pictures"),
    "no training": (only_a_test, "train: folder: got nothing, expected the classes to learn, beside test"),
    "one class": (one_class, "classes: got 1, expected 2 to 10"),
    "a class in HTML": (called_in_html, "name of a class: got '<b>', expected at most 60 characters"),
}


@pytest.mark.parametrize("how", BAD)
def test_unfit_folder_is_refused(folder: Path, how: str) -> None:
    make, expected = BAD[how]
    make(folder)
    assert expected in refusal(folder)[0]


def test_more_than_ten_classes_are_refused(tmp_path: Path) -> None:
    write(tmp_path / "mine", 7, *"abcdefghijk")
    assert "classes: got 11, expected 2 to 10" in refusal(tmp_path / "mine")[0]


def test_more_pictures_than_are_prepared_are_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MOST_IMAGES", 8)
    assert "train: pictures: got 9, expected at most 8" in refusal(folder)[0]


def test_pictures_in_a_folder_that_is_called_mnist_are_not_mnist(folder: Path) -> None:
    assert ask(folder.rename(folder.with_name("MNIST")))[0].dataset == "MNIST-folder"


@pytest.fixture(scope="module")
def drawn(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twenty real threes, fives and sevens each, dark on light, as people keep them."""
    folder, sample = tmp_path_factory.mktemp("drawn") / "mine", read_sample().pool
    for digit in (3, 5, 7):
        (folder / str(digit)).mkdir(parents=True)
        for number, image_HW in enumerate(sample.images_NHW[sample.labels_N == digit][:20]):
            Image.fromarray(255 - image_HW).resize((56, 56)).save(folder / str(digit) / f"{number:02d}.png")
    return folder


def run(root: Path, source: Path, **changes: int | str) -> Prepared:
    data = DataParams.model_validate(
        {"source": str(source), "validation": 10, "holdout": "random", "seed": 0} | changes
    )
    prepare(params().model_copy(update={"data": data}), Paths(root))
    return Prepared.open(Paths(root).prepared)


def test_prepared_images_are_what_predict_sees(tmp_path: Path, drawn: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = run(tmp_path, drawn)
    assert (prepared.dataset, prepared.classes) == ("mine", ())
    assert [len(prepared.read(name)) for name in ("train", "validation", "test")] == [44, 10, 6]
    test = prepared.read("test")
    np.testing.assert_array_equal(test.labels_N, [3, 3, 5, 5, 7, 7])
    np.testing.assert_array_equal(test.images_NHW[0], read_picture(drawn / "3/06.png").pixels_HW)
    assert "Prepared mine: 44 train, 10 validation, 6 test" in capsys.readouterr().out


def test_refused_picture_ends_in_a_line_and_leaves_what_was_prepared(
    tmp_path: Path, drawn: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, drawn)
    before = {path: path.read_bytes() for path in Paths(tmp_path).prepared.iterdir()}
    folder = shutil.copytree(drawn, tmp_path / "mine")
    Image.new("L", (56, 56), 255).save(folder / "5/blank.png")
    with pytest.raises(DataError, match="pictures not read: got 1 of 61, expected none"):
        run(tmp_path, folder)
    assert f"prepare: {folder / '5/blank.png'}: contrast: got 0 of 255" in capsys.readouterr().err
    assert {path: path.read_bytes() for path in Paths(tmp_path).prepared.iterdir()} == before


def test_more_validation_than_half_is_refused_with_the_most_that_goes(tmp_path: Path, drawn: Path) -> None:
    with pytest.raises(DataError, match="data.validation: got 28, expected at most 27, half of the training images"):
        run(tmp_path, drawn, validation=28)
    assert len(run(tmp_path, drawn, validation=27).read("validation")) == 27


def test_split_without_an_image_of_a_class_is_refused(tmp_path: Path, drawn: Path) -> None:
    folder = shutil.copytree(drawn, tmp_path / "mine")
    (folder / "train").mkdir()
    for digit in "357":
        shutil.move(folder / digit, folder / "train" / digit)
    shutil.copytree(folder / "train", folder / "test")
    for path in sorted((folder / "train/7").iterdir())[2:]:
        path.unlink()
    told = r"classes of the validation images: got \[3, 5\], expected some of each class, as there are .*: \[3, 5, 7\]"
    with pytest.raises(DataError, match=told):
        run(tmp_path, folder)
    assert len(run(tmp_path, folder, validation=20).read("validation")) == 20
