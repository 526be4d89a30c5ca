from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import weakref
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch
from helpers import blobs, command, redirected
from PIL import Image

from mnist_dvc import cli
from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError, ImageError
from mnist_dvc.files import BLANK, own_sums, sealed, sha256, sha256sums
from mnist_dvc.image import Picture, parse_picture, read_picture
from mnist_dvc.inference import logits_of
from mnist_dvc.model import build
from mnist_dvc.model.weights import Card, read_model, weights_bytes
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline import predict as stage
from mnist_dvc.pipeline.predict import predict, published_model
from mnist_dvc.pretrained import released_onnx
from mnist_dvc.serving import SEAL

CARD = Card("compact", 19_706, "mnist", "0" * 64, {})
HOSTILE = os.fsdecode(b"\xff\x1b[31m\n[red]\xc3\xbc.png")


def model_bytes(*, poisoned: bool = False, seed: int = 0) -> bytes:
    state = build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(seed)).state_dict()
    if poisoned:
        state["head.2.weight"].fill_(torch.finfo(torch.float32).max)  # finite, but not what comes of it
    return weights_bytes(dict(state), CARD)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a model, ten pictures in ``digits``, and a wide terminal."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    model = Paths(tmp_path).model
    model.parent.mkdir()
    model.write_bytes(model_bytes())
    (tmp_path / "digits").mkdir()
    for number, image_HW in enumerate(blobs(1).images_NHW):
        ink_HW = np.pad(np.where(image_HW > 120, image_HW, 0)[4:24, 4:24], 4)
        Image.fromarray(255 - ink_HW if number == 3 else ink_HW).save(tmp_path / f"digits/{number}.png")
    return tmp_path


@pytest.fixture(scope="module")
def converted() -> bytes:
    """The ONNX file of the model in ``home``, converted once: that takes two seconds."""
    model = build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(0)).eval()
    return onnx_bytes(model, 18, {"network": "compact", "model_sha256": sha256(model_bytes())})


@pytest.fixture
def exported(home: Path, converted: bytes) -> Paths:
    """``home`` after ``train`` and ``export``: both files of the model, each with its digest on record."""
    paths = Paths(home)
    record(paths.model, model_bytes(), paths.sums)
    record(paths.onnx, converted, own_sums(paths.onnx))
    return paths


def record(path: Path, content: bytes, sums: Path) -> None:
    path.write_bytes(content)
    sums.write_bytes(sha256sums({path.name: content}))


def told(capsys: pytest.CaptureFixture[str], *sources: str, model: Path | None = None) -> list[dict[str, Any]]:
    """The answers of ``predict --json``, which may end in a refusal, and are ASCII for every locale."""
    capsys.readouterr()
    with contextlib.suppress(ImageError):
        predict(sources, model or Paths().model, as_json=True)
    lines = capsys.readouterr().out.splitlines()
    assert all(line.isascii() for line in lines)
    return [json.loads(line) for line in lines]


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
    assert cli._report(f"{HOSTILE.splitlines()[0]}: gone", 65) == 65
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
        ("checkpoint.pth", "the checkpoint that `train` writes"),
    ],
)
def test_model_is_looked_for_before_any_picture(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str, expected: str
) -> None:
    with pytest.raises(ArtifactError, match=expected):
        predict(["-"], tmp_path / name, as_json=True)
    assert capsys.readouterr().out == ""


# ------------------------------------------------------------------------------------------------- which model, and how


