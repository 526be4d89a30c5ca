"""A training as TensorBoard curves: one run directory, no sub-runs."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Self

from torch.utils.tensorboard import SummaryWriter

from mnist_dvc.training.events import EpochEnded

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mnist_dvc.training.events import Event

__all__ = ["TensorBoardReport"]

LAYOUT = {
    "training against validation": {
        "loss": ["Multiline", ["loss/train", "loss/val"]],
        "accuracy": ["Multiline", ["accuracy/train", "accuracy/val"]],
    }
}


class TensorBoardReport:
    """Writes the scalars of each epoch under their fixed tags; a context manager that closes the event file.

    Curves are worth less than the training that they show: if the system refuses to write them, that is said once and
    the training goes on without.
    """

    def __init__(self, folder: Path, epochs_done: int = 0, *, say: Callable[[str], None]) -> None:
        """``folder`` is this run's own; an event file carries the time and the host, so it is no tracked output.

        ``epochs_done`` are in the folder already, from a process that was stopped; later ones that it may have written,
        too, are hidden from readers, since they will be done again. ``say`` receives the words about a failure.
        """
        self._say = say
        self._writer: SummaryWriter | None = None
        with self._giving_up():
            self._writer = SummaryWriter(str(folder), purge_step=epochs_done + 1 if epochs_done else None)
            self._writer.add_custom_scalars(LAYOUT)

    @contextlib.contextmanager
    def _giving_up(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            self._writer = None
            self._say(f"no TensorBoard curves from here on: {error}")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._writer is not None:
            with self._giving_up():
                self._writer.close()

    def handle(self, event: Event) -> None:
        """Write an epoch's figures, flushed so that a running TensorBoard shows them; ignore other events."""
        if self._writer is None or not isinstance(event, EpochEnded):
            return
        row = event.row
        scalars = {
            "loss/train": row.train_loss,
            "loss/val": row.val_loss,
            "accuracy/train": row.train_accuracy,
            "accuracy/val": row.val_accuracy,
            "lr": row.lr,
            "throughput/images_per_second": event.images_per_second,
            "grad_norm": event.gradient_norm,
        }
        with self._giving_up():
            for tag, value in scalars.items():
                if value is not None:
                    self._writer.add_scalar(tag, value, row.epoch)
            self._writer.flush()
