"""Stage ``evaluate``: the published model on the test images, read once, to scores, tables and figures."""

from __future__ import annotations

import sys
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.describe import parameter_count
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import SUMS, exclusive, json_bytes, publish
from mnist_dvc.inference import features_of, logits_of
from mnist_dvc.metrics import Predictions, scores
from mnist_dvc.records import Result, record_bytes
from mnist_dvc.report.figures import confusion_figure, curves_figure, mistakes_figure
from mnist_dvc.report.tensorboard import show_test
from mnist_dvc.report.text import per_cent
from mnist_dvc.running.evaluated import (
    CLASSES_CSV,
    METRICS,
    PREDICTIONS,
    classes_csv,
    predictions_csv,
    result_sums,
)
from mnist_dvc.running.history import read_history
from mnist_dvc.running.published import published
from mnist_dvc.running.runs import run_of_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["evaluate"]

COMPARED = ("accuracy", "errors", "nll", "dataset", "parameters")
SHOWN = 1_000
"""Test images in TensorBoard's projector."""


def evaluate(params: Params, paths: Paths) -> None:
    """Score the published model on the test split, on the CPU in float32, and write every output of the stage.

    Raises:
        ArtifactError: the model or the history is missing or damaged, they are not of one training, or the model is of
            another network than ``model.name`` or learned from other digits.
        ChangedError: what was read stands there no more.
        DataError: the prepared digits are missing or damaged.
        BusyError: another process works in this workspace.
        OSError: an output cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc evaluate", paths.root):
        _evaluate(params, paths)


def _evaluate(params: Params, paths: Paths) -> None:
    chosen = params.evaluate
    taken = published(__name__, params, "evaluate", paths, threads=chosen.threads, others=(paths.history,))
    history = read_history(paths.history, paths.sums)
    test = taken.prepared.read("test")
    digits = Digits.on(torch.device("cpu"), test)
    predictions = _predict(taken.model, digits, chosen.batch_size, paths.model)
    dataset, scored = taken.card.dataset, scores(predictions)
    result = {"dataset": dataset, **asdict(scored), "parameters": parameter_count(taken.model)}
    outputs = {
        PREDICTIONS: predictions_csv(predictions),
        CLASSES_CSV: classes_csv(predictions),
        "curves.png": curves_figure(history),
        "confusion.png": confusion_figure(predictions.confusion_KK(), taken.card.classes),
        "mistakes.png": mistakes_figure(test.images_NHW, predictions, chosen.mistakes, taken.card.classes),
        METRICS: record_bytes(Result, result),
    }
    told = {name: outputs[name] for name in (METRICS, PREDICTIONS, CLASSES_CSV)}
    files = outputs | {SUMS: result_sums(paths, told, taken.sha256)}
    written = {paths.test_report / name: content for name, content in files.items()}
    with taken.inputs.publishing():
        publish(written | {paths.metrics: json_bytes(_compared(result, history))}, paths.test_report / SUMS)
    run = run_of_model(paths, taken.sha256)
    if run is not None:
        some = Digits(digits.images_N1HW[:SHOWN], digits.labels_N[:SHOWN])
        show_test(
            run,
            len(history["epoch"]),
            scores=asdict(scored),
            predictions=predictions,
            pictures={name: outputs[f"{name}.png"] for name in ("confusion", "mistakes")},
            features_MD=features_of(taken.model, some, chosen.batch_size),
            images_NHW=test.images_NHW,
            classes=taken.card.classes,
            say=lambda line: print(f"evaluate: {line}", file=sys.stderr),
        )
    print(
        f"Test accuracy: {per_cent(result['accuracy'])} on {dataset} ({result['errors']} errors in "
        f"{result['images']:,} images; 95 % interval {per_cent(result['accuracy_low'])} to "
        f"{per_cent(result['accuracy_high'])})  ->  {paths.test_report}"
    )


def _compared(result: Mapping[str, Any], history: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """What of an evaluation and the training before it stands in DVC's tables."""
    told = {name: result[name] for name in COMPARED}
    validation = history.get("val_accuracy")
    return told if validation is None else told | {"val_accuracy": validation[-1]}


def _predict(model: torch.nn.Module, test: Digits, batch_size: int, where: Path) -> Predictions:
    model.to(memory_format=torch.channels_last)
    logits_NK = logits_of(model, test, batch_size)
    if not bool(torch.isfinite(logits_NK).all()):
        raise ArtifactError(where, "logits of the test images", got="NaN or infinity", expected="finite numbers")
    return Predictions.from_logits(logits_NK.numpy(), test.labels_N.numpy())
