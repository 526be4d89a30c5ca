"""A network's description and the answers for pictures: tables for people, plain values for programs."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from mnist_dvc.errors import printable
from mnist_dvc.model import BUDGET
from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from rich.console import RenderableType

    from mnist_dvc.model.describe import Description

__all__ = ["answers_table", "description_json", "description_table"]


def description_table(description: Description) -> RenderableType:
    """Layers with output shapes, parameters with shapes and counts, and the totals."""
    layers = Table("layer", "output", "parameters", title=f"{description.network}: layers", title_justify="left")
    layers.columns[-1].justify = "right"
    for layer in description.layers:
        layers.add_row(layer.name, _shape(layer.output_shape), f"{layer.parameters:,}")
    parameters = Table("parameter", "shape", "count", title="trainable parameters", title_justify="left")
    parameters.columns[-1].justify = "right"
    for parameter in description.parameters:
        parameters.add_row(parameter.name, _shape(parameter.shape), f"{parameter.count:,}")
    parameters.add_section()
    parameters.add_row("total", "", f"{description.total:,}")
    parameters.add_row(f"left below {BUDGET:,}", "", f"{description.budget_left:,}")
    parameters.add_row("multiply-adds per image", "", f"{description.multiply_adds:,}")
    return Group(layers, parameters)


def _shape(shape: tuple[int, ...]) -> str:
    return " x ".join(map(str, shape))


def description_json(description: Description) -> dict[str, Any]:
    """The same as plain values, ``budget`` and ``budget_left`` included."""
    return asdict(description) | {"budget": BUDGET, "budget_left": description.budget_left}


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
