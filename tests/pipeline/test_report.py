from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from helpers import NETWORK, PARAMETERS, params, read_csv
from pages import colours, contrast, elements, evaluated, foreign, mixed, repeated_ids, unnamed, words
from PIL import Image
from reported import RECIPE

from mnist_dvc.data.prepared import Prepared
from mnist_dvc.params import param_keys
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.report import report
from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from pathlib import Path

    from pages import Element


@pytest.fixture
def page(made: Path) -> str:
    return Paths(made).report_page.read_text(encoding="utf-8")


def gallery(page: str) -> list[Element]:
    return [element for element in elements(page) if element.tag == "img"]


def test_it_is_told_what_was_written(ready: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    report(params(**RECIPE), ready)
    errors = json.loads((ready.test_report / "metrics.json").read_text())["errors"]
    told = capsys.readouterr().out
    assert told.startswith(f"Report of {NETWORK} on mnist: {errors} mistakes shown, ")
    assert told.endswith(f" KB  ->  {ready.report_page}\n")


def test_every_mistake_is_shown_as_it_is(made: Path, page: str) -> None:
    paths = Paths(made)
    wrong = [row for row in read_csv(paths.test_report / "predictions.csv") if row["actual"] != row["predicted"]]
    metrics = json.loads((paths.test_report / "metrics.json").read_text())
    shown = gallery(page)
    assert len(shown) == len(wrong) == metrics["errors"] > 2
    confident_first = sorted(wrong, key=lambda row: -float(row["confidence"]))
    assert [image.attributes["alt"] for image in shown] == [
        f"Test image {row['index']}: labelled {row['actual']}, read as {row['predicted']}" for row in confident_first
    ]
    captions = [element.text for element in elements(page) if element.tag == "figcaption" and "→" in element.text]
    for row, caption in zip(confident_first, captions, strict=True):
        percent = f"{100 * float(row['confidence']):.1f} %"
        assert caption == f"{row['actual']} → {row['predicted']} {percent} image {row['index']}"
    images_NHW = Prepared.open(paths.prepared).read("test").images_NHW
    for row, image in zip(confident_first, shown, strict=True):
        png = base64.b64decode(image.attributes["src"].removeprefix("data:image/png;base64,"))
        with Image.open(io.BytesIO(png)) as decoded:
            paper_HW = np.asarray(decoded.convert("L"))
        np.testing.assert_allclose(255 - paper_HW.astype(int), images_NHW[int(row["index"])], atol=1)


def test_headline_and_figures_are_those_of_the_metrics(made: Path, page: str) -> None:
    metrics = json.loads((Paths(made).test_report / "metrics.json").read_text())
    shown = words(page)
    interval = f"95 % interval {per_cent(metrics['accuracy_low'])} to {per_cent(metrics['accuracy_high'])}"
    assert interval in shown
    assert per_cent(metrics["accuracy"]) in shown
    assert f"{metrics['errors']} errors" in shown
    for figure in (f"{metrics['nll']:.4f}", f"{metrics['brier']:.4f}", per_cent(metrics["ece"])):
        assert figure in shown
    assert f"{PARAMETERS:,}" in shown
    assert "fewer than 20,000" in shown


def test_every_class_and_every_epoch_has_its_row(made: Path, page: str) -> None:
    shown = words(page)
    for row in read_csv(Paths(made).test_report / "classes.csv"):
        figures = " ".join(per_cent(float(row[name])) for name in ("precision", "recall", "f1"))
        assert f"{row['class']} {figures} {row['images']}" in shown
    for row in read_csv(Paths(made).history):
        assert f"{row['epoch']} {float(row['train_loss']):.4f} {float(row['val_loss']):.4f}" in shown


def test_recipe_has_every_param_of_network_and_training_with_its_meaning(page: str) -> None:
    rows = [element for element in elements(page) if element.tag == "th" and "tbody" in element.within]
    meanings = {name: row.text.removeprefix(name) for row in rows for name in param_keys() if row.text.startswith(name)}
    assert set(meanings) == {key for key in param_keys() if key.startswith(("model.", "train."))}
    assert all(meanings.values())
    assert "train.epochs Passes over the training images, or over those that train.hard takes. 2" in words(page)


def test_provenance_names_the_bytes(made: Path, page: str) -> None:
    for line in Paths(made).sums.read_text().splitlines():
        digest, name = line.split()
        assert (digest in page) == name.endswith(("model.safetensors", "history.csv"))
    assert Prepared.open(Paths(made).prepared).digest in page


def test_page_fetches_and_runs_nothing(page: str) -> None:
    assert foreign(page) == []


@pytest.mark.parametrize(
    "offence",
    [
        '<img src="x.png">', '<img src="//example.com/x.png">', '<link href="https://example.com/x.css">',
        '<a href="#nowhere">x</a>', "<script>1</script>", "<style>@import 'x.css';</style>",
        '<p style="background: url(x.png)">x</p>',
    ],
)  # fmt: skip
def test_what_would_be_fetched_or_run_is_seen(page: str, offence: str) -> None:
    assert foreign(page.replace("</body>", f"{offence}</body>"))


def test_page_speaks_to_those_who_do_not_see_it(page: str) -> None:
    assert unnamed(page) == []
    assert repeated_ids(page) == []
    found = elements(page)
    assert next(element for element in found if element.tag == "html").attributes["lang"] == "en"
    assert [element.tag for element in found if element.tag in ("h1", "h2", "h3")] == ["h1"] + ["h2"] * 8


def test_what_says_nothing_is_seen(page: str) -> None:
    offence = '<img src="data:,"><svg></svg><table></table><th></th><p id="mistakes"></p></body>'
    worse = page.replace("</body>", offence)
    assert unnamed(worse) == ["img", "svg", "th", "table"]
    assert repeated_ids(worse) == ["mistakes"]


TEXT = [("ink", "page"), ("muted", "page"), ("accent", "page"), ("ink", "panel"), ("muted", "panel"), ("ink", "right")]
TEXT += [("on-warning", "warning"), ("accent", "panel")]
SHAPES = [("training", "page"), ("validation", "page")]


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_text_stands_out_by_day_and_by_night(page: str, theme: str) -> None:
    found = colours(page)[theme]
    assert {(a, b): contrast(found[a], found[b]) for a, b in TEXT + SHAPES if contrast(found[a], found[b]) < 4.5} == {}
    for strength in np.linspace(0.25, 1, 16).tolist():  # of the cells with mistakes, counts in ink on them
        assert contrast(found["ink"], mixed(found["wrong"], found["page"], strength)) >= 4.5


def test_the_check_of_contrast_can_fail(page: str) -> None:
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)
    by_day, by_night = colours(page)["light"], colours(page)["dark"]
    assert contrast(by_day["muted"], by_night["page"]) < 4.5
    assert mixed("#ff0000", "#0000ff", 0.25) == "#4000bf"


def test_same_inputs_same_bytes_wherever_they_lie(made: Path, ready: Paths) -> None:
    report(params(**RECIPE), ready)
    assert ready.report_page.read_bytes() == Paths(made).report_page.read_bytes()
    assert str(made) not in ready.report_page.read_text(encoding="utf-8")


def test_sample_is_called_one_and_mnist_is_not(tmp_path: Path, page: str) -> None:
    warning = "This is not a result on MNIST."
    paths = evaluated(tmp_path, dataset="mnist-5k", **RECIPE)
    report(params(**RECIPE), paths)
    assert warning in words(paths.report_page.read_text(encoding="utf-8"))
    assert warning not in words(page)


def test_training_without_validation_has_a_page_too(tmp_path: Path, page: str) -> None:
    paths = evaluated(tmp_path, validation=0, **RECIPE)
    report(params(**RECIPE), paths)
    assert "validation loss" not in words(paths.report_page.read_text(encoding="utf-8"))
    assert "validation loss" in words(page)
