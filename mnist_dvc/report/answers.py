"""The answers for pictures as a table, and a bar for as long as they take."""

from __future__ import annotations

import contextlib
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from mnist_dvc.errors import printable
from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from rich.console import RenderableType

__all__ = ["answers_table", "progress"]


def answers_table(answers: Iterable[Mapping[str, Any]], *, many: bool = False) -> RenderableType:
    """A row per digit: file, digit, confidence, and what was noticed or is wrong with it.

    Args:
        answers: each has ``file`` and either ``error`` or ``digit``, ``confidence``, ``unsure`` and ``inverted``; or
            ``digits``, where each of these has ``box``, too.
        many: there is a column for the boxes, and a file is named in the first of its rows.
    """
    table = Table("file", "digit", "confidence", *["box"] * many, "remarks")
    table.columns[0].overflow = table.columns[-1].overflow = "fold"
    for answer in answers:
        name = printable(answer["file"])
        for told in answer.get("digits", (answer,)):
            digit = str(told.get("class", told.get("digit", "-")))
            box = [" ".join(map(str, told.get("box", "-")))] * many
            # As Text, since a name may hold what rich would take for markup.
            remarks = Text(printable(_remarks(told)))
            table.add_row(Text(name), Text(printable(digit)), per_cent(told.get("confidence")), *box, remarks)
            name = ""
    return table


def _remarks(told: Mapping[str, Any]) -> str:
    if "error" in told:
        return str(told["error"])
    return ", ".join(word for word in ("unsure", "inverted") if told[word])


@contextlib.contextmanager
def progress(total: int, *, shown: bool = True) -> Iterator[Callable[[], None]]:
    """What is called after each of ``total`` pictures: on a terminal, a bar on standard error that is gone at the end.

    ``shown`` is false where there is nothing to wait for, or the answers themselves come to the same terminal.
    """
    if not (shown and sys.stderr is not None and sys.stderr.isatty()):  # rich would also take it from FORCE_COLOR
        yield lambda: None
        return
    from rich.progress import Progress  # noqa: PLC0415  (takes time that a single picture has not)

    with Progress(console=Console(stderr=True), transient=True, redirect_stdout=False, redirect_stderr=False) as bar:
        task = bar.add_task("pictures", total=total)
        yield lambda: bar.advance(task)
