"""``summary``: what a registered network is made of, on the console or as JSON."""

from __future__ import annotations

from rich.console import Console

from mnist_dvc.describe import describe
from mnist_dvc.files import json_bytes
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams
from mnist_dvc.randomness import generator
from mnist_dvc.report.tables import description_json, description_table
from mnist_dvc.streams import delivery

__all__ = ["summary"]


def summary(name: str, *, as_json: bool) -> None:
    """Print the description of network ``name``.

    Raises:
        ParamsError: no network has that name.
        OSError: standard output takes no more.
    """
    model = build(ModelParams(name=name, dropout=0.0), generator(0, "weights"))
    description = describe(name, model)
    with delivery() as output:
        if as_json:
            output.write(json_bytes(description_json(description)).decode())
            return
        console = Console()
        with console.capture() as table:  # on its own it would end the process where a pipe is not read on
            console.print(description_table(description))
        output.write(table.get())
