from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn import metrics as sk

from mnist_dvc.metrics import Predictions, expected_calibration_error, scores


def predictions(n: int, seed: int, sharpness: float = 3.0) -> Predictions:
    random = np.random.default_rng(seed)
    labels_N = np.concatenate((np.arange(10), random.integers(0, 10, n - 10)))
    logits_NK = random.normal(size=(n, 10)) * sharpness
    logits_NK[np.arange(n), labels_N] += sharpness
    return Predictions.from_logits(logits_NK.astype(np.float32), labels_N)


@given(n=st.integers(10, 200), seed=st.integers(0, 1000))
def test_scores_agree_with_scikit_learn_and_the_formulas(n: int, seed: int) -> None:
    made = predictions(n, seed)
    result = scores(made)
    assert result.images == n
    assert result.accuracy == sk.accuracy_score(made.labels_N, made.predicted_N)
    assert result.errors == round(n * (1 - result.accuracy))
    likelihood_N = made.probabilities_NK[np.arange(n), made.labels_N]
    assert math.isclose(result.nll, -np.log(likelihood_N).mean(), rel_tol=1e-9)
    one_hot_NK = np.eye(10)[made.labels_N]
    assert math.isclose(result.brier, ((made.probabilities_NK - one_hot_NK) ** 2).sum(axis=1).mean(), rel_tol=1e-9)
    assert 0.0 <= result.accuracy_low <= result.accuracy <= result.accuracy_high <= 1.0
    assert 0.0 <= result.ece <= 1.0


@pytest.mark.parametrize(
    ("errors", "low", "high"),
    # Clopper and Pearson, of 10,000: the beta quantiles, computed apart from this package.
    [(0, 0.999631, 1.0), (35, 0.995135, 0.997561), (10_000, 0.0, 0.000369)],
)
def test_interval_is_the_exact_binomial_one(errors: int, low: float, high: float) -> None:
    labels_N = np.arange(10_000) % 10
    answers_N = labels_N.copy()
    answers_N[:errors] = (answers_N[:errors] + 1) % 10
    result = scores(Predictions(labels_N, np.eye(10)[answers_N] * 0.9 + 0.01))
    assert result.errors == errors
    assert math.isclose(result.accuracy_low, low, abs_tol=1e-6)
    assert math.isclose(result.accuracy_high, high, abs_tol=1e-6)


def test_calibration_error_of_a_hand_made_case() -> None:
    """Two bins: sure of 0.6 and right 1 time in 2; sure of 0.9 and right 2 times in 2."""
    confidence = np.array([0.6, 0.9, 0.6, 0.9])
    probabilities_NK = np.stack((confidence, 1 - confidence), axis=1)
    made = Predictions(np.array([0, 0, 1, 0]), probabilities_NK)
    assert math.isclose(expected_calibration_error(made, bins=2), (abs(0.5 - 0.6) + abs(1.0 - 0.9)) / 2)


def test_calibrated_answers_have_a_small_error_and_boastful_ones_do_not() -> None:
    random = np.random.default_rng(0)
    confidence = random.uniform(0.5, 1.0, 50_000)
    labels_N = (random.uniform(size=50_000) > confidence).astype(np.int64)
    honest = Predictions(labels_N, np.stack((confidence, 1 - confidence), axis=1))
    boastful = Predictions(labels_N, np.tile([0.999, 0.001], (50_000, 1)))
    assert expected_calibration_error(honest) < 0.01
    assert expected_calibration_error(boastful) > 0.2


def test_confusion_counts_actual_by_predicted() -> None:
    made = predictions(200, seed=3)
    confusion_KK = made.confusion_KK()
    assert confusion_KK.shape == (10, 10)
    assert confusion_KK[4, 7] == int(((made.labels_N == 4) & (made.predicted_N == 7)).sum())
    assert confusion_KK.sum() == 200


def test_per_class_rows_agree_with_scikit_learn() -> None:
    made = predictions(200, seed=4)
    rows = made.per_class()
    report = sk.classification_report(made.labels_N, made.predicted_N, output_dict=True)
    for k, precision, recall, f1, images in rows:
        expected = report[str(k)]
        assert (precision, recall, f1) == (expected["precision"], expected["recall"], expected["f1-score"])
        assert images == expected["support"]


def test_class_that_never_occurs_scores_zero_without_a_warning() -> None:
    made = Predictions(np.array([0, 1]), np.eye(10)[[0, 1]])
    assert made.per_class()[5] == (5, 0.0, 0.0, 0.0, 0)


def test_worst_mistakes_are_wrong_and_sorted_by_confidence() -> None:
    made = predictions(200, seed=5)
    worst = made.worst_mistakes(10)
    assert (made.predicted_N[worst] != made.labels_N[worst]).all()
    assert (np.diff(made.confidence_N[worst]) <= 0).all()
    assert len(made.worst_mistakes(10_000)) == scores(made).errors


def test_certain_logits_stay_finite() -> None:
    made = Predictions.from_logits(np.array([[1e4, 0.0], [0.0, 1e4]], dtype=np.float32), np.array([1, 1]))
    assert math.isfinite(scores(made).nll)
