"""What the pages show beside the summaries: the figures of benchmarks, and tables that people have written."""

from __future__ import annotations

import csv
import io
import re
from typing import TYPE_CHECKING, Annotated, Self

from pydantic import ConfigDict, Field, StringConstraints, model_validator

from mnist_dvc.errors import ArtifactError
from mnist_dvc.records import Positive, Record

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

__all__ = ["CHOICES", "PUBLISHED", "RIVALS", "Benchmarks", "read_table"]

TEXT = r"[^\x00-\x1f\x7f|<>`]{1,200}"
"""What stands in a cell of a Markdown table and is nothing but text."""
WHOLE, LIST_OF_SEEDS = r"\d{1,9}", r"\d{1,9}(-\d{1,9})?"
CHOICES = {
    "question": TEXT,
    "network": TEXT,
    "seed": LIST_OF_SEEDS,
    "recipe": TEXT,
    "images": WHOLE,
    "errors": WHOLE,
    "nll": r"\d\.\d{5}",
}
"""Columns of docs/choices.csv: what was compared on validation images."""
PUBLISHED = {"parameters": r"[1-9]\d{0,8}", "accuracy": r"0\.\d{2,6}", "how": TEXT, "source": TEXT}
"""Columns of studies/frontier/published.csv: what others report."""
RIVALS = {
    "framework": TEXT,
    "example": TEXT,
    "parameters": r"[1-9]\d{0,8}",
    "epochs": r"[1-9]\d{0,4}",
    "images_per_second": r"[1-9]\d{0,8}",
    "seconds": r"\d{1,5}\.\d",
    "accuracy": r"[01]\.\d{4}",
    "seconds_to_goal": r"\d{1,5}\.\d|never",
    "machine": TEXT,
}
"""Columns of docs/rivals.csv: examples of other frameworks beside studies/fast (tests/rivals/side_by_side.py)."""

Text = Annotated[str, StringConstraints(pattern=f"^{TEXT}$")]
_Seconds = Annotated[float, Field(gt=0.0)]


class _Host(Record):
    """Where benchmarks ran."""

    processor: Text
    cpus: Positive
    accelerator: Text | None
    system: Text
    versions: dict[Text, Text]
    device: Text = "cpu"
    instructions: Text | None = None
    backend: Text | None = None
    driver: Text | None = None


class _Figure(Record):
    """What one benchmark found out; beside these keys, ratios ``x_...`` and whatever else it has to tell."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[Text, float | int | Text | list[float] | list[int] | None]

    benchmark: Text
    group: Text
    network: Text | None = None
    threads: Positive | None = None
    seconds: _Seconds | None = None
    calibration_seconds: _Seconds | None = None
    load_before: Annotated[float, Field(ge=0.0)] | None = None

    @model_validator(mode="after")
    def _has_ratios(self) -> Self:
        for name, value in self.__pydantic_extra__.items():
            if name.startswith(("x_", "seconds_")) and not (isinstance(value, int | float) and value > 0):
                raise ValueError(f"{name} {value!r}, not a number above 0")
        return self


class Benchmarks(Record):
    """A file of docs/benchmarks, as ``nox -s bench -- --results`` writes it."""

    machine: _Host
    figures: list[_Figure]


def read_table(content: bytes, where: Path, columns: Mapping[str, str]) -> list[dict[str, str]]:
    """The rows of a CSV file, cells as they stand there.

    Args:
        content: UTF-8.
        where: it stands.
        columns: what a cell has to look like, as a regular expression, by the name of its column.

    Raises:
        ArtifactError: no such table, or a cell that looks otherwise: the first is named.
    """
    reader = csv.reader(io.StringIO(content.decode("utf-8", "replace"), newline=""), strict=True)
    try:
        header, *rows = list(reader)
    except (csv.Error, ValueError) as error:
        raise ArtifactError(where, "content", got=f"damage ({error})", expected=",".join(columns)) from error
    if header != list(columns):
        raise ArtifactError(where, "line 1", got=",".join(header), expected=",".join(columns))
    for number, row in enumerate(rows, start=2):
        if len(row) != len(columns):
            raise ArtifactError(where, f"line {number}", got=f"{len(row)} cells", expected=len(columns))
        for (name, pattern), cell in zip(columns.items(), row, strict=True):
            if re.fullmatch(pattern, cell) is None:
                raise ArtifactError(where, f"line {number}, {name}", got=cell, expected=pattern)
    return [dict(zip(columns, row, strict=True)) for row in rows]
