"""Stage ``report``: all that is known of the published model as one page for the browser."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_dvc.describe import describe
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import exclusive, recorded_sha256, write_atomically
from mnist_dvc.report.charts import accuracy_chart, confidence_bins, confusion_chart, loss_chart, reliability_chart
from mnist_dvc.report.classes import shown_classes
from mnist_dvc.report.page import TEMPLATES, Mistake, Page, page_bytes
from mnist_dvc.report.png import digit_png
from mnist_dvc.running.evaluated import Evaluation
from mnist_dvc.running.history import read_history
from mnist_dvc.running.published import published

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

    from mnist_dvc.data.arrays import LabelledImages
    from mnist_dvc.metrics import Predictions
    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths
    from mnist_dvc.running.published import Published

__all__ = ["report"]

MOST_SHOWN = 1_000
"""Mistakes, the most confident ones; a page with all 40,000 of a bad training would open in no browser."""


def report(params: Params, paths: Paths) -> None:
    """Write reports/report.html of the published model, its history and what ``evaluate`` found out about it.

    Raises:
        ArtifactError: one of them is missing or damaged, or they are not of one training, of ``model.name`` and
            ``train.epochs``, and of the prepared digits.
        ChangedError: what was read stands there no more.
        DataError: the prepared digits are missing or damaged.
        BusyError: another process works in this workspace.
        OSError: the page cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc report", paths.root):
        _report(params, paths)


def _report(params: Params, paths: Paths) -> None:
    read = (paths.history, *Evaluation.files(paths.test_report), *TEMPLATES)
    taken = published(__name__, params, "train", paths, threads=1, others=read)
    history = read_history(paths.history, paths.sums)
    if len(history["epoch"]) != params.train.epochs:
        expected = f"{params.train.epochs}, as {params.place('train.epochs')} says; run `train` again"
        raise ArtifactError(paths.history, "epochs", got=len(history["epoch"]), expected=expected)
    test = taken.prepared.read("test")
    evaluation = Evaluation.read(paths, taken, test)
    predictions, bins = evaluation.predictions, confidence_bins(evaluation.predictions)
    mistakes = _mistakes(predictions, test, MOST_SHOWN)
    page = Page(
        network=taken.card.network,
        dataset=taken.card.dataset,
        result=evaluation.result.model_dump(exclude={"dataset"}),
        charts={
            "loss": loss_chart(history),
            "accuracy": accuracy_chart(history),
            "confusion": confusion_chart(predictions.confusion_KK(), taken.card.classes),
            "reliability": reliability_chart(bins),
        },
        history=history,
        class_names=taken.card.classes,
        classes=[row for row in predictions.per_class() if row[0] in shown_classes(predictions.confusion_KK())],
        bins=bins,
        mistakes=mistakes,
        description=describe(taken.card.network, taken.model),
        recipe=[*_recipe(params.model, "model"), *_recipe(params.train, "train")],
        provenance=_provenance(taken, paths),
    )
    content = page_bytes(page)
    with taken.inputs.publishing():
        write_atomically(paths.report_page, content)
    print(
        f"Report of {taken.card.network} on {taken.card.dataset}: {len(mistakes):,} mistakes shown, "
        f"{len(content) / 1000:,.0f} KB  ->  {paths.report_page}"
    )


def _mistakes(predictions: Predictions, test: LabelledImages, count: int) -> list[Mistake]:
    return [
        Mistake(
            index=index,
            actual=int(predictions.labels_N[index]),
            predicted=int(predictions.predicted_N[index]),
            confidence=float(predictions.confidence_N[index]),
            png=digit_png(test.images_NHW[index]),
        )
        for index in predictions.worst_mistakes(count).tolist()
    ]


def _recipe(section: BaseModel, name: str) -> Iterator[tuple[str, object, str]]:
    """Dotted key, value and meaning of each param of ``section`` and of the sections in it."""
    for key, field in type(section).model_fields.items():
        value = getattr(section, key)
        if hasattr(value, "model_dump"):
            yield from _recipe(value, f"{name}.{key}")
        else:
            yield f"{name}.{key}", value, field.description or ""


def _provenance(taken: Published, paths: Paths) -> list[tuple[str, object]]:
    """What the model says of its training, and the digests of what it came from and is."""
    return [
        *taken.card.provenance.items(),
        ("data set", taken.card.dataset),
        ("SHA-256 of data/prepared/manifest.json", taken.card.data_digest),
        ("SHA-256 of models/model.safetensors", taken.sha256),
        ("SHA-256 of reports/train/history.csv", recorded_sha256(paths.history, paths.sums)),
    ]
