"""A network's description as tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group
from rich.table import Table

from mnist_dvc.description import BUDGET

if TYPE_CHECKING:
    from rich.console import RenderableType

    from mnist_dvc.description import Description

__all__ = ["description_table"]


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
