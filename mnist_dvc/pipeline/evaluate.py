"""Stage ``evaluate``: the published model on the test images, read once, to scores, tables and figures."""

from __future__ import annotations

import csv
import io
import math
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.describe import parameter_count
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import csv_bytes, exclusive, json_bytes, read_regular, write_atomically
from mnist_dvc.inference import logits_of
from mnist_dvc.metrics import Predictions, scores
from mnist_dvc.model.weights import Card, read_model
from mnist_dvc.report.figures import confusion_figure, curves_figure, mistakes_figure
from mnist_dvc.report.text import per_cent
from mnist_dvc.runtime import set_up
from mnist_dvc.training.events import HISTORY_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["evaluate"]

LARGEST_HISTORY = 2 * 2**20
"""Bytes; 10,000 epochs, the most that the params allow, take half of it."""


def evaluate(params: Params, paths: Paths) -> None:
    """Score the published model on the test split, on the CPU in float32, and write every output of the stage.

    Raises:
        ArtifactError: the model or the history is missing or damaged, or the model learned from another data set.
        DataError: the prepared digits are missing or damaged.
        BusyError: another process works in this workspace.
        OSError: an output cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc evaluate"):
        _evaluate(params, paths)


def _evaluate(params: Params, paths: Paths) -> None:
    set_up(params.evaluate.threads)
    model, card = read_model(paths.model)
    prepared = Prepared.open(paths.prepared)
    _check_same_data(card, prepared, paths.model)
    history = _read_history(paths.history)
    test = prepared.read("test")
    predictions = _predict(model, Digits.on(torch.device("cpu"), test), params.evaluate.batch_size, paths.model)
    result = {"dataset": card.dataset, **asdict(scores(predictions)), "parameters": parameter_count(model)}
    outputs = {
        "predictions.csv": _predictions_csv(predictions),
        "classes.csv": csv_bytes(("class", "precision", "recall", "f1", "images"), predictions.per_class()),
        "curves.png": curves_figure(history),
        "confusion.png": confusion_figure(predictions.confusion_KK()),
        "mistakes.png": mistakes_figure(test.images_NHW, predictions, params.evaluate.mistakes),
        "metrics.json": json_bytes(result),
    }
    for name, content in outputs.items():
        write_atomically(paths.test_report / name, content)
    print(
        f"Test accuracy: {per_cent(result['accuracy'])} on {card.dataset} ({result['errors']} errors in "
        f"{result['images']:,} images; 95 % interval {per_cent(result['accuracy_low'])} to "
        f"{per_cent(result['accuracy_high'])})  ->  {paths.test_report}"
    )


def _check_same_data(card: Card, prepared: Prepared, where: Path) -> None:
    """Refuse test images that the model may have learned from: the sample's are all among MNIST's training images."""
    if (card.dataset, card.data_digest) != (prepared.dataset, prepared.digest):
        raise ArtifactError(
            where,
            "data it was trained on",
            got=f"{card.dataset} ({card.data_digest[:12]})",
            expected=f"the prepared {prepared.dataset} ({prepared.digest[:12]}); run `train` again",
        )


def _predict(model: torch.nn.Module, test: Digits, batch_size: int, where: Path) -> Predictions:
    model.to(memory_format=torch.channels_last)
    logits_NK = logits_of(model, test, batch_size)
    if not bool(torch.isfinite(logits_NK).all()):
        raise ArtifactError(where, "logits of the test images", got="NaN or infinity", expected="finite numbers")
    return Predictions.from_logits(logits_NK.numpy(), test.labels_N.numpy())


def _predictions_csv(predictions: Predictions) -> bytes:
    """A row per image; confidences with six digits, beyond which float32 logits say nothing."""
    rows = zip(predictions.labels_N, predictions.predicted_N, predictions.confidence_N, strict=True)
    return csv_bytes(
        ("index", "actual", "predicted", "confidence"),
        ((index, actual, predicted, f"{confidence:.6f}") for index, (actual, predicted, confidence) in enumerate(rows)),
    )


def _read_history(path: Path) -> dict[str, list[float]]:
    """The columns of history.csv by name, without those that are empty.

    Raises:
        ArtifactError: the file is missing or holds something else.
    """
    content = read_regular(path, LARGEST_HISTORY, ArtifactError, "the history that `train` writes")
    try:
        header, *rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True)) or [[]]
    except (ValueError, csv.Error) as error:
        raise ArtifactError(path, "content", got=error, expected="rows of numbers under a header") from error
    if tuple(header) != HISTORY_COLUMNS:
        raise ArtifactError(path, "header", got=",".join(header), expected=",".join(HISTORY_COLUMNS))
    for number, row in enumerate(rows, start=1):
        if len(row) != len(header):
            raise ArtifactError(path, f"row {number}", got=f"{len(row)} cells", expected=len(header))
    columns = {name: [row[column] for row in rows] for column, name in enumerate(header)}
    try:
        history = {name: [_finite(cell) for cell in cells] for name, cells in columns.items() if any(cells)}
    except ValueError as error:
        raise ArtifactError(path, "content", got=error, expected="finite numbers") from error
    if not rows or history.get("epoch") != list(range(1, len(rows) + 1)):
        raise ArtifactError(path, "epochs", got="gaps or none", expected="1, 2, 3, ...")
    return history


def _finite(cell: str) -> float:
    number = float(cell)
    if not math.isfinite(number):
        raise ValueError(cell)
    return number
