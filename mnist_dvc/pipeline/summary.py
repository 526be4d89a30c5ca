"""``summary``: what a registered network is made of, on the console or as JSON."""

from __future__ import annotations

from rich.console import Console

from mnist_dvc.describe import describe
from mnist_dvc.files import json_bytes
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams
from mnist_dvc.randomness import generator
from mnist_dvc.report.tables import description_json, description_table

__all__ = ["summary"]


def summary(name: str, *, as_json: bool) -> None:
    """Print the description of network ``name``.

    Raises:
        ParamsError: no network has that name.
    """
    model = build(ModelParams(name=name, dropout=0.0), generator(0, "weights"))
    description = describe(name, model)
    if as_json:
        print(json_bytes(description_json(description)).decode(), end="")
    else:
        Console().print(description_table(description))
