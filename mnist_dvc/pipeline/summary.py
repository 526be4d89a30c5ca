"""``summary``: what a registered network is made of, on the console or as JSON."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Console

from mnist_dvc.description import description_json, read_description
from mnist_dvc.files import json_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.pretrained import RELEASED, released_description
from mnist_dvc.report.tables import description_table
from mnist_dvc.streams import delivery

if TYPE_CHECKING:
    from mnist_dvc.description import Description

__all__ = ["summary"]


def summary(name: str, *, as_json: bool) -> None:
    """Print the description of network ``name``.

    Raises:
        ModuleNotFoundError: there is no torch to build it with, and it is none of the released ones.
        ParamsError: no network has that name.
        OSError: standard output takes no more.
    """
    description = _description(name)
    with delivery() as output:
        if as_json:
            output.write(json_bytes(description_json(description)).decode())
            return
        console = Console()
        with console.capture() as table:  # on its own it would end the process where a pipe is not read on
            console.print(description_table(description))
        output.write(table.get())


def _description(name: str) -> Description:
    """Of the network as it is built here; where there is no torch to build it, as it was when it was released."""
    try:
        from mnist_dvc.describe import describe  # noqa: PLC0415
        from mnist_dvc.model import build, check_name  # noqa: PLC0415
        from mnist_dvc.randomness import generator  # noqa: PLC0415
    except ModuleNotFoundError:
        if name not in RELEASED:
            raise
        return read_description(released_description(name))
    check_name(name)
    return describe(name, build(ModelParams(name=name, dropout=0.0), generator(0, "weights")))
