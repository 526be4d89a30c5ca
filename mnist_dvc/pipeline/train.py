"""Stage ``train``: prepared digits and params to a published model, its history and its checkpoint."""

from __future__ import annotations

import sys
from dataclasses import asdict, astuple
from typing import TYPE_CHECKING

from rich.console import Console

from mnist_dvc.data.prepared import Prepared
from mnist_dvc.files import check_writable, csv_bytes, exclusive, json_bytes, sha256sums, write_atomically
from mnist_dvc.model.weights import Card, weights_bytes
from mnist_dvc.report.console import ConsoleReport
from mnist_dvc.report.tensorboard import TensorBoardReport
from mnist_dvc.report.text import duration, per_cent
from mnist_dvc.running.interruption import Interruption
from mnist_dvc.running.resumable import ResumableTraining
from mnist_dvc.running.run import SNAPSHOT_EVERY, follow, identity, job_of, metrics_of
from mnist_dvc.training.checkpoint import checkpoint_bytes
from mnist_dvc.training.engine import Training
from mnist_dvc.training.events import HISTORY_COLUMNS, EpochRow, Finished
from mnist_dvc.training.snapshot import SnapshotFolder

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["train"]


def train(params: Params, paths: Paths, *, fresh: bool = False, snapshot_every: float = SNAPSHOT_EVERY) -> None:
    """Train the network of ``params``, show how it goes, and write every output of the stage.

    An unfinished training of the same params, data, code and machine is gone on with, to the same bits.

    Args:
        params: the whole of params.yaml; the sections ``model`` and ``train`` are read.
        paths: the workspace.
        fresh: start anew, whatever snapshots there are.
        snapshot_every: seconds between two snapshots within an epoch; there is one at each epoch's end anyway.

    Raises:
        ParamsError: the network's name is unknown, a batch is larger than the training set, or there are no teachers'
            answers for ``train.distillation``.
        DeviceError: the device of ``params`` is absent.
        DataError: the prepared digits are missing or damaged.
        ArtifactError: there are several snapshots and none of them is whole, or the teachers' answers are damaged.
        BusyError: another process works in this workspace.
        DivergedError: a loss or gradient is not finite; nothing is published.
        StoppedError: a signal came; a snapshot was saved.
        OSError: an output cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc train"), Interruption() as interruption:
        job, card = job_of(params, Prepared.open(paths.prepared), paths.teaching)
        for path in (*paths.of_training, paths.dated_checkpoints / "any"):
            check_writable(path)
        snapshots = SnapshotFolder(paths.state / "resume", identity(params, job, card))
        if fresh:
            snapshots.clear()
        training = Training(job)
        resumable = ResumableTraining(training, snapshots, interruption, snapshot_every=snapshot_every)
        resumable.restore()
        began = f"{resumable.began:%Y%m%d_%H%M%S}"
        run = paths.runs / f"{began}_{card.network}"
        with ConsoleReport() as console, TensorBoardReport(run, training.epochs_done, say=_warn) as curves:
            finished = follow(resumable.events(), console.handle, curves.handle)
        written = _publish(finished, params, card, paths, began)
        resumable.finish()
    _say_done(finished, resumable.seconds, [*written, run])


def _warn(line: str) -> None:
    print(f"train: {line}", file=sys.stderr)


def _publish(finished: Finished, params: Params, card: Card, paths: Paths, began: str) -> list[Path]:
    """Write all outputs, the tracked ones first; returns their paths."""
    last = finished.history[-1]
    state = finished.model.state_dict()
    checkpoint = checkpoint_bytes(
        model_state=state,
        raw_model_state=finished.raw_model_state,
        optimizer_state=finished.optimizer_state,
        history=finished.history,
        about=asdict(card) | {"params": params.model_dump(include={"model", "train"})},
    )
    dated = f"mnist_model_{began}_acc{_accuracy_in_name(last)}.pth"
    weights = weights_bytes(state, card)
    outputs = {
        paths.model: weights,
        paths.checkpoint: checkpoint,
        paths.sums: sha256sums({paths.model.name: weights, paths.checkpoint.name: checkpoint}),
        paths.history: csv_bytes(HISTORY_COLUMNS, map(astuple, finished.history)),
        paths.train_metrics: json_bytes(metrics_of(finished, card)),
        paths.dated_checkpoints / dated: checkpoint,
    }
    for path, content in outputs.items():
        write_atomically(path, content)
    return list(outputs)


def _accuracy_in_name(row: EpochRow) -> str:
    """The validation accuracy in per cent, ``99.62``; ``none`` where no image was held out to measure it on."""
    return "none" if row.val_accuracy is None else f"{100 * row.val_accuracy:.2f}"


def _say_done(finished: Finished, seconds: float, written: list[Path]) -> None:
    console = Console(highlight=False)
    accuracy = finished.history[-1].val_accuracy
    result = "No validation images." if accuracy is None else f"Validation accuracy: {per_cent(accuracy)}"
    console.print(f"Training completed. {result}  ({duration(seconds)})")
    for path in written:
        console.print(f"  {path}", soft_wrap=True)
