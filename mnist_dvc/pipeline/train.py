"""Stage ``train``: prepared digits and params to a published model, its history and its checkpoint."""

from __future__ import annotations

from dataclasses import astuple
from typing import TYPE_CHECKING, Self

from rich.console import Console

from mnist_dvc.files import csv_bytes, exclusive, json_bytes, name_in, publish, sha256, sha256sums, write_atomically
from mnist_dvc.model.weights import weights_bytes
from mnist_dvc.report.console import ConsoleReport
from mnist_dvc.report.text import duration, per_cent
from mnist_dvc.running.run import SNAPSHOT_EVERY, Beginning, Report, Trained, last_epoch, trained, warn
from mnist_dvc.running.runs import mark_run, stamp, training_run
from mnist_dvc.running.shown import tensorboard_report
from mnist_dvc.training.checkpoint import checkpoint_bytes
from mnist_dvc.training.events import HISTORY_COLUMNS, EpochEnded, EpochRow, Started

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths
    from mnist_dvc.training.events import Event

__all__ = ["train"]


def train(params: Params, paths: Paths, *, fresh: bool = False, snapshot_every: float = SNAPSHOT_EVERY) -> None:
    """Train the network of ``params``, show how it goes, and write every output of the stage.

    Args:
        params: the whole of params.yaml; the sections ``model`` and ``train`` are read.
        paths: the workspace.
        fresh: start anew, whatever snapshots there are.
        snapshot_every: seconds between two snapshots within an epoch; there is one at each epoch's end anyway.

    Raises:
        as :func:`mnist_dvc.running.run.trained`; BusyError: another process works in this workspace;
        ChangedError: what was read stands there no more; OSError: an output cannot be written.
    """

    def reports(beginning: Beginning) -> list[Report]:
        return [ConsoleReport(), HistoryReport(paths.history), tensorboard_report(paths, beginning)]

    with (
        exclusive(paths.state, "mnist-dvc train", paths.root),
        trained(
            __name__,
            params,
            ("model", "train"),
            prepared=paths.prepared,
            teaching=paths.teaching,
            state=paths.state,
            outputs=(*paths.of_training, paths.dated_checkpoints / "any"),
            reports=reports,
            fresh=fresh,
            snapshot_every=snapshot_every,
        ) as done,
    ):
        written = _publish(done, params, paths)
        # While the snapshots are there: after a kill, the same run is marked once more.
        run = training_run(paths, done.card.network, params.train.seed, done.began)
        mark_run(run, sha256(paths.model.read_bytes()), warn)
    _say_done(done, [*written, run])


class HistoryReport:
    """Keeps history.csv at the epochs that are done, so that DVC and editors show a curve as it grows."""

    def __init__(self, path: Path) -> None:
        """``path`` is replaced after each epoch, whole."""
        self._path = path
        self._rows: list[EpochRow] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def handle(self, event: Event) -> None:
        """Add the row of an epoch to those of earlier processes."""
        match event:
            case Started():
                self._rows = list(event.history)
            case EpochEnded():
                self._rows.append(event.row)
                write_atomically(self._path, history_csv(self._rows))


def history_csv(rows: Sequence[EpochRow]) -> bytes:
    """The history as a table."""
    return csv_bytes(HISTORY_COLUMNS, map(astuple, rows))


def _publish(done: Trained, params: Params, paths: Paths) -> list[Path]:
    """Write all outputs as one, and return their paths."""
    history = done.finished.history
    state = done.finished.model.state_dict()
    checkpoint = checkpoint_bytes(
        model_state=state,
        raw_model_state=done.finished.raw_model_state,
        optimizer_state=done.finished.optimizer_state,
        history=history,
        about=done.card.told() | {"params": params.model_dump(include={"model", "train"})},
    )
    tracked = {
        paths.model: weights_bytes(state, done.card),
        paths.checkpoint: checkpoint,
        paths.history: history_csv(history),
        paths.train_metrics: json_bytes({"trained_on": done.card.dataset} | last_epoch(done)),
    }
    dated = f"mnist_model_{stamp(done.began)}_acc{_accuracy_in_name(history[-1])}.pth"
    sums = sha256sums({name_in(paths.sums, path): content for path, content in tracked.items()})
    outputs = tracked | {paths.sums: sums, paths.dated_checkpoints / dated: checkpoint}
    with done.inputs.publishing():
        publish(outputs, paths.sums)
    return list(outputs)


def _accuracy_in_name(row: EpochRow) -> str:
    """The validation accuracy in per cent, ``99.62``; ``none`` where no image was held out to measure it on."""
    return "none" if row.val_accuracy is None else f"{100 * row.val_accuracy:.2f}"


def _say_done(done: Trained, written: list[Path]) -> None:
    console = Console(highlight=False)
    accuracy = done.finished.history[-1].val_accuracy
    result = "No validation images." if accuracy is None else f"Validation accuracy: {per_cent(accuracy)}"
    console.print(f"Training completed. {result}  ({duration(done.seconds)})")
    for path in written:
        console.print(f"  {path}", soft_wrap=True)
