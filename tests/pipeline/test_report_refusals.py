"""What the report refuses: files that are damaged, of another run, at odds with each other, or edited meanwhile."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
from helpers import NO_FILES, params, raw_digits
from reported import RECIPE

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, ChangedError
from mnist_dvc.files import json_bytes, sha256
from mnist_dvc.pipeline import report as module
from mnist_dvc.pipeline.report import report
from mnist_dvc.pipeline.train import train
from mnist_dvc.report.page import TEMPLATES, Page, page_bytes
from mnist_dvc.running.evaluated import result_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mnist_dvc.paths import Paths


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
        edited("reports/test/metrics.json", replaced(b"886", b"887")),
        r"metrics\.json: parameters: got 887, expected 886, as of the published model",
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
    _, *rows = (ready.test_report / "predictions.csv").read_text().splitlines()
    found = {row.split(",")[2] for row in rows if row.split(",")[1] == row.split(",")[2]}  # their precision is not 0
    wrong = next(row for row in rows if row.split(",")[2] in found - {row.split(",")[1]})
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
