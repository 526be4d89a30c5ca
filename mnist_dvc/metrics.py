"""Logits and labels to numbers: accuracy with its interval, likelihood, calibration, per-class scores."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax
from scipy.stats import binomtest
from sklearn.metrics import brier_score_loss, confusion_matrix, log_loss, precision_recall_fscore_support

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Predictions", "Scores", "expected_calibration_error", "scores"]

CONFIDENCE_LEVEL = 0.95
CALIBRATION_BINS = 15


@dataclass(frozen=True, slots=True)
class Predictions:
    """What a network said of N images, K classes.

    ``labels_N`` int64; ``probabilities_NK`` float64, rows summing to 1.
    """

    labels_N: NDArray[np.int64]
    probabilities_NK: NDArray[np.float64]

    @classmethod
    def from_logits(cls, logits_NK: NDArray[np.floating], labels_N: NDArray[np.int64]) -> Predictions:
        """Probabilities by softmax in float64, where rounding is far below what the scores show."""
        return cls(labels_N, np.exp(log_softmax(logits_NK.astype(np.float64), axis=1)))

    @property
    def predicted_N(self) -> NDArray[np.int64]:
        """The class of the largest probability, (N,)."""
        predicted_N: NDArray[np.int64] = self.probabilities_NK.argmax(axis=1)
        return predicted_N

    @property
    def confidence_N(self) -> NDArray[np.float64]:
        """That probability, (N,), in [1/K, 1]."""
        confidence_N: NDArray[np.float64] = self.probabilities_NK.max(axis=1)
        return confidence_N

    def confusion_KK(self) -> NDArray[np.int64]:
        """Counts, (K, K): row actual, column predicted."""
        classes = self.probabilities_NK.shape[1]
        matrix: NDArray[np.int64] = confusion_matrix(self.labels_N, self.predicted_N, labels=range(classes))
        return matrix

    def per_class(self) -> list[tuple[int, float, float, float, int]]:
        """(class, precision, recall, F1, images of it) for each of the K classes; 0 where a ratio has no cases."""
        classes = range(self.probabilities_NK.shape[1])
        columns = precision_recall_fscore_support(self.labels_N, self.predicted_N, labels=classes, zero_division=0.0)
        return [(k, float(p), float(r), float(f), int(n)) for k, p, r, f, n in zip(classes, *columns, strict=True)]

    def worst_mistakes(self, count: int) -> NDArray[np.int64]:
        """Positions of up to ``count`` wrong answers, the most confident first."""
        wrong_M = np.flatnonzero(self.predicted_N != self.labels_N)
        order_M = np.argsort(-self.confidence_N[wrong_M], kind="stable")
        return wrong_M[order_M][:count]


@dataclass(frozen=True, slots=True)
class Scores:
    """The figures of one evaluation; accuracies are fractions, ``nll`` is in nats per image."""

    accuracy: float
    errors: int
    images: int
    accuracy_low: float
    accuracy_high: float
    nll: float
    brier: float
    ece: float


def scores(predictions: Predictions) -> Scores:
    """All figures of ``predictions``.

    ``accuracy_low`` and ``accuracy_high`` are the exact 95 % binomial interval (Clopper and Pearson, Biometrika 26,
    1934); ``brier`` is the squared distance to the one-hot label, mean over images, in [0, 2] (Brier, Monthly Weather
    Review 78, 1950).
    """
    labels_N, probabilities_NK = predictions.labels_N, predictions.probabilities_NK
    classes = list(range(probabilities_NK.shape[1]))
    images = len(labels_N)
    errors = int((predictions.predicted_N != labels_N).sum())
    interval = binomtest(images - errors, images).proportion_ci(CONFIDENCE_LEVEL, method="exact")
    return Scores(
        accuracy=(images - errors) / images,
        errors=errors,
        images=images,
        accuracy_low=float(interval.low),
        accuracy_high=float(interval.high),
        nll=float(log_loss(labels_N, probabilities_NK, labels=classes)),
        brier=float(brier_score_loss(labels_N, probabilities_NK, labels=classes, scale_by_half=False)),
        ece=expected_calibration_error(predictions),
    )


def expected_calibration_error(predictions: Predictions, bins: int = CALIBRATION_BINS) -> float:
    """Mean distance between confidence and accuracy over ``bins`` bins of equally many images, in [0, 1].

    Source: Guo et al., On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599, equation 3, with
    bins of equal mass as in Nguyen and O'Connor, https://arxiv.org/abs/1508.05154.
    """
    order_N = np.argsort(predictions.confidence_N, kind="stable")
    correct_N = (predictions.predicted_N == predictions.labels_N)[order_N]
    confidence_N = predictions.confidence_N[order_N]
    gaps = [
        abs(float(correct.mean() - confidence.mean())) * len(correct)
        for correct, confidence in zip(np.array_split(correct_N, bins), np.array_split(confidence_N, bins), strict=True)
        if len(correct)
    ]
    return sum(gaps) / len(order_N)
