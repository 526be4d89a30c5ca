"""What the command line says of itself, and what it makes of options that are none."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from helpers import command

from mnist_dvc.params import param_keys
from mnist_dvc.usage import _options, key_meant

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize(
    ("option", "command", "key"),
    [
        ("--epochs", "train", "train.epochs"),
        ("--epoch", "train", "train.epochs"),
        ("--learning-rate", "train", "train.learning_rate"),
        ("--learning_rat", "summary", "train.learning_rate"),
        ("--batch-size", "train", "train.batch_size"),
        ("--batch-size", "evaluate", "evaluate.batch_size"),
        ("--seed", "prepare", "train.seed"),
        ("--train.augment.shift", "train", "train.augment.shift"),
        ("--shift", "train", "train.augment.shift"),
        ("--source", "prepare", "data.source"),
        ("--banana", "train", None),
        ("--", "train", None),
    ],
)
def test_param_that_an_option_means(option: str, command: str, key: str | None) -> None:
    assert key_meant(option, command) == key


def test_every_key_is_meant_by_its_whole_name() -> None:
    assert [key_meant(f"--{key}", "train") for key in param_keys()] == param_keys()


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("--epochs 5", [("--epochs", "5")]),
        ("--epochs=5 x", [("--epochs", "5")]),
        ("--epochs=", [("--epochs", "")]),
        ("--epochs", [("--epochs", "VALUE")]),
        ("--epochs --fresh", [("--epochs", "VALUE"), ("--fresh", "VALUE")]),
        ("x -S a=1", []),
        ("x -- --epochs 5", []),
        ("", []),
    ],
)
def test_options_and_what_stands_after_them(line: str, found: list[tuple[str, str]]) -> None:
    assert _options(line.split()) == found


@pytest.mark.parametrize("name", ["", "train", "predict", "demo", "study", "study teach"])
def test_short_help_is_the_same_and_speaks_of_no_types(tmp_path: Path, name: str) -> None:
    short, long = command(*name.split(), "-h", cwd=tmp_path), command(*name.split(), "--help", cwd=tmp_path)
    assert (short.returncode, short.stdout) == (0, long.stdout)
    assert "Show this message" in short.stdout
    assert "<" not in short.stdout.replace("<=", "")


def test_shell_gets_what_completes_a_line(tmp_path: Path) -> None:
    def completed(line: str) -> list[str]:
        words = {
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(line.split(" ")) - 1),
            "_MNIST_DVC_COMPLETE": "complete_bash",
        }
        return command(cwd=tmp_path, environment=os.environ | words).stdout.split()

    assert completed("mnist-dvc ev") == ["evaluate"]
    assert completed("mnist-dvc train --fr") == ["--fresh"]
    assert completed("mnist-dvc train -S train.ep") == ["train.epochs="]
    assert completed("mnist-dvc nothing") == []


@pytest.mark.parametrize("arguments", [["evaluate", "--debug"], ["study", "--debug", "summary"], ["--debug", "train"]])
def test_debug_may_stand_anywhere(tmp_path: Path, arguments: list[str]) -> None:
    shown = command(*arguments, cwd=tmp_path)
    quiet = command(*(word for word in arguments if word != "--debug"), cwd=tmp_path)
    assert quiet.returncode == shown.returncode != 0
    assert ("Traceback" in shown.stderr, "Traceback" in quiet.stderr) == (True, False)
    assert shown.stderr.endswith(quiet.stderr)
