"""The history of the published training, as later stages take it: on record, and by column."""

from __future__ import annotations

import csv
import io
from typing import TYPE_CHECKING

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, refuse_other_digest
from mnist_dvc.training.events import HISTORY_COLUMNS

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["read_history"]

LARGEST = 2 * 2**20
"""Bytes; 10,000 epochs, the most that the params allow, take half of it."""


def read_history(path: Path, sums: Path) -> dict[str, list[float]]:
    """The columns of history.csv by name, without those that are empty.

    Raises:
        ArtifactError: the file is missing, or not to the byte the one that ``sums`` tells of.
    """
    content = read_regular(path, LARGEST, ArtifactError, "the history that `train` writes")
    refuse_other_digest(path, content, sums)  # so what follows is a history, and that of this model
    rows = list(csv.DictReader(io.StringIO(content.decode("utf-8"))))
    return {name: [float(row[name]) for row in rows] for name in HISTORY_COLUMNS if rows[0][name]}
