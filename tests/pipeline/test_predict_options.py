"""The options of ``predict``: several digits, sheets, refusing unsure answers; and its bar on a terminal."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import command, posix
from PIL import Image, ImageDraw

from mnist_dvc.classifier import SURE, Classifier
from mnist_dvc.errors import ImageError
from mnist_dvc.image import Picture, parse_picture
from mnist_dvc.pipeline import predict as stage
from mnist_dvc.pipeline.predict import predict
from mnist_dvc.pretrained import released_onnx

if TYPE_CHECKING:
    from collections.abc import Callable

HOSTILE = os.fsdecode(b"..\xff\x1b[31m\n\xc3\xbc.png")
MODEL = released_onnx("compact")


def drawn(stroke: list[tuple[int, int]], side: int = 100) -> Image.Image:
    """Dark ink on white paper, where ``stroke`` goes through (0, 0) to (100, 100)."""
    picture = Image.new("L", (side, side), 255)
    ImageDraw.Draw(picture).line([(x * side // 100, y * side // 100) for x, y in stroke], fill=0, width=side // 12)
    return picture


SEVEN = [(30, 20), (70, 20), (50, 80)]
ONE = [(50, 20), (50, 80)]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with pictures of a seven and of a one, a blank one, and a text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    (tmp_path / "mine/inside").mkdir(parents=True)
    drawn(SEVEN).save("mine/seven.png")
    drawn(ONE).save("mine/inside/one.jpg")
    Image.new("L", (50, 50), 255).save("mine/blank.png")
    (tmp_path / "mine/notes.txt").write_text("no picture")
    return tmp_path


def told(capsys: pytest.CaptureFixture[str], *sources: str, **options: Any) -> list[dict[str, Any]]:
    """The JSON lines of ``predict``, which may end in a refusal."""
    capsys.readouterr()
    with contextlib.suppress(ImageError):
        predict(sources, MODEL, as_json=True, **options)
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_help_shows_every_option(home: Path) -> None:
    shown = command("predict", "--help", cwd=home).stdout
    assert all(option in shown for option in ("--many", "--show", "--at-least", "--model", "--json"))


# ------------------------------------------------------------------------------------------------------ several digits


def two_of(content: bytes, where: object) -> tuple[Picture, ...]:
    """What the door for several digits gives, of a picture with a seven and a one side by side."""
    seven, one = (parse_picture(Path(name).read_bytes(), where) for name in ("mine/seven.png", "mine/inside/one.jpg"))
    return () if not content else (seven, Picture(one.pixels_HW, one.inverted, (145, 15, 155, 85)))


@pytest.mark.usefixtures("home")
def test_every_digit_is_told_with_its_box(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    (seven,) = told(capsys, "mine/seven.png")
    (one,) = told(capsys, "mine/inside/one.jpg")
    monkeypatch.setattr(stage, "parse_digits", two_of)
    several, nothing, missing = told(capsys, "mine/seven.png", "mine/notes.txt", "missing", many=True)
    assert several["file"] == "mine/seven.png"
    assert [digit["digit"] for digit in several["digits"]] == [7, 1]
    assert several["digits"] == [
        {key: value for key, value in seven.items() if key != "file"},
        {key: value for key, value in one.items() if key != "file"} | {"box": [145, 15, 155, 85]},
    ]
    assert set(nothing) == {"file", "digits"}
    assert missing == {"file": "missing", "error": missing["error"]}


@pytest.mark.usefixtures("home")
def test_digits_of_a_picture_are_rows_of_the_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stage, "parse_digits", two_of)
    with pytest.raises(ImageError, match="got 1 of 2"):
        predict(["mine/seven.png", "missing"], MODEL, as_json=False, many=True)
    rows = [line.strip("│").split("│") for line in capsys.readouterr().out.splitlines() if line.startswith("│")]
    cells = [[cell.strip() for cell in row] for row in rows]
    assert [(row[0], row[1], row[3]) for row in cells] == [
        ("mine/seven.png", "7", cells[0][3]),
        ("", "1", "145 15 155 85"),
        ("missing", "-", "-"),
    ]
    assert len(cells[0][3].split()) == 4


@pytest.mark.usefixtures("home")
def test_picture_of_several_is_refused_in_words_without_the_option(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def several(_: bytes, where: object) -> Picture:
        raise ImageError(where, "digits", got=2, expected="one: `predict --many` reads several")

    monkeypatch.setattr(stage, "parse_picture", several)
    (answer,) = told(capsys, "mine/seven.png")
    assert answer["error"] == "digits: got 2, expected one: `predict --many` reads several"


def test_command_reads_all_digits_of_a_picture(home: Path) -> None:
    result = command("predict", "--many", "--json", "--model", "compact", "mine/seven.png", cwd=home)
    (digit,) = json.loads(result.stdout)["digits"]
    assert (result.returncode, digit["digit"], len(digit["box"])) == (0, 7, 4)


# ------------------------------------------------------------------------------------------------------- unsure answers


def answering(confidence: float) -> Callable[..., Any]:
    """A network that says 3 with this confidence, and 5 otherwise."""
    probabilities_K = np.zeros(10)
    probabilities_K[3], probabilities_K[5] = confidence, 1 - confidence
    return lambda _, images_NHW: np.repeat(probabilities_K[None], len(images_NHW), axis=0)


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize(("confidence", "unsure"), [(SURE, False), (SURE - 1e-9, True), (1.0, False)])
def test_answer_below_the_threshold_is_called_unsure(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, confidence: float, *, unsure: bool
) -> None:
    monkeypatch.setattr(Classifier, "probabilities", answering(confidence))
    (answer,) = told(capsys, "mine/seven.png")
    assert (answer["digit"], answer["unsure"]) == (3, unsure)
    predict(["mine/seven.png"], MODEL, as_json=False)
    assert ("unsure" in capsys.readouterr().out) == unsure


@pytest.mark.usefixtures("home")
@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize(("at_least", "refused"), [(0.75, False), (0.76, True), (0.0, False), (1.0, True)])
def test_answer_that_is_not_sure_enough_is_a_refusal(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, at_least: float, *, refused: bool, many: bool
) -> None:
    monkeypatch.setattr(Classifier, "probabilities", answering(0.75))
    (answer,) = told(capsys, "mine/seven.png", at_least=at_least, many=many)
    (digit,) = answer.get("digits", (answer,))
    words = f"confidence: got 0.75 for 3, expected at least {at_least:g}"
    assert (digit.get("error"), "digit" in digit) == ((words, False) if refused else (None, True))
    with pytest.raises(ImageError, match="got 1 of 1") if refused else contextlib.nullcontext():
        predict(["mine/seven.png"], MODEL, as_json=False, at_least=at_least, many=many)
    assert (words in capsys.readouterr().out) == refused


@pytest.mark.parametrize("value", ["1.01", "-0.1", "nan", "inf", "much"])
def test_fraction_that_is_none_is_a_usage_error(home: Path, value: str) -> None:
    result = command("predict", f"--at-least={value}", "mine/seven.png", cwd=home)
    assert (result.returncode, result.stdout) == (2, "")
    assert "--at-least" in result.stderr


def test_command_refuses_what_is_not_sure_enough_and_ends_in_65(home: Path) -> None:
    options = ("--model", "compact", "--at-least", "1", "--json")
    result = command("predict", *options, "mine/seven.png", cwd=home)
    assert (result.returncode, "error" in json.loads(result.stdout)) == (65, True)
    assert command("predict", "--model", "compact", "--at-least", "0.9", "mine/seven.png", cwd=home).returncode == 0


# --------------------------------------------------------------------------------------------------------------- sheets


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def everything(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_every_picture_that_can_be_shown_has_a_sheet(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(home)
    assert len(told(capsys, "mine", show=home / "a/b")) == 4
    assert names(home / "a/b") == ["mine_blank.seen.png", "mine_inside_one.jpg.seen.png", "mine_seven.seen.png"]
    for path in (home / "a/b").iterdir():
        Image.open(path).verify()
    assert {name: content for name, content in everything(home).items() if name in before} == before
    assert len(everything(home)) == len(before) + 3


def test_sheets_of_the_same_pictures_are_the_same_and_are_not_read_as_pictures(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = told(capsys, "mine", show=home / "mine/shown")
    sheets = everything(home / "mine/shown")
    again = told(capsys, "mine", show=home / "mine/shown")
    assert (again, everything(home / "mine/shown")) == (first, sheets)
    assert len(told(capsys, "mine")) == 7  # the twin: without the option these are pictures like any


@pytest.mark.usefixtures("home")
def test_sheet_replaces_no_picture_and_no_other_sheet(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("a.png", "a.seen.png", "A.PNG", "b/a.png", "b_a.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        drawn(SEVEN).save(tmp_path / name)
    inputs = ("a.png", "a.seen.png", "A.PNG", "b/a.png", "b_a.png", "a.png")
    before = everything(tmp_path)
    assert [answer["digit"] for answer in told(capsys, *inputs, show=Path())] == [7] * 6
    after = everything(tmp_path)
    assert {name: after[name] for name in before} == before
    assert sorted(Path(name).name for name in set(after) - set(before)) == [
        "A-3.seen.png",
        "a-2.seen.png",
        "a-4.seen.png",
        "a.seen.seen.png",
        "b_a-2.seen.png",
        "b_a.seen.png",
    ]


@pytest.mark.parametrize(
    "name",
    [HOSTILE, "x" * 240 + ".png", "-.png", ".hidden.png", "七.png", "a b;$(x).png", "a.-" + "x" * 149],
    ids=ascii,
)
def test_sheet_of_any_name_is_in_the_folder(home: Path, capsys: pytest.CaptureFixture[str], name: str) -> None:
    drawn(SEVEN).save(home / "mine/x.png")
    (home / "mine/x.png").rename(home / name)
    outside = everything(home)
    answers = told(capsys, f"mine/../{name}", f"{home}/{name}", show=home / "shown")
    assert ["digit" in answer for answer in answers] == [True, True]
    assert len(names(home / "shown")) == 2
    assert all(
        found.isprintable() and found[0] not in ".-" and len(found.encode()) < 200 for found in names(home / "shown")
    )
    assert {key: value for key, value in everything(home).items() if "/shown/" not in key} == outside


def test_picture_of_standard_input_has_a_sheet(home: Path) -> None:
    with (home / "mine/seven.png").open("rb") as file:
        arguments = [sys.executable, "-m", "mnist_dvc", "predict", "--model", "compact", "--show", "shown", "-"]
        subprocess.run(arguments, cwd=home, stdin=file, capture_output=True, check=True)
    assert names(home / "shown") == ["picture.seen.png"]


def test_folder_for_sheets_that_is_a_file_is_a_usage_error(home: Path) -> None:
    result = command("predict", "--show", "mine/notes.txt", "mine", cwd=home)
    assert (result.returncode, result.stdout) == (2, "")
    assert "'--show'" in result.stderr
    assert (home / "mine/notes.txt").read_text() == "no picture"


def test_folder_for_sheets_that_cannot_be_made_stops_before_any_answer(home: Path) -> None:
    result = command("predict", "--model", "compact", "--show", "mine/notes.txt/shown", "mine", cwd=home)
    assert (result.returncode, result.stdout) == (74, "")
    assert result.stderr == "mnist-dvc: mine/notes.txt/shown: Not a directory\n"


@posix
def test_sheet_that_cannot_be_written_ends_in_74(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mnist_dvc.image.sheet.write_atomically", full)
    with pytest.raises(OSError, match="No space left"):
        predict(["mine/seven.png"], MODEL, as_json=True, show=home / "shown")


# ---------------------------------------------------------------------------------------------------- on a terminal


ON_TERMINAL = """
import os, pty, subprocess, sys
ours, theirs = pty.openpty()
with subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=theirs, stdin=subprocess.DEVNULL) as child:
    os.close(theirs)
    told = b""
    while True:
        try:
            told += os.read(ours, 65536)
        except OSError:
            break
        if not told:
            break
