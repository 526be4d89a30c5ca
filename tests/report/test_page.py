from __future__ import annotations

from dataclasses import replace

import pytest
from jinja2 import UndefinedError
from pages import elements, foreign, repeated_ids, unnamed, words

from mnist_dvc.description import Description, Layer, Parameter
from mnist_dvc.report.page import TEMPLATES, Mistake, Page, page_bytes

RESULT = {
    "accuracy": 1.0,
    "errors": 0,
    "images": 100,
    "accuracy_low": 0.9638,
    "accuracy_high": 1.0,
    "nll": 0.01,
    "brier": 0.02,
    "ece": 0.003,
}
PLAIN = Page(
    network="compact",
    dataset="mnist",
    result=RESULT,
    charts=dict.fromkeys(("loss", "accuracy", "confusion", "reliability"), "<svg role='img' aria-label='x'></svg>"),
    history={"epoch": [1.0], "train_loss": [0.5], "train_accuracy": [0.9], "lr": [0.001]},
    classes=[(digit, 1.0, 1.0, 1.0, 10) for digit in range(10)],
    bins=[],
    mistakes=[],
    description=Description("compact", (Parameter("a.weight", (2, 3), 6),), (Layer("a", 6, (2,)),), 6, 12),
    recipe=[("train.epochs", 1, "Passes over the training images.")],
    provenance=[("torch", "2.13")],
)


def shown(page: Page) -> str:
    return page_bytes(page).decode()


def test_no_mistakes_are_no_gallery() -> None:
    text = words(shown(PLAIN))
    assert "No mistakes Every test image was read as its label says." in text
    assert "0 errors" in text


@pytest.mark.parametrize(("count", "heading"), [(1, "The mistake"), (3, "All 3 mistakes")])
def test_mistakes_are_counted(count: int, heading: str) -> None:
    mistakes = [Mistake(index=number, actual=1, predicted=7, confidence=0.9, png=b"png") for number in range(count)]
    page = shown(replace(PLAIN, mistakes=mistakes, result=RESULT | {"errors": count}))
    assert [element.text for element in elements(page) if element.attributes.get("id") == "mistakes"] == [heading]
    assert sum(element.tag == "img" for element in elements(page)) == count
    assert ("1 error." if count == 1 else "3 errors.") in words(page)


def test_page_that_shows_some_of_the_mistakes_says_so() -> None:
    mistakes = [Mistake(index=number, actual=1, predicted=7, confidence=0.9, png=b"png") for number in range(3)]
    page = shown(replace(PLAIN, mistakes=mistakes, result=RESULT | {"errors": 40}))
    assert [element.text for element in elements(page) if element.attributes.get("id") == "mistakes"] == [
        "3 of 40 mistakes"
    ]


def test_names_stay_names() -> None:
    """A model file may come from anyone, and says what its network and data are called."""
    hostile = '"><script src=//example.com/x.js></script><img src=x onerror=1>'
    for page in (replace(PLAIN, network=hostile), replace(PLAIN, dataset=hostile)):
        assert foreign(shown(page)) == []
        assert hostile in words(shown(page))


def test_values_and_meanings_stay_text_but_for_code() -> None:
    page = shown(replace(PLAIN, recipe=[("<b>", "<i>", "see `x<y` & <u>")], provenance=[("<b>", "<script>1</script>")]))
    assert foreign(page) == []
    assert {element.tag for element in elements(page)} & {"i", "u", "b"} == set()
    assert "see <code>x&lt;y</code> &amp; &lt;u&gt;" in page
    assert "<script>1</script>" in words(page)


def test_chart_is_the_one_thing_that_is_markup_so_the_tests_above_can_fail() -> None:
    hostile = "<svg role='img' aria-label='x'><script>1</script></svg>"
    assert foreign(shown(replace(PLAIN, charts=dict(PLAIN.charts) | {"loss": hostile}))) == ["script"]


def test_figure_that_is_missing_is_no_empty_place() -> None:
    without = {name: values for name, values in PLAIN.history.items() if name != "train_loss"}
    with pytest.raises(UndefinedError, match="train_loss"):
        page_bytes(replace(PLAIN, history=without))


def test_page_without_much_in_it_is_whole() -> None:
    page = shown(PLAIN)
    assert (foreign(page), unnamed(page), repeated_ids(page)) == ([], [], [])


def test_all_templates_are_named() -> None:
    """What is not named could change unnoticed while the page is made."""
    assert sorted(TEMPLATES) == sorted(TEMPLATES[0].parent.iterdir())
