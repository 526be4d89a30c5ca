from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.image import imread

from mnist_dvc.metrics import Predictions
from mnist_dvc.report.figures import confusion_figure, curves_figure, mistakes_figure

HISTORY = {
    "epoch": [1.0, 2.0, 3.0],
    "train_loss": [0.4, 0.2, 0.1],
    "val_loss": [0.3, 0.2, 0.1],
    "train_accuracy": [0.9, 0.95, 0.97],
    "val_accuracy": [0.95, 0.97, 0.98],
}
IMAGES = np.random.default_rng(0).integers(0, 256, (40, 28, 28), dtype=np.uint8)
LABELS = np.arange(40) % 10


def answers(wrong: int) -> Predictions:
    predicted = LABELS.copy()
    predicted[:wrong] = (predicted[:wrong] + 1) % 10
    return Predictions(LABELS, np.eye(10)[predicted] * 0.9 + 0.01)


def without_validation() -> dict[str, list[float]]:
    return {key: values for key, values in HISTORY.items() if not key.startswith("val_")}


FIGURES = {
    "curves": lambda: curves_figure(HISTORY),
    "curves without validation": lambda: curves_figure(without_validation()),
    "curves of one epoch": lambda: curves_figure({key: values[:1] for key, values in HISTORY.items()}),
    "confusion": lambda: confusion_figure(answers(7).confusion_KK()),
    "confusion without mistakes": lambda: confusion_figure(answers(0).confusion_KK()),
    "mistakes": lambda: mistakes_figure(IMAGES, answers(12), 9),
    "one mistake": lambda: mistakes_figure(IMAGES, answers(1), 9),
    "no mistakes": lambda: mistakes_figure(IMAGES, answers(0), 9),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_a_picture_with_the_same_bytes_every_time(name: str) -> None:
    content = FIGURES[name]()
    assert FIGURES[name]() == content
    picture = imread(io.BytesIO(content))
    assert min(picture.shape[:2]) > 100
    assert len(np.unique(picture)) > 2


def test_figures_show_their_numbers() -> None:
    assert FIGURES["curves"]() != FIGURES["curves without validation"]()
    assert confusion_figure(answers(7).confusion_KK()) != confusion_figure(answers(8).confusion_KK())
    assert mistakes_figure(IMAGES, answers(12), 9) != mistakes_figure(255 - IMAGES, answers(12), 9)
