"""A trial of a study: one network trained with one seed, scored once on the test images, and the time that it took."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.files import exclusive, json_bytes, publish
from mnist_dvc.inference import logits_of
from mnist_dvc.metrics import Predictions, scores
from mnist_dvc.model import TEACHERS, check_name
from mnist_dvc.model.weights import weights_bytes
from mnist_dvc.report.console import ConsoleReport
from mnist_dvc.report.text import duration, per_cent
from mnist_dvc.running.run import Beginning, Report, Trained, metrics_of, trained
from mnist_dvc.runtime import machine

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["teacher", "trial"]


def trial(params: Params, paths: Paths, *, teaching: Path | None = None) -> None:
    """Train the network and seed of ``params``, read the test images once, write ``trials/<network>/<seed>/``.

    ``model.safetensors`` are the averaged weights, ``metrics.json`` what they came to, ``timing.json`` how long it took
    and where; the first two are the same bytes whenever the same machine does it again.

    Args:
        params: the recipe.
        paths: the workspace of the study.
        teaching: the answers of teachers, by default those of this study; read if ``train.distillation`` asks for them.

    Raises:
        as :func:`mnist_dvc.pipeline.train.train`, a changed test split included.
        OSError: an output cannot be written.
    """
    check_name(params.model.name)  # before it becomes part of a path
    state, folder = _state(params, paths), paths.trial(params.model.name, params.train.seed)
    with (
        exclusive(state, "mnist-dvc study trial"),
        trained(
            __name__,
            params,
            ("model", "train", "evaluate"),
            prepared=paths.prepared,
            teaching=teaching or paths.teaching,
            state=state,
            outputs=[folder / "metrics.json"],
            reports=_reports,
        ) as done,
    ):
        scored = _test_scores(done, params.evaluate.batch_size)
        _publish(folder, params, done, scored)
    print(
        f"{done.card.network}, seed {params.train.seed}: {per_cent(scored['accuracy'])} on {done.card.dataset} "
        f"({scored['errors']} errors), trained in {duration(done.seconds)}  ->  {folder}"
    )


def teacher(params: Params, paths: Paths) -> None:
    """Train a teacher, which may be larger than the budget and never sees a test image; written as a trial is.

    Raises:
        as :func:`trial`.
    """
    check_name(params.model.name, TEACHERS)
    state, folder = _state(params, paths), paths.trial(params.model.name, params.train.seed)
    with (
        exclusive(state, "mnist-dvc study teacher"),
        trained(
            __name__,
            params,
            ("model", "train"),
            prepared=paths.prepared,
            teaching=paths.teaching,
            state=state,
            outputs=[folder / "metrics.json"],
            reports=_reports,
            networks=TEACHERS,
        ) as done,
    ):
        _publish(folder, params, done, {})
    row = done.finished.history[-1]
    held_out = "none held out" if row.val_accuracy is None else f"{per_cent(row.val_accuracy)} on the validation images"
    print(
        f"{done.card.network}, seed {params.train.seed}: {per_cent(row.train_accuracy)} on its distorted digits, "
        f"{held_out}, trained in {duration(done.seconds)}  ->  {folder}"
    )


def _reports(_: Beginning) -> list[Report]:
    return [ConsoleReport()]


def _publish(folder: Path, params: Params, done: Trained, scored: dict[str, Any]) -> None:
    """Write what a trial leaves behind; without its metrics it is none."""
    result = {"seed": params.train.seed} | metrics_of(done) | scored
    threads = done.card.provenance["threads"]
    timing = {"train_seconds": round(done.seconds, 3), "threads": threads, "machine": machine()}
    outputs = {
        folder / "model.safetensors": weights_bytes(done.finished.model.state_dict(), done.card),
        folder / "timing.json": json_bytes(timing),
        folder / "metrics.json": json_bytes(result),
    }
    with done.inputs.publishing():
        publish(outputs, folder / "metrics.json")


def _state(params: Params, paths: Paths) -> Path:
    """Lock and snapshots of this trial alone, so that several can run at a time."""
    return paths.state / "trials" / params.model.name / str(params.train.seed)


def _test_scores(done: Trained, batch_size: int) -> dict[str, Any]:
    """Of the test images of the very digits that it was trained on, on the CPU in float32."""
    test = Digits.on(torch.device("cpu"), done.prepared.read("test"))
    logits_NK = logits_of(done.finished.model.cpu(), test, batch_size)
    return asdict(scores(Predictions.from_logits(logits_NK.numpy(), test.labels_N.numpy())))
