from __future__ import annotations

import io
import os
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest
import torch
from predicting import HOSTILE, model_bytes, told

from mnist_dvc import program
from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError, ImageError
from mnist_dvc.image import Picture, parse_picture, read_picture
from mnist_dvc.inference import logits_of
from mnist_dvc.model.weights import read_model
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline import predict as stage
from mnist_dvc.pipeline.predict import predict


def test_network_sees_what_evaluate_would_feed_it(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    paths = [home / f"digits/{number}.png" for number in range(10)]
    images_NHW = np.stack([read_picture(path).pixels_HW for path in paths])
    digits = Digits.on(torch.device("cpu"), LabelledImages(images_NHW, np.arange(10, dtype=np.uint8), "here"))
    model, _ = read_model(home / Paths().model)
    expected_NK = logits_of(model.to(memory_format=torch.channels_last), digits, 10).double().softmax(1).numpy()
    answers = told(capsys, *map(str, paths))
    np.testing.assert_allclose([answer["probabilities"] for answer in answers], expected_NK, atol=2e-6)
    assert [answer["digit"] for answer in answers] == expected_NK.argmax(1).tolist()
    assert [answer["confidence"] for answer in answers] == [max(answer["probabilities"]) for answer in answers]
    assert [answer["inverted"] for answer in answers] == [number == 3 for number in range(10)]
    assert len({tuple(answer["probabilities"]) for answer in answers}) == 10


@pytest.mark.usefixtures("home")
def test_answers_do_not_depend_on_the_company(capsys: pytest.CaptureFixture[str]) -> None:
    together = told(capsys, "digits", "digits")
    assert together[:10] == together[10:]
    assert together[:10] == [told(capsys, f"digits/{number}.png")[0] for number in range(10)]


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("as_json", "expected"), [(True, list(range(1, 11))), (False, [10])])
def test_lines_leave_as_they_come_and_the_table_at_the_end(
    monkeypatch: pytest.MonkeyPatch, expected: list[int], *, as_json: bool
) -> None:
    read: list[object] = []
    delivered_after: list[int] = []

    def counted(content: bytes, where: object) -> Picture:
        read.append(where)
        return parse_picture(content, where)

    monkeypatch.setattr(stage, "parse_picture", counted)
    monkeypatch.setattr(stage, "_deliver", lambda _: delivered_after.append(len(read)))
    predict(["digits"], Paths().model, as_json=as_json)
    assert delivered_after == expected


class Pixels:
    """Stands for the memory that a picture takes."""


@pytest.mark.parametrize("as_json", [True, False])
@pytest.mark.usefixtures("home")
def test_refused_pictures_take_no_memory_once_they_are_told_of(
    monkeypatch: pytest.MonkeyPatch, *, as_json: bool
) -> None:
    """An error that is kept keeps its traceback, and so all that the functions in it had in hand."""
    alive: weakref.WeakSet[Pixels] = weakref.WeakSet()
    seen: list[int] = []

    def refused(_: bytes, where: object) -> Picture:
        pixels = Pixels()
        alive.add(pixels)
        seen.append(len(alive))
        raise ImageError(where, "contrast", got="none", expected=f"some in {type(pixels).__name__}")

    monkeypatch.setattr(stage, "parse_picture", refused)
    with pytest.raises(ImageError, match="got 10 of 10"):
        predict(["digits"], Paths().model, as_json=as_json)
    assert seen == [1] * 10


def test_error_that_is_kept_keeps_its_pixels_so_the_test_above_can_fail() -> None:
    alive: weakref.WeakSet[Pixels] = weakref.WeakSet()

    def refused() -> None:
        pixels = Pixels()
        alive.add(pixels)
        raise ImageError("x", "contrast", got="none", expected="some")

    with pytest.raises(ImageError) as caught:
        refused()
    assert (str(caught.value)[:1], len(alive)) == ("x", 1)


