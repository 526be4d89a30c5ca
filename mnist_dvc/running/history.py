"""The history of the published training, as later stages take it: on record, and by column."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING, Annotated

from pydantic import Field, ValidationError

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import csv_bytes, read_regular, refuse_unrecorded
from mnist_dvc.records import Fraction, Record
from mnist_dvc.training.events import HISTORY_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_history"]

LARGEST = 2 * 2**20
"""Bytes; 10,000 epochs, the most that the params allow, take half of it."""
EXPECTED = "the history that `train` writes"
_Loss = Annotated[float, Field(ge=0.0)]


class _Row(Record):
    """What :class:`mnist_dvc.training.events.EpochRow` is once it was written."""

    epoch: Annotated[int, Field(ge=1)]
    train_loss: _Loss
    val_loss: _Loss | None
    train_accuracy: Fraction
    val_accuracy: Fraction | None
    lr: Annotated[float, Field(ge=0.0, le=10.0)]


def read_history(path: Path, sums: Path) -> dict[str, list[float]]:
    """The columns of history.csv by name, without those that are empty.

    Raises:
        ArtifactError: the file is missing, not to the byte the one that ``sums`` tells of, or no history: epochs from
            1 on, a row each, validated all or none.
    """
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_unrecorded(path, content, sums, "the digests that `train` writes")
    rows = [_row(cells, epoch, path) for epoch, cells in enumerate(_cells(content, path), start=1)]
    validated = rows[0].val_loss is not None
    for number, row in enumerate(rows, start=2):
        if {row.val_loss is not None, row.val_accuracy is not None} != {validated}:
            raise ArtifactError(path, f"line {number}", got="some validation figures", expected="all or none")
    names = [name for name in HISTORY_COLUMNS if validated or not name.startswith("val_")]
    return {name: [getattr(row, name) for row in rows] for name in names}


def _cells(content: bytes, path: Path) -> list[list[str]]:
    """The cells of each row under the header, of which there is one at least.

    Raises:
        ArtifactError: no such table, or another spelling of one.
    """
    try:
        header, *rows = list(csv.reader(io.StringIO(content.decode("utf-8"), newline=""), strict=True))
    except (csv.Error, ValueError) as error:
        raise ArtifactError(path, "content", got=f"damage ({error})", expected=EXPECTED) from error
    if header != list(HISTORY_COLUMNS) or not rows or csv_bytes(header, rows) != content:
        raise ArtifactError(path, "content", got="damage", expected=f"whole lines under {','.join(HISTORY_COLUMNS)}")
    return rows


def _row(cells: list[str], epoch: int, path: Path) -> _Row:
    """The values of a row, which must be that of ``epoch``."""
    if len(cells) != len(HISTORY_COLUMNS):
        raise ArtifactError(path, f"line {epoch + 1}", got=f"{len(cells)} cells", expected=len(HISTORY_COLUMNS))
    try:
        numbers = [int(cells[0]), *(float(cell) if cell else None for cell in cells[1:])]
        row = _Row.model_validate(dict(zip(HISTORY_COLUMNS, numbers, strict=True)))
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False)[0]
        place = f"line {epoch + 1}, {'.'.join(map(str, first['loc']))}"
        raise ArtifactError(path, place, got=first["msg"], expected=EXPECTED) from error
    except ValueError as error:
        raise ArtifactError(path, f"line {epoch + 1}", got=error, expected=EXPECTED) from error
    if row.epoch != epoch:
        raise ArtifactError(path, f"line {epoch + 1}, epoch", got=row.epoch, expected=epoch)
    return row
