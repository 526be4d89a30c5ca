"""What ``evaluate`` finds out, written and read back: of this model, of these images, in agreement with itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from mnist_dvc.data.arrays import CLASSES
from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import csv_bytes, read_regular
from mnist_dvc.inference import logits_of
from mnist_dvc.metrics import Predictions

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.data.arrays import LabelledImages
    from mnist_dvc.running.published import Published

__all__ = ["CLASSES_CSV", "METRICS", "PREDICTIONS", "Evaluation", "Result", "classes_csv", "predictions_csv"]

METRICS, PREDICTIONS, CLASSES_CSV = "metrics.json", "predictions.csv", "classes.csv"
LARGEST = 8 * 2**20
"""Bytes; the predictions of 300,000 images, the most that are prepared, take 6,200,000."""
HEADER = ("index", "actual", "predicted", "confidence")
ROW = re.compile(r"(\d{1,6}),(\d),(\d),(0\.\d{6}|1\.000000)")
PROBE = 250
"""Least confident answers that the model is asked for again: two trainings differ in them more than anywhere."""
TOLERANCE = 1e-3
"""Of a probability; two machines differ by 1e-5."""
AGAIN = "run `evaluate` again"

_Fraction = Annotated[float, Field(ge=0.0, le=1.0)]
_Count = Annotated[int, Field(ge=0)]


class Result(BaseModel):
    """The content of metrics.json; accuracies are fractions, ``nll`` is in nats per image."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)

    dataset: str
    accuracy: _Fraction
    errors: _Count
    images: _Count
    accuracy_low: _Fraction
    accuracy_high: _Fraction
    nll: Annotated[float, Field(ge=0.0)]
    brier: Annotated[float, Field(ge=0.0, le=2.0)]
    ece: _Fraction
    parameters: _Count


@dataclass(frozen=True, slots=True)
class Evaluation:
    """The published model's answers to the N test images, and the figures made of them.

    ``predictions`` has the probability of each answer; those of the other classes, which no file keeps, are zero.
    """

    result: Result
    predictions: Predictions

    @staticmethod
    def files(folder: Path) -> tuple[Path, ...]:
        """What there is to read in ``folder``."""
        return tuple(folder / name for name in (METRICS, PREDICTIONS, CLASSES_CSV))

    @classmethod
    def read(cls, folder: Path, taken: Published, test: LabelledImages) -> Evaluation:
        """Read the files in ``folder`` and hold them against each other, the test images and the model.

        Raises:
            ArtifactError: one is missing or damaged, or they are not about this model and these images.
        """
        result = _read_result(folder / METRICS)
        predictions = _read_predictions(folder / PREDICTIONS)
        _refuse_other_images(folder / PREDICTIONS, predictions, test)
        told = {
            "dataset": (result.dataset, taken.card.dataset, "the model"),
            "parameters": (result.parameters, taken.card.parameters, "the model"),
            "images": (result.images, len(test), PREDICTIONS),
            "errors": (result.errors, int((predictions.predicted_N != predictions.labels_N).sum()), PREDICTIONS),
            "accuracy": (result.accuracy, (result.images - result.errors) / max(1, result.images), "its own errors"),
        }
        for what, (got, expected, of) in told.items():
            if got != expected:
                raise ArtifactError(folder / METRICS, what, got=got, expected=f"{expected}, as of {of}; {AGAIN}")
        classes = read_regular(folder / CLASSES_CSV, LARGEST, ArtifactError, "the scores that `evaluate` writes")
        if classes != classes_csv(predictions):
            expected = f"those of {PREDICTIONS}; {AGAIN}"
            raise ArtifactError(folder / CLASSES_CSV, "scores", got="others", expected=expected)
        _refuse_other_model(folder / PREDICTIONS, predictions, taken, test)
        return cls(result, predictions)


def predictions_csv(predictions: Predictions) -> bytes:
    """A row per image; confidences with six digits, beyond which float32 logits say nothing."""
    rows = zip(predictions.labels_N, predictions.predicted_N, predictions.confidence_N, strict=True)
    return csv_bytes(
        HEADER,
        ((index, actual, predicted, f"{confidence:.6f}") for index, (actual, predicted, confidence) in enumerate(rows)),
    )


def classes_csv(predictions: Predictions) -> bytes:
    """Precision, recall, F1 and number of images of each class."""
    return csv_bytes(("class", "precision", "recall", "f1", "images"), predictions.per_class())


def _read_result(path: Path) -> Result:
    expected = "the metrics that `evaluate` writes"
    try:
        return Result.model_validate_json(read_regular(path, LARGEST, ArtifactError, expected))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = ".".join(map(str, first["loc"])) or "content"
        raise ArtifactError(path, place, got=first["msg"], expected=expected) from error


def _read_predictions(path: Path) -> Predictions:
    """The answers that :func:`predictions_csv` wrote, row by row as it writes them.

    Raises:
        ArtifactError: the file is missing, or a line is another.
    """
    content = read_regular(path, LARGEST, ArtifactError, "the predictions that `evaluate` writes")
    header, *lines = content.decode("utf-8", "replace").split("\n")
    if header != ",".join(HEADER) or lines[-1:] != [""]:
        raise ArtifactError(path, "content", got="damage", expected=f"whole lines under {','.join(HEADER)}")
    rows = [ROW.fullmatch(line) for line in lines[:-1]]
    for index, row in enumerate(rows):
        if row is None or int(row[1]) != index:
            raise ArtifactError(path, f"line {index + 2}", got=lines[index], expected=f"the answer to image {index}")
    found = [row for row in rows if row is not None]
    probabilities_NK = np.zeros((len(found), CLASSES))
    probabilities_NK[range(len(found)), [int(row[3]) for row in found]] = [float(row[4]) for row in found]
    return Predictions(np.array([int(row[2]) for row in found], np.int64), probabilities_NK)


def _refuse_other_images(path: Path, predictions: Predictions, test: LabelledImages) -> None:
    got, expected = len(predictions.labels_N), len(test)
    if got != expected:
        raise ArtifactError(path, "images", got=got, expected=f"{expected}, as prepared; {AGAIN}")
    other_M = np.flatnonzero(predictions.labels_N != test.labels_N)
    if len(other_M):
        index = other_M[0]
        expected_label = f"{test.labels_N[index]}, as prepared; {AGAIN}"
        raise ArtifactError(path, f"label of image {index}", got=predictions.labels_N[index], expected=expected_label)


def _refuse_other_model(path: Path, predictions: Predictions, taken: Published, test: LabelledImages) -> None:
    """Ask the model for the least confident answers again: the figures may be those of an earlier training."""
    some_M = np.argsort(predictions.confidence_N, kind="stable")[:PROBE]
    whole = Digits.on(torch.device("cpu"), test)
    some = Digits(whole.images_N1HW[some_M], whole.labels_N[some_M])
    answers = Predictions.from_logits(logits_of(taken.model, some, PROBE).numpy(), some.labels_N.numpy())
    told_M = answers.probabilities_NK[range(len(some_M)), predictions.predicted_N[some_M]]
    for index, told in zip(some_M, told_M, strict=True):
        got = predictions.confidence_N[index]
        if not abs(told - got) <= TOLERANCE:
            expected = f"{told:.6f}, as the published model answers; {AGAIN}"
            raise ArtifactError(path, f"confidence of image {index}", got=f"{got:.6f}", expected=expected)
