"""Stage ``evaluate``: the published model on the test images, read once, to scores, tables and figures."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.describe import parameter_count
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import exclusive, json_bytes, publish
from mnist_dvc.inference import logits_of
from mnist_dvc.metrics import Predictions, scores
from mnist_dvc.report.figures import confusion_figure, curves_figure, mistakes_figure
from mnist_dvc.report.text import per_cent
from mnist_dvc.running.evaluated import CLASSES_CSV, METRICS, PREDICTIONS, classes_csv, predictions_csv
from mnist_dvc.running.history import read_history
from mnist_dvc.running.published import published

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["evaluate"]


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
    with exclusive(paths.state, "mnist-dvc evaluate"):
        _evaluate(params, paths)


def _evaluate(params: Params, paths: Paths) -> None:
    chosen = params.evaluate
    taken = published(__name__, params, "evaluate", paths, threads=chosen.threads, others=(paths.history,))
    history = read_history(paths.history, paths.sums)
    test = taken.prepared.read("test")
    predictions = _predict(taken.model, Digits.on(torch.device("cpu"), test), chosen.batch_size, paths.model)
    dataset = taken.card.dataset
    result = {"dataset": dataset, **asdict(scores(predictions)), "parameters": parameter_count(taken.model)}
    outputs = {
        PREDICTIONS: predictions_csv(predictions),
        CLASSES_CSV: classes_csv(predictions),
        "curves.png": curves_figure(history),
        "confusion.png": confusion_figure(predictions.confusion_KK()),
        "mistakes.png": mistakes_figure(test.images_NHW, predictions, chosen.mistakes),
        METRICS: json_bytes(result),
    }
    with taken.inputs.publishing():
        publish({paths.test_report / name: content for name, content in outputs.items()}, paths.test_report / METRICS)
    print(
        f"Test accuracy: {per_cent(result['accuracy'])} on {dataset} ({result['errors']} errors in "
        f"{result['images']:,} images; 95 % interval {per_cent(result['accuracy_low'])} to "
        f"{per_cent(result['accuracy_high'])})  ->  {paths.test_report}"
    )


def _predict(model: torch.nn.Module, test: Digits, batch_size: int, where: Path) -> Predictions:
    model.to(memory_format=torch.channels_last)
    logits_NK = logits_of(model, test, batch_size)
    if not bool(torch.isfinite(logits_NK).all()):
        raise ArtifactError(where, "logits of the test images", got="NaN or infinity", expected="finite numbers")
    return Predictions.from_logits(logits_NK.numpy(), test.labels_N.numpy())
