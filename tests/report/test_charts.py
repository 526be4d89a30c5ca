from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pages import elements, repeated_ids

from mnist_dvc.metrics import Predictions
from mnist_dvc.report.charts import (
    MOST_TOLD,
    accuracy_chart,
    confidence_bins,
    confusion_chart,
    loss_chart,
    reliability_chart,
)

if TYPE_CHECKING:
    from collections.abc import Callable


def history(epochs: int, *, validated: bool = True) -> dict[str, list[float]]:
    falling = [2.0 / epoch for epoch in range(1, epochs + 1)]
    columns = {"epoch": [float(epoch) for epoch in range(1, epochs + 1)], "train_loss": falling, "val_loss": falling}
    columns |= {
        "train_accuracy": [1 - loss / 4 for loss in falling],
        "val_accuracy": [1 - loss / 5 for loss in falling],
    }
    return {name: values for name, values in columns.items() if validated or not name.startswith("val")}


def answers(rows: list[tuple[int, int, float]]) -> Predictions:
    """Labels, answers, confidences."""
    probabilities_NK = np.zeros((len(rows), 10))
    for place, (_, answer, confidence) in enumerate(rows):
        probabilities_NK[place, answer] = confidence
    return Predictions(np.array([label for label, _, _ in rows]), probabilities_NK)


FEW = answers([(3, 3, 0.95), (3, 5, 0.91), (5, 5, 1.0), (7, 7, 0.45)])
ALL: dict[str, Callable[[], str]] = {
    "loss": lambda: loss_chart(history(3)),
    "accuracy": lambda: accuracy_chart(history(3)),
    "confusion": lambda: confusion_chart(FEW.confusion_KK()),
    "reliability": lambda: reliability_chart(confidence_bins(FEW)),
}


def titles(chart: str) -> list[str]:
    return [element.text for element in elements(chart) if element.tag == "title"]


def test_each_epoch_tells_its_values() -> None:
    told = titles(loss_chart(history(3)))
    assert told[1] == "epoch 2, loss\ntraining, augmented: 1.0000\nvalidation, averaged weights: 1.0000"
    assert len(told) == 3
    assert titles(accuracy_chart(history(3)))[2] == (
        "epoch 3, accuracy\ntraining, augmented: 83.33 %\nvalidation, averaged weights: 86.67 %"
    )


def test_training_without_validation_has_one_curve() -> None:
    chart = loss_chart(history(3, validated=False))
    assert titles(chart)[0] == "epoch 1, loss\ntraining, augmented: 2.0000"
    assert "validation" not in chart


@pytest.mark.parametrize("epochs", [1, MOST_TOLD, MOST_TOLD + 1, 1000])
def test_long_trainings_tell_some_epochs_and_short_ones_all(epochs: int) -> None:
    assert min(epochs, MOST_TOLD // 2) <= len(titles(loss_chart(history(epochs)))) <= MOST_TOLD


def test_perfect_training_can_be_drawn() -> None:
    perfect = {name: [1.0] * 3 if name.endswith("accuracy") else values for name, values in history(3).items()}
    assert len(titles(accuracy_chart(perfect))) == 3


def test_each_cell_tells_its_images() -> None:
    told = titles(confusion_chart(FEW.confusion_KK()))
    assert len(told) == 9  # 3, 5 and 7 are all that was there or was answered
    assert [words for words in told if not words.endswith(": 0 images")] == [
        "actual 3, read as 3: 1 image",
        "actual 3, read as 5: 1 image",
        "actual 5, read as 5: 1 image",
        "actual 7, read as 7: 1 image",
    ]


def test_bins_hold_every_answer_once() -> None:
    bins = confidence_bins(FEW)
    assert [(b.low, b.high, b.images, b.accuracy) for b in bins] == [(0.4, 0.5, 1, 1.0), (0.9, 1.0, 3, 2 / 3)]
    assert bins[1].confidence == pytest.approx((0.95 + 0.91 + 1.0) / 3)
    assert bins[1].accuracy_low == pytest.approx(0.0943, abs=1e-4)  # of 2 in 3, in any table
    assert bins[1].accuracy_high == pytest.approx(0.9916, abs=1e-4)
    told = titles(reliability_chart(bins))
    assert len(told) == 4  # above and below
    assert told[1] == "confidence 90 to 100 %\n3 images\nmean confidence 95.33 %\naccuracy 66.67 % (9.43 % to 99.16 %)"


@pytest.mark.parametrize("name", ALL)
def test_chart_says_what_it_shows(name: str) -> None:
    chart = elements(ALL[name]())[0]
    assert chart.tag == "svg"
    assert chart.attributes["role"] == "img"
    assert len(chart.attributes["aria-label"]) > 40
    assert not chart.attributes.keys() & {"width", "height"}  # the page decides


@pytest.mark.parametrize("name", ALL)
def test_chart_has_colours_and_font_of_the_page(name: str) -> None:
    chart = ALL[name]()
    assert re.findall(r"#[0-9a-f]{6}\b", chart) == []
    assert "var(--ink)" in chart
    fonts = re.findall(r"font(?:-family)?: [^;\"]*", chart)
    assert fonts
    assert all(font.endswith("var(--font)") for font in fonts)
    assert "DejaVu" not in chart
    assert "<style" not in chart


def test_charts_share_no_id_and_refer_to_their_own() -> None:
    together = "<div>" + "".join(make() for make in ALL.values()) + "</div>"
    assert repeated_ids(together) == []
    ids = {element.attributes["id"] for element in elements(together) if "id" in element.attributes}
    used = set(re.findall(r"url\(#([^)]*)\)|href=\"#([^\"]*)\"", together))
    assert {one or other for one, other in used} == ids
    assert {name.partition("-")[0] for name in ids} <= ALL.keys()


def test_the_check_of_shared_ids_can_fail() -> None:
    assert repeated_ids("<div>" + 2 * ALL["loss"]() + "</div>")


@pytest.mark.parametrize("name", ALL)
def test_same_values_same_text(name: str) -> None:
    assert ALL[name]() == ALL[name]()
