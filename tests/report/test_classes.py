from __future__ import annotations

import numpy as np
import pytest

from mnist_dvc.metrics import Predictions
from mnist_dvc.report.charts import confusion_chart
from mnist_dvc.report.classes import answer_names, shortened, shown_classes
from mnist_dvc.report.figures import confusion_figure, mistakes_figure

THREE = np.pad(np.array([[5, 1, 0], [0, 6, 0], [2, 0, 4]]), (0, 7))
NAMES = ("apple", "pear", "$quince_of_fourteen$")


def test_digits_have_their_own_names_and_answers_without_a_class_their_numbers() -> None:
    assert answer_names(()) == tuple("0123456789")
    assert answer_names(("a", "b")) == ("a", "b", "2", "3", "4", "5", "6", "7", "8", "9")


def test_shown_is_what_was_there_or_was_answered() -> None:
    assert shown_classes(THREE) == [0, 1, 2]
    answered = THREE.copy()
    answered[0, 7] = 1
    assert shown_classes(answered) == [0, 1, 2, 7]
    assert shown_classes(np.eye(10, dtype=np.int64)) == list(range(10))


@pytest.mark.parametrize(("name", "expected"), [("x" * 14, "x" * 14), ("x" * 15, "x" * 13 + "…")])
def test_long_name_is_shortened(name: str, expected: str) -> None:
    assert shortened(name) == expected


def test_chart_names_the_classes_and_takes_no_dollar_for_a_formula() -> None:
    chart = confusion_chart(THREE, NAMES)
    assert chart.count("<title>actual ") == 9
    assert "actual $quince_of_fourteen$, read as apple: 2 images" in chart
    assert ">$quince_of_fo…<" in chart
    assert confusion_chart(THREE).count("<title>actual 2, read as 0: 2 images") == 1


def test_markup_in_a_name_stays_text() -> None:
    assert "<script>" not in confusion_chart(THREE, ("<script>", "b", "c"))


def test_figures_differ_by_the_names() -> None:
    answers = Predictions(np.array([0, 1]), np.eye(10)[[1, 1]])
    images_NHW = np.full((2, 28, 28), 9, np.uint8)
    assert confusion_figure(THREE, NAMES) != confusion_figure(THREE)
    assert mistakes_figure(images_NHW, answers, 9, NAMES) != mistakes_figure(images_NHW, answers, 9)
