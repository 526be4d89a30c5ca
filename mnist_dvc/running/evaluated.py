"""What ``evaluate`` finds out, written and read back: of this model, of these images, in agreement with itself."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.arrays import CLASSES
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import SUMS, csv_bytes, name_in, read_regular, recorded_sha256, refuse_unrecorded, sha256sums
from mnist_dvc.metrics import Predictions
from mnist_dvc.records import Result, parsed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mnist_dvc.data.arrays import LabelledImages
    from mnist_dvc.paths import Paths
    from mnist_dvc.running.published import Published

__all__ = [
    "CLASSES_CSV",
    "METRICS",
    "PREDICTIONS",
    "Evaluation",
    "classes_csv",
    "predictions_csv",
    "read_result",
    "result_sums",
]

METRICS, PREDICTIONS, CLASSES_CSV = "metrics.json", "predictions.csv", "classes.csv"
LARGEST = 8 * 2**20
"""Bytes; the predictions of 300,000 images, the most that are prepared, take 6,200,000."""
HEADER = ("index", "actual", "predicted", "confidence")
ROW = re.compile(r"(\d{1,6}),(\d),(\d),(0\.\d{6}|1\.000000)")
AGAIN = "run `evaluate` again"


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
        return tuple(folder / name for name in (METRICS, PREDICTIONS, CLASSES_CSV, SUMS))

    @classmethod
    def read(cls, paths: Paths, taken: Published, test: LabelledImages) -> Evaluation:
        """Read what ``evaluate`` wrote and hold it against itself, the test images and the model.

        Raises:
            ArtifactError: a file is missing or damaged, or they are not about this model and these images.
        """
        result, folder = read_result(paths, taken), paths.test_report
        predictions = _read_predictions(folder / PREDICTIONS)
        _refuse_other_images(folder / PREDICTIONS, predictions, test)
        told = {
            "images": (result.images, len(test)),
            "errors": (result.errors, int((predictions.predicted_N != predictions.labels_N).sum())),
        }
        for what, (got, expected) in told.items():
            if got != expected:
                wanted = f"{expected}, as of {PREDICTIONS}; {AGAIN}"
                raise ArtifactError(folder / METRICS, what, got=got, expected=wanted)
        classes = _recorded(folder / CLASSES_CSV, "the scores that `evaluate` writes")
        if classes != classes_csv(predictions):
            expected_scores = f"those of {PREDICTIONS}; {AGAIN}"
            raise ArtifactError(folder / CLASSES_CSV, "scores", got="others", expected=expected_scores)
        return cls(result, predictions)


def read_result(paths: Paths, taken: Published) -> Result:
    """The scores of the published model.

    Raises:
        ArtifactError: they are missing, damaged or at odds with each other, of another model or another data set.
    """
    path, sums = paths.test_metrics, paths.test_report / SUMS
    expected = "the metrics that `evaluate` writes"
    result = parsed(_recorded(path, expected), path, Result, expected, ArtifactError)
    told = {
        "model": (sums, recorded_sha256(paths.model, sums), taken.sha256),
        "dataset": (path, result.dataset, taken.card.dataset),
        "parameters": (path, result.parameters, taken.card.parameters),
    }
    for what, (where, got, belongs) in told.items():
        if got != belongs:
            raise ArtifactError(where, what, got=got, expected=f"{belongs}, as of the published model; {AGAIN}")
    return result


def result_sums(paths: Paths, outputs: Mapping[str, bytes], model: str) -> bytes:
    """The digests of ``outputs``, which lie in the folder of the test report, and that of the model they are about."""
    name = name_in(paths.test_report / SUMS, paths.model)
    return sha256sums(outputs) + f"{model}  {name}\n".encode()


def _recorded(path: Path, expected: str) -> bytes:
    """The content of ``path``, if it is what ``evaluate`` wrote there."""
    content = read_regular(path, LARGEST, ArtifactError, expected)
    refuse_unrecorded(path, content, path.with_name(SUMS), f"the digests that `evaluate` writes; {AGAIN}")
    return content


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


def _read_predictions(path: Path) -> Predictions:
    """The answers that :func:`predictions_csv` wrote, row by row as it writes them.

    Raises:
        ArtifactError: the file is missing, or a line is another.
    """
    content = _recorded(path, "the predictions that `evaluate` writes")
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
