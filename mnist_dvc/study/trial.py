"""A trial of a study: one network trained with one seed, scored once on the test images, and the time that it took."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.files import check_writable, exclusive, json_bytes, write_atomically
from mnist_dvc.inference import logits_of
from mnist_dvc.metrics import Predictions, scores
from mnist_dvc.model import NETWORKS, TEACHERS, check_name
from mnist_dvc.model.weights import weights_bytes
from mnist_dvc.report.text import duration, per_cent
from mnist_dvc.running.run import Trained, metrics_of, trained
from mnist_dvc.runtime import machine

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

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
        ParamsError, DeviceError, DataError, ArtifactError, BusyError, DivergedError, StoppedError: as in ``train``.
        OSError: an output cannot be written.
    """
    check_name(params.model.name)  # before it becomes part of a path
    state, folder = _state(params, paths), paths.trial(params.model.name, params.train.seed)
    with exclusive(state, "mnist-dvc study trial"):
        check_writable(folder / "metrics.json")
        with trained(params, paths.prepared, state, teaching=teaching or paths.teaching, networks=NETWORKS) as done:
            scored = _test_scores(done.finished.model, Prepared.open(paths.prepared), params.evaluate.batch_size)
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
    with exclusive(state, "mnist-dvc study teacher"):
        check_writable(folder / "metrics.json")
        with trained(params, paths.prepared, state, teaching=paths.teaching, networks=TEACHERS) as done:
            _publish(folder, params, done, {})
    row = done.finished.history[-1]
    held_out = "none held out" if row.val_accuracy is None else f"{per_cent(row.val_accuracy)} on the validation images"
    print(
        f"{done.card.network}, seed {params.train.seed}: {per_cent(row.train_accuracy)} on its distorted digits, "
        f"{held_out}, trained in {duration(done.seconds)}  ->  {folder}"
    )


def _publish(folder: Path, params: Params, done: Trained, scored: dict[str, Any]) -> None:
    """Write what a trial leaves behind."""
    result = {"seed": params.train.seed} | metrics_of(done.finished, done.card) | scored
    timing = {"train_seconds": round(done.seconds, 3), "threads": params.train.threads, "machine": machine()}
    write_atomically(folder / "model.safetensors", weights_bytes(done.finished.model.state_dict(), done.card))
    write_atomically(folder / "metrics.json", json_bytes(result))
    write_atomically(folder / "timing.json", json_bytes(timing))


def _state(params: Params, paths: Paths) -> Path:
    """Lock and snapshots of this trial alone, so that several can run at a time."""
    return paths.state / "trials" / params.model.name / str(params.train.seed)


def _test_scores(model: nn.Module, prepared: Prepared, batch_size: int) -> dict[str, Any]:
    """Of the test images, on the CPU in float32."""
    test = Digits.on(torch.device("cpu"), prepared.read("test"))
    logits_NK = logits_of(model.cpu(), test, batch_size)
    return asdict(scores(Predictions.from_logits(logits_NK.numpy(), test.labels_N.numpy())))