sys.stdout.buffer.write(told)
sys.exit(child.returncode)
"""


def on_terminal(home: Path, *options: str) -> str:
    """What ``predict`` writes to a terminal as its standard error."""
    arguments = [sys.executable, "-m", "mnist_dvc", "predict", "--model", "compact", *options]
    environment = os.environ | {"TERM": "xterm"}
    result = subprocess.run(
        [sys.executable, "-c", ON_TERMINAL, *arguments], cwd=home, env=environment, capture_output=True, check=True
    )
    return result.stdout.decode()


@posix
@pytest.mark.parametrize("options", [(), ("--json",)], ids=["table", "lines"])
def test_terminal_shows_a_bar_that_is_gone_at_the_end(home: Path, options: tuple[str, ...]) -> None:
    drawn_there = on_terminal(home, *options, "mine/seven.png", "mine/inside")
    assert "pictures" in drawn_there
    assert "100%" in drawn_there
    after = drawn_there[drawn_there.rindex("pictures") :]
    assert "\x1b[2K" in after  # the line is erased
    assert after.endswith("\x1b[2K")


@posix
def test_single_picture_needs_no_bar(home: Path) -> None:
    assert on_terminal(home, "mine/seven.png") == ""


@posix
def test_no_bar_comes_into_a_file_whatever_colours_are_asked_for(home: Path) -> None:
    """The twin of the test above."""
    environment = os.environ | {"FORCE_COLOR": "1", "TTY_COMPATIBLE": "1"}
    arguments = [sys.executable, "-m", "mnist_dvc", "predict", "--model", "compact"]
    arguments += ["mine/seven.png", "mine/inside"]
    result = subprocess.run(arguments, cwd=home, env=environment, capture_output=True, text=True, check=True)
    assert result.stderr == ""
