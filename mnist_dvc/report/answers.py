"""The answers for pictures as a table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rich.table import Table
from rich.text import Text

from mnist_dvc.errors import printable
from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import RenderableType

__all__ = ["answers_table"]


def answers_table(answers: Iterable[Mapping[str, Any]]) -> RenderableType:
    """A row per picture: file, digit, confidence, and what was noticed or is wrong with it.

    Args:
        answers: each has ``file`` and either ``error`` or ``digit``, ``confidence`` and ``inverted``.
    """
    table = Table("file", "digit", "confidence", "remarks")
    table.columns[0].overflow = table.columns[3].overflow = "fold"
    for answer in answers:
        told = answer.get("error") or ("inverted" if answer["inverted"] else "")
        digit = str(answer.get("digit", "-"))
        # As Text, since a name may hold what rich would take for markup.
        table.add_row(Text(printable(answer["file"])), digit, per_cent(answer.get("confidence")), Text(printable(told)))
    return table