def test_onnx_file_gives_the_answers_of_the_model(exported: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    in_torch, in_onnx = (told(capsys, "digits", "missing", model=path) for path in (exported.model, exported.onnx))
    assert len(in_onnx) == 11
    for one, other in zip(in_torch, in_onnx, strict=True):
        assert {key: one.get(key) for key in ("file", "digit", "inverted", "error")} == {
            key: other.get(key) for key in ("file", "digit", "inverted", "error")
        }
        np.testing.assert_allclose(one.get("probabilities", []), other.get("probabilities", []), atol=1e-5)


def test_another_model_gives_other_answers_so_the_test_above_can_fail(
    exported: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    other = exported.root / "other.safetensors"
    other.write_bytes(model_bytes(seed=1))
    one, two = (told(capsys, "digits/0.png", model=path)[0]["probabilities"] for path in (exported.onnx, other))
    assert not np.allclose(one, two, atol=1e-5)


RUN = "import sys\nfrom mnist_dvc.cli import _run\nprint(_run(), 'torch' in sys.modules, file=sys.stderr)"


def ran(cwd: Path) -> tuple[int, str]:
    """The number of answers of the command in a process of its own, and its exit code and whether it loaded torch."""
    arguments = [sys.executable, "-c", RUN, "predict", "--json", "digits"]
    result = subprocess.run(arguments, cwd=cwd, capture_output=True, text=True, check=True)
    return len(result.stdout.splitlines()), result.stderr.strip()


def test_command_answers_from_the_onnx_file_without_torch(exported: Paths) -> None:
    assert ran(exported.root) == (10, "0 False")


def test_command_loads_torch_for_the_model_so_the_test_above_can_fail(exported: Paths) -> None:
    exported.onnx.unlink()
    assert ran(exported.root) == (10, "0 True")


def test_onnx_file_is_chosen_if_it_is_of_the_model_on_record(exported: Paths) -> None:
    assert published_model(exported) == exported.onnx
    exported.model.unlink()  # as where only the smaller file was fetched
    assert published_model(exported) == exported.onnx


def test_model_is_chosen_if_the_onnx_file_is_of_an_earlier_one(exported: Paths) -> None:
    record(exported.model, model_bytes(seed=1), exported.sums)
    assert published_model(exported) == exported.model


def test_model_is_chosen_if_nothing_says_which_one_the_onnx_file_is_of(exported: Paths) -> None:
    exported.sums.unlink()
    assert published_model(exported) == exported.model


def test_model_is_chosen_if_there_is_no_onnx_file(exported: Paths) -> None:
    exported.onnx.unlink()
    assert published_model(exported) == exported.model


def test_released_network_is_chosen_where_nothing_was_trained(tmp_path: Path) -> None:
    assert published_model(Paths(tmp_path)) == released_onnx("compact")
    assert list(tmp_path.iterdir()) == []


def exchanged(content: bytes) -> bytes:
    """Another whole ONNX file of the same model: its own digest belongs to it."""
    (seal,) = (entry.value for entry in onnx.load_from_string(content).metadata_props if entry.key == SEAL)
    blank = content.replace(seal.encode(), BLANK.encode(), 1).replace(b"compact", b"compacu", 1)
    return sealed(blank)


def flipped(content: bytes) -> bytes:
    return content[:5000] + bytes((content[5000] ^ 1,)) + content[5001:]


@pytest.mark.parametrize(
    ("change", "recorded", "message"),
    [
        (flipped, False, "as in model.onnx.sha256 beside it"),
        (flipped, True, "which the file carries"),
        (lambda content: content[:-100], True, "model.onnx: (SHA-256|content|digest): got"),
        (lambda _: b"", True, "model.onnx: digest: got none"),
        (exchanged, False, "as in model.onnx.sha256 beside it"),
    ],
    ids=["flipped bit", "flipped bit on record", "cut", "empty", "exchanged"],
)
def test_damaged_or_exchanged_onnx_file_is_refused(
    exported: Paths, capsys: pytest.CaptureFixture[str], change: Any, message: str, *, recorded: bool
) -> None:
    content = change(exported.onnx.read_bytes())
    exported.onnx.write_bytes(content)
    if recorded:
        record(exported.onnx, content, own_sums(exported.onnx))
    with pytest.raises(ArtifactError, match=message):
        published_model(exported)
    with pytest.raises(ArtifactError, match=message):
        predict(["digits"], exported.onnx, as_json=True)
    assert capsys.readouterr().out == ""


def test_exchanged_onnx_file_is_whole_so_it_is_the_record_that_refuses_it(
    exported: Paths, capsys: pytest.CaptureFixture[str]
) -> None:
    record(exported.onnx, exchanged(exported.onnx.read_bytes()), own_sums(exported.onnx))
    assert published_model(exported) == exported.onnx
    assert len(told(capsys, "digits", model=exported.onnx)) == 10


# --------------------------------------------------------------------------------------------------- the command itself


def test_command_without_a_picture_is_a_usage_error(tmp_path: Path) -> None:
    result = command("predict", cwd=tmp_path)
    assert result.returncode == 2
    assert "Missing argument 'PATH" in result.stderr


def test_command_in_the_poorest_locale(home: Path) -> None:
    """ASCII only: neither the names of the files nor the lines of the table can be printed as they are."""
    (home / "digits/0.png").rename(home / HOSTILE)
    (home / "digits/1.png").rename(home / "ü.png")
    poor = os.environ | {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    result = command("predict", HOSTILE, "ü.png", "missing", cwd=home, environment=poor)
    assert result.returncode == 65
    assert result.stderr == "mnist-dvc: pictures: not read: got 1 of 3, expected none\n"
    assert result.stdout.isascii()
    assert result.stdout.count(".png") == 2


MORE_THAN_A_PIPE_HOLDS = ["digits"] * 200


@pytest.mark.parametrize(
    ("options", "first"), [(["--json"], b'{"file": "digits/0.png"'), ([], "┏".encode())], ids=["lines", "tables"]
)
def test_command_ends_quietly_when_nobody_reads_on(exported: Paths, options: list[str], first: bytes) -> None:
    """As in ``| head -1``: quiet, but no success."""
    arguments = [sys.executable, "-m", "mnist_dvc", "predict", *options, *MORE_THAN_A_PIPE_HOLDS]
    environment = os.environ | {"PYTHONUTF8": "1"}
    with subprocess.Popen(
        arguments, cwd=exported.root, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert process.stdout.readline().startswith(first)
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 74


@pytest.mark.parametrize("options", [["--json"], []], ids=["lines", "tables"])
def test_command_whose_answers_are_read_to_the_end_is_a_success(exported: Paths, options: list[str]) -> None:
    """The twin of the test above."""
    result = command("predict", *options, *MORE_THAN_A_PIPE_HOLDS, cwd=exported.root)
    assert (result.returncode, result.stderr) == (0, "")
    assert len(result.stdout.encode()) > 2**16


def asked(folder: Path, redirection: str, *options: str) -> subprocess.CompletedProcess[str]:
    """``predict`` of a picture and of one that is missing, as a shell runs it with ``redirection``."""
    return redirected(folder, redirection, "-m", "mnist_dvc", "predict", *options, "digits/0.png", "missing.png")


@pytest.mark.parametrize("options", [["--json"], []], ids=["lines", "tables"])
@pytest.mark.parametrize(
    ("redirection", "reason"), [(">&-", "Bad file descriptor"), (">/dev/full", "No space left on device")]
)
def test_answers_that_reach_nobody_end_in_74(
    exported: Paths, redirection: str, reason: str, options: list[str]
) -> None:
    result = asked(exported.root, redirection, *options)
    assert (result.returncode, result.stderr) == (74, f"mnist-dvc: standard output: {reason}\n")


@pytest.mark.parametrize("options", [["--json"], []], ids=["lines", "tables"])
def test_what_is_said_of_errors_never_stands_among_the_answers(exported: Paths, options: list[str]) -> None:
    """Not even where standard error is closed, so that Python has none."""
    open_, closed = asked(exported.root, "", *options), asked(exported.root, "2>&-", *options)
    assert (open_.returncode, closed.returncode) == (65, 65)
    assert open_.stderr == "mnist-dvc: pictures: not read: got 1 of 2, expected none\n"
    assert closed.stdout == open_.stdout


def test_print_would_put_it_among_the_answers() -> None:
    """The twin: what Python does where there is no standard error."""
    code = "import sys\nprint('an error', file=sys.stderr)"
    result = subprocess.run(
        ["sh", "-c", 'exec "$0" -c "$1" 2>&-', sys.executable, code], capture_output=True, text=True, check=True
    )
    assert result.stdout == "an error\n"
