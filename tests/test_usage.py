"""What the command line makes of options that are none, and of what stands after them."""

from __future__ import annotations

import pytest

from mnist_dvc.params import param_keys
from mnist_dvc.usage import _options, key_meant


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