@pytest.mark.usefixtures("home")
def test_stopped_command_shows_what_was_answered(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def interrupted(content: bytes, where: object) -> Picture:
        if str(where).endswith("2.png"):
            raise KeyboardInterrupt
        return parse_picture(content, where)

    monkeypatch.setattr(stage, "parse_picture", interrupted)
    with pytest.raises(KeyboardInterrupt):
        predict(["digits"], Paths().model, as_json=False)
    out = capsys.readouterr().out
    assert [f"{number}.png" in out for number in range(4)] == [True, True, False, False]


def test_folder_is_read_by_name_without_what_is_hidden(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / "digits/.hidden.png").write_bytes(b"")
    (home / "digits/.hidden").mkdir()
    (home / "digits/.hidden/x.png").write_bytes(b"")
    (home / "digits/inside/deeper").mkdir(parents=True)
    (home / "digits/0.png").rename(home / "digits/inside/deeper/x.png")
    (home / "digits/loop").symlink_to("loop")
    (home / "digits/10.txt").write_text("ten")
    (home / "empty/inside").mkdir(parents=True)
    answers = told(capsys, "digits", "empty", "./digits/1.png", "")
    names = [f"digits/{name}" for name in ("1.png", "10.txt", *(f"{n}.png" for n in range(2, 10)))]
    names += ["digits/inside/deeper/x.png", "digits/loop"]
    assert [answer["file"] for answer in answers] == [*names, "empty", "./digits/1.png", ""]
    errors = {answer["file"]: answer["error"] for answer in answers if "error" in answer}
    assert errors == {
        "digits/10.txt": "content: got an unknown or damaged file, expected a PNG, JPEG, BMP, GIF, WebP or PGM picture",
        "digits/loop": "file: got Too many levels of symbolic links, expected one that can be read",
        "empty": "folder: got no files, expected pictures",
        "": "file: got something else than a file, expected a PNG, JPEG, BMP, GIF, WebP or PGM picture",
    }


def test_folders_that_lead_into_each_other_are_entered_once(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        (home / "tree" / name).mkdir(parents=True)
        (home / f"digits/{'ab'.index(name)}.png").rename(home / "tree" / name / "x.png")
    (home / "tree/a/up").symlink_to("..")
    (home / "tree/a/other").symlink_to("../b")
    (home / "tree/self").symlink_to(".")
    (home / "linked").symlink_to("tree")
    assert [answer["file"] for answer in told(capsys, "tree")] == ["tree/a/other/x.png", "tree/a/x.png"]
    assert [answer["file"] for answer in told(capsys, "linked")] == ["linked/a/other/x.png", "linked/a/x.png"]


def test_folder_that_may_not_be_read_has_its_line(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: Path) -> None:
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", refuse)  # root may read everything
    assert told(capsys, str(home / "digits"), "digits/0.png")[0] == {
        "file": str(home / "digits"),
        "error": "folder: got Permission denied, expected one that can be read",
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_bad_files_stop_no_other_and_are_counted(
    home: Path, capsys: pytest.CaptureFixture[str], *, as_json: bool
) -> None:
    (home / "text.png").write_text("a seven")
    os.mkfifo(home / "pipe")
    with pytest.raises(ImageError) as caught:
        predict(["text.png", "pipe", "digits/3.png", "missing"], Paths().model, as_json=as_json)
    assert str(caught.value) == "pictures: not read: got 3 of 4, expected none"
    assert caught.value.exit_code == 65
    out = capsys.readouterr().out
    assert "file: got nothing" in out
    assert ("true" if as_json else "inverted") in out


def test_table_shows_digit_confidence_and_remark(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    answer = told(capsys, "digits/3.png")[0]
    predict([str(home / "digits/3.png")], Paths().model, as_json=False)
    row = next(line for line in capsys.readouterr().out.splitlines() if "3.png" in line)
    cells = [cell.strip() for cell in row.strip("│").split("│")]
    assert cells == [
        str(home / "digits/3.png"),
        str(answer["digit"]),
        f"{100 * answer['confidence']:.2f} %",
        "unsure, inverted",
    ]


def test_hostile_name_is_harmless(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The name in the file system holds bytes, a colour for the terminal, a line break and rich's markup."""
    (home / "digits/0.png").rename(home / HOSTILE)
    predict([HOSTILE], Paths().model, as_json=False)
    out = capsys.readouterr().out
    assert r"\udcff\x1b[31m\n[red]ü.png" in out
    assert out.replace("\n", "").isprintable()
    answer = told(capsys, HOSTILE, f"missing {HOSTILE}")
    assert answer[0]["file"] == "\\udcff\x1b[31m\n[red]ü.png"
    assert "digit" in answer[0]
    assert answer[1]["error"].startswith("file: got nothing")


def test_errors_of_the_command_line_are_harmless(capsys: pytest.CaptureFixture[str]) -> None:
    assert program._report(f"{HOSTILE.splitlines()[0]}: gone", 65) == 65
    assert capsys.readouterr().err == "mnist-dvc: \\udcff\\x1b[31m: gone\n"


def test_picture_on_standard_input(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    content = (home / "digits/1.png").read_bytes()
    expected = told(capsys, "digits/1.png")[0]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content)))
    answers = told(capsys, "-", "-")
    assert answers[0] == expected | {"file": "-"}
    assert answers[1]["error"].startswith("content: got an unknown")  # read to its end already
    monkeypatch.setattr(sys, "stdin", None)
    assert told(capsys, "-")[0]["error"] == "standard input: got nothing to read, expected a picture"


def test_file_of_the_name_of_standard_input_is_a_file(
    home: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (home / "inside").mkdir()
    (home / "digits/1.png").rename(home / "inside/-")
    monkeypatch.chdir(home / "inside")
    monkeypatch.setattr(sys, "stdin", None)
    assert [("digit" in answer, answer["file"]) for answer in told(capsys, ".", model=home / Paths().model)] == [
        (True, "-")
    ]


def test_network_that_computes_no_numbers_is_refused(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (home / Paths().model).write_bytes(model_bytes(poisoned=True))
    with pytest.raises(ArtifactError, match="answers: got values that are no numbers"):
        predict(["digits"], Paths().model, as_json=True)
    assert "NaN" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("model.safetensors", "the model that `train` writes"),
        ("model.onnx", "the ONNX file that `export` writes"),
        ("checkpoint.pth", "the model.safetensors or model.onnx of the same training"),
    ],
)
def test_model_is_looked_for_before_any_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    with pytest.raises(ArtifactError, match=expected):
        predict(["-"], tmp_path / name, as_json=True)
    assert capsys.readouterr().out == ""
