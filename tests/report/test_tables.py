from __future__ import annotations

import io

from rich.console import Console

from mnist_dvc.describe import describe
from mnist_dvc.model import NETWORKS
from mnist_dvc.report.tables import description_table

DESCRIPTION = describe("reference", NETWORKS["reference"](0.0))


def test_table_shows_layers_parameters_and_the_budget() -> None:
    stream = io.StringIO()
    Console(file=stream, width=120).print(description_table(DESCRIPTION))
    text = stream.getvalue()
    for part in (
        "convblock1",
        "16 x 14 x 14",
        "se2.expand.weight",
        "56 x 28",
        "1,568",
        "19,392",
        "607",
        "multiply-adds",
    ):
        assert part in text
