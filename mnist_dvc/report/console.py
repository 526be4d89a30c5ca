"""A training on the console: a row per epoch, and on a terminal a progress bar with the time left below them."""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from mnist_dvc.report.text import per_cent
from mnist_dvc.training.events import EpochEnded, Started, Stepped

if TYPE_CHECKING:
    from mnist_dvc.training.events import EpochRow, Event

__all__ = ["ConsoleReport"]

COLUMNS = ("epoch", "train loss", "val loss", "train acc", "val acc", "lr", "images/s")
WIDTHS = (10,) * len(COLUMNS)
NARROW = (5, 10, 8, 9, 8, 8, 8)
"""As wide as the longest that stands there."""
GAP = 2
"""All in characters."""


class ConsoleReport:
    """Shows events; a context manager that leaves the terminal as it found it.

    Rows are printed as they come, above the bar, so that a long training scrolls where a table of its own would
    outgrow the window.
    """

    def __init__(self, console: Console | None = None) -> None:
        """``console`` is where to write; by default standard output."""
        self._console = console or Console(highlight=False)
        self._progress = Progress(
            TextColumn("step"),
            MofNCompleteColumn(),
            BarColumn(bar_width=None),
            TimeElapsedColumn(),
            TextColumn("elapsed,"),
            TimeRemainingColumn(),
            TextColumn("left"),
            console=self._console,
            expand=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._progress.add_task("steps", total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def handle(self, event: Event) -> None:
        """Show ``event``."""
        match event:
            case Started():
                self._progress.update(self._task, total=event.steps, completed=event.step)
                self._console.print(
                    f"Training on {event.train_images:,} images ({event.validation_images:,} for validation): "
                    f"{event.epochs} epochs, {event.steps:,} steps, {event.device}, {event.precision}",
                    soft_wrap=True,
                )
                if event.step:
                    self._console.print(f"Going on after step {event.step:,} of {event.steps:,}", soft_wrap=True)
                self._line(*COLUMNS)
                for row in event.history:
                    self._row(row, "-")
            case Stepped():
                self._progress.update(self._task, completed=event.step)
            case EpochEnded():
                self._row(event.row, f"{event.images_per_second:,.0f}")

    def _row(self, row: EpochRow, speed: str) -> None:
        self._line(
            str(row.epoch),
            f"{row.train_loss:.4f}",
            "-" if row.val_loss is None else f"{row.val_loss:.4f}",
            per_cent(row.train_accuracy),
            per_cent(row.val_accuracy),
            f"{row.lr:.2e}",
            speed,
        )

    def _line(self, *cells: str) -> None:
        """One aligned row, written at once: a log that is followed must not lag behind.

        On a terminal it takes one line: what has no room at its end stands in history.csv.
        """
        room = self._console.width if self._console.is_terminal else sum(WIDTHS) + GAP * len(WIDTHS)
        widths = WIDTHS if _ends(WIDTHS)[-1] <= room else NARROW
        fitting = sum(end <= room for end in _ends(widths))
        aligned = [f"{cell:>{width}}" for cell, width in zip(cells, widths, strict=True)]
        self._console.print((" " * GAP).join(aligned[:fitting]), soft_wrap=True)
        self._console.file.flush()


def _ends(widths: tuple[int, ...]) -> list[int]:
    """Where each column ends."""
    return [end + GAP * gaps for gaps, end in enumerate(accumulate(widths))]
