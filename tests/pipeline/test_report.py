from __future__ import annotations

import base64
import io
import json
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import NO_FILES, params, raw_digits, read_csv
from pages import colours, contrast, elements, evaluated, foreign, mixed, repeated_ids, unnamed, words
from PIL import Image

from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, ChangedError
from mnist_dvc.files import json_bytes, sha256
from mnist_dvc.params import param_keys
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline import report as module
from mnist_dvc.pipeline.report import report
from mnist_dvc.pipeline.train import train
from mnist_dvc.report.page import TEMPLATES, Page, page_bytes
from mnist_dvc.report.text import per_cent
from mnist_dvc.running.evaluated import result_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from pages import Element

RECIPE: dict[str, Any] = {"epochs": 2, "learning_rate": 0.002}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a report, not to be touched."""
    paths = evaluated(tmp_path_factory.mktemp("made"), **RECIPE)
    report(params(**RECIPE), paths)
    return paths.root


@pytest.fixture
def page(made: Path) -> str:
    return Paths(made).report_page.read_text(encoding="utf-8")


@pytest.fixture
def ready(made: Path, tmp_path: Path) -> Paths:
    """A copy of the workspace to do with as one likes, with an earlier report in it."""
    paths = Paths(tmp_path / "ready")
    shutil.copytree(made, paths.root)
    paths.report_page.write_bytes(b"earlier")
    return paths


def gallery(page: str) -> list[Element]:
    return [element for element in elements(page) if element.tag == "img"]


def test_it_is_told_what_was_written(ready: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    report(params(**RECIPE), ready)
    errors = json.loads((ready.test_report / "metrics.json").read_text())["errors"]
    told = capsys.readouterr().out
    assert told.startswith(f"Report of compact on mnist: {errors} mistakes shown, ")
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
    assert "19,706" in shown
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
    assert "train.epochs Passes over the training images. 2" in words(page)


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


def edited(name: str, change: Callable[[bytes], bytes]) -> Callable[[Paths], None]:
    def act(paths: Paths) -> None:
        path = paths.root / name
        content = path.read_bytes()
        path.write_bytes(change(content))
        assert path.read_bytes() != content

    return act


def replaced(old: bytes, new: bytes) -> Callable[[bytes], bytes]:
    return lambda content: content.replace(old, new, 1)


def one_error_less(content: bytes) -> bytes:
    metrics = json.loads(content)
    return json_bytes(metrics | {"errors": metrics["errors"] - 1})


def other_answer(content: bytes) -> bytes:
    """The first image, a 0, read as another digit than it was."""
    header, first, rest = content.split(b"\n", 2)
    cells = first.split(b",")
    cells[2] = b"%d" % ((int(cells[2]) + 1) % 10)
    return b"\n".join([header, b",".join(cells), rest])


def retrained(paths: Paths) -> None:
    """Another seed, not evaluated yet."""
    train(params(**RECIPE, seed=2), paths)


def prepared_anew(paths: Paths) -> None:
    raw = raw_digits()
    write_prepared(paths.prepared, raw, split(raw, validation=100, seed=1), validation=100, seed=1)


REFUSED: dict[str, tuple[Callable[[Paths], None], str]] = {
    "no predictions": (
        lambda paths: (paths.test_report / "predictions.csv").unlink(),
        r"predictions\.csv: file: got nothing, expected the predictions that `evaluate` writes",
    ),
    "no scores": (
        lambda paths: (paths.test_report / "classes.csv").unlink(),
        r"classes\.csv: file: got nothing, expected the scores that `evaluate` writes",
    ),
    "no metrics": (
        lambda paths: (paths.test_report / "metrics.json").unlink(),
        r"metrics\.json: file: got nothing, expected the metrics that `evaluate` writes",
    ),
    "no history": (lambda paths: paths.history.unlink(), r"history\.csv: file: got nothing, expected the history"),
    "no model": (lambda paths: paths.model.unlink(), r"model\.safetensors: file: got nothing, expected the model"),
    "another history": (
        edited("reports/train/history.csv", lambda content: content + b"\n"),
        r"history\.csv: SHA-256: got .*, expected .*, as in .*SHA256SUMS",
    ),
    "no digests": (
        lambda paths: (paths.test_report / "SHA256SUMS").unlink(),
        r"SHA256SUMS: file: got nothing, expected the digests that `evaluate` writes; run `evaluate` again",
    ),
    "another prediction": (
        edited("reports/test/predictions.csv", other_answer),
        r"predictions\.csv: SHA-256: got .*, expected .*, as in .*SHA256SUMS",
    ),
    "another metrics.json": (
        edited("reports/test/metrics.json", one_error_less),
        r"metrics\.json: SHA-256: got .*, expected .*, as in .*SHA256SUMS",
    ),
    "other scores": (
        edited("reports/test/classes.csv", replaced(b"\n3,", b"\n3,0")),
        r"classes\.csv: SHA-256: got .*, expected .*, as in .*SHA256SUMS",
    ),
    "another model": (
        retrained,
        r"SHA256SUMS: model: got [0-9a-f]{64}, expected [0-9a-f]{64}, as of the published model; run `evaluate` again",
    ),
    "other digits": (prepared_anew, r"model\.safetensors: data it was trained on: got mnist"),
}


def signed(paths: Paths) -> None:
    """Give what was edited its digest, so that it is the content which is refused."""
    names = ("metrics.json", "predictions.csv", "classes.csv")
    contents = {name: (paths.test_report / name).read_bytes() for name in names}
    (paths.test_report / "SHA256SUMS").write_bytes(result_sums(paths, contents, sha256(paths.model.read_bytes())))


SIGNED: dict[str, tuple[Callable[[Paths], None], str]] = {
    "half of the predictions": (
        edited("reports/test/predictions.csv", lambda content: content[:500]),
        r"predictions\.csv: content: got damage, expected whole lines under index,actual,predicted,confidence",
    ),
    "another header": (
        edited("reports/test/predictions.csv", replaced(b"actual", b"label")),
        r"predictions\.csv: content: got damage",
    ),
    "bytes that are no text": (
        edited("reports/test/predictions.csv", replaced(b"\n1,", b"\n\xff\x00,")),
        r"predictions\.csv: line 3: got .*, expected the answer to image 1",
    ),
    "a line twice": (
        edited("reports/test/predictions.csv", replaced(b"\n2,", b"\n1,")),
        r"predictions\.csv: line 4: got 1,.*, expected the answer to image 2",
    ),
    "a confidence above 1": (
        edited("reports/test/predictions.csv", replaced(b",0.", b",7.")),
        r"predictions\.csv: line 2: got .*, expected the answer to image 0",
    ),
    "a line less": (
        edited("reports/test/predictions.csv", lambda content: content[: content.rindex(b"\n99,") + 1]),
        r"predictions\.csv: images: got 99, expected 100, as prepared; run `evaluate` again",
    ),
    "another label": (
        edited("reports/test/predictions.csv", replaced(b"\n3,3,", b"\n3,4,")),
        r"predictions\.csv: label of image 3: got 4, expected 3, as prepared; run `evaluate` again",
    ),
    "an error less in the metrics": (
        edited("reports/test/metrics.json", one_error_less),
        r"metrics\.json: content: got accuracy 0\.\d+ of \d+ errors in 100 images",
    ),
    "another accuracy": (
        edited("reports/test/metrics.json", lambda content: json_bytes(json.loads(content) | {"accuracy": 0.5})),
        r"metrics\.json: content: got accuracy 0\.5 of \d+ errors in 100 images",
    ),
    "metrics of the sample": (
        edited("reports/test/metrics.json", replaced(b'"mnist"', b'"mnist-5k"')),
        r"metrics\.json: dataset: got mnist-5k, expected mnist, as of the published model; run `evaluate` again",
    ),
    "metrics of another network": (
        edited("reports/test/metrics.json", replaced(b"19706", b"19392")),
        r"metrics\.json: parameters: got 19392, expected 19706, as of the published model",
    ),
    "metrics with NaN": (
        edited("reports/test/metrics.json", lambda content: json_bytes(json.loads(content) | {"nll": None})),
        r"metrics\.json: nll: got .*, expected the metrics that `evaluate` writes",
    ),
    "metrics that are no JSON": (
        edited("reports/test/metrics.json", lambda content: content[:-3]),
        r"metrics\.json: content: got .*, expected the metrics that `evaluate` writes",
    ),
    "other scores": (
        edited("reports/test/classes.csv", replaced(b"\n3,", b"\n3,0")),
        r"classes\.csv: scores: got others, expected those of predictions\.csv; run `evaluate` again",
    ),
}


@pytest.mark.parametrize(("damage", "told"), SIGNED.values(), ids=SIGNED)
def test_what_is_at_odds_is_refused_whatever_its_digests(
    ready: Paths, damage: Callable[[Paths], None], told: str
) -> None:
    damage(ready)
    signed(ready)
    with pytest.raises(ArtifactError, match=told) as caught:
        report(params(**RECIPE), ready)
    assert len(str(caught.value).splitlines()) == 1
    assert ready.report_page.read_bytes() == b"earlier"


def test_what_is_signed_and_whole_is_taken(ready: Paths) -> None:
    """The twin: it is the damage that is refused, not the new list of digests."""
    signed(ready)
    report(params(**RECIPE), ready)
    assert ready.report_page.read_bytes() != b"earlier"


@pytest.mark.parametrize(("damage", "told"), REFUSED.values(), ids=REFUSED)
def test_what_does_not_belong_together_is_refused(ready: Paths, damage: Callable[[Paths], None], told: str) -> None:
    damage(ready)
    with pytest.raises(ArtifactError, match=told) as caught:
        report(params(**RECIPE), ready)
    assert len(str(caught.value).splitlines()) == 1
    assert ready.report_page.read_bytes() == b"earlier"


def test_what_belongs_together_is_taken_so_the_test_above_can_fail(ready: Paths) -> None:
    report(params(**RECIPE), ready)
    assert ready.report_page.read_bytes() != b"earlier"


def test_other_answers_that_leave_the_number_of_errors_are_refused(ready: Paths) -> None:
    """One wrong answer in place of another: only the scores of the classes tell, and then the model."""
    rows = (ready.test_report / "predictions.csv").read_text().splitlines()
    wrong = next(row for row in rows[1:] if row.split(",")[1] != row.split(",")[2])
    index, actual, predicted, confidence = wrong.split(",")
    other = next(digit for digit in "0123456789" if digit not in (actual, predicted))
    edited("reports/test/predictions.csv", replaced(wrong.encode(), f"{index},{actual},{other},{confidence}".encode()))(
        ready
    )
    signed(ready)
    with pytest.raises(ArtifactError, match=r"classes\.csv: scores: got others"):
        report(params(**RECIPE), ready)


def test_recipe_of_another_training_is_refused(ready: Paths) -> None:
    with pytest.raises(
        ArtifactError, match=r"history\.csv: epochs: got 2, expected 5, as train\.epochs in params says"
    ):
        report(params(**RECIPE | {"epochs": 5}), ready)
    assert ready.report_page.read_bytes() == b"earlier"


@pytest.mark.parametrize("name", ["metrics.json", "predictions.csv", "classes.csv", "SHA256SUMS"])
@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_what_is_no_file_is_refused_without_waiting(ready: Paths, name: str, kind: str) -> None:
    (ready.test_report / name).unlink()
    NO_FILES[kind](ready.test_report / name)
    with pytest.raises(ArtifactError, match="file: got something else than a file"):
        report(params(**RECIPE), ready)


def test_template_edited_meanwhile_publishes_nothing(
    ready: Paths, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """The style of the page decides its bytes as much as the numbers do."""
    style = tmp_path / "report.css"
    shutil.copy(TEMPLATES[0], style)
    monkeypatch.setattr(module, "TEMPLATES", (style, *TEMPLATES[1:]))

    def edit_and_work(page: Page) -> bytes:
        style.write_text("body { display: none }", encoding="utf-8")
        return page_bytes(page)

    monkeypatch.setattr(module, "page_bytes", edit_and_work)
    with pytest.raises(ChangedError, match=r"report\.css: content: got another, expected the one that was read"):
        report(params(**RECIPE), ready)
    assert ready.report_page.read_bytes() == b"earlier"
