"""A training on the console: a live table with progress on a terminal, plain lines in a pipe."""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from mnist_dvc.report.text import per_cent
from mnist_dvc.training.events import EpochEnded, Started, Stepped

if TYPE_CHECKING:
    from mnist_dvc.training.events import Event

__all__ = ["ConsoleReport"]

COLUMNS = ("epoch", "train loss", "val loss", "train acc", "val acc", "lr", "images/s")


class ConsoleReport:
    """Shows a row per epoch; a context manager that leaves the terminal as it found it."""

    def __init__(self, console: Console | None = None) -> None:
        """``console`` is where to write; by default standard output."""
        self._console = console or Console(highlight=False)
        self._table = Table(*COLUMNS, box=None, pad_edge=False)
        for column in self._table.columns:
            column.justify = "right"
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
        )
        self._task = self._progress.add_task("steps", total=None)
        self._live = Live(Group(self._table, self._progress), console=self._console, refresh_per_second=4)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def handle(self, event: Event) -> None:
        """Show ``event``."""
        match event:
            case Started():
                self._progress.update(self._task, total=event.steps)
                self._console.print(
                    f"Training on {event.train_images:,} images ({event.validation_images:,} for validation): "
                    f"{event.epochs} epochs, {event.steps:,} steps, {event.device}, {event.precision}",
                    soft_wrap=True,
                )
                if not self._console.is_terminal:
                    self._line(*COLUMNS)
            case Stepped():
                self._progress.update(self._task, completed=event.step)
            case EpochEnded():
                self._epoch(event)

    def _epoch(self, event: EpochEnded) -> None:
        row = event.row
        cells = (
            str(row.epoch),
            f"{row.train_loss:.4f}",
            "-" if row.val_loss is None else f"{row.val_loss:.4f}",
            per_cent(row.train_accuracy),
            per_cent(row.val_accuracy),
            f"{row.lr:.2e}",
            f"{event.images_per_second:,.0f}",
        )
        if self._console.is_terminal:
            self._table.add_row(*cells)
        else:
            self._line(*cells)

    def _line(self, *cells: str) -> None:
        """One aligned line, written at once: a log that is followed must not lag behind."""
        self._console.print("  ".join(f"{cell:>10}" for cell in cells), soft_wrap=True)
        self._console.file.flush()
