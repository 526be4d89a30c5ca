from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mnist_dvc.report.answers import answers_table

READ: dict[str, Any] = {"file": "seven.png", "digit": 7, "confidence": 0.98765, "inverted": False}


def rows(*answers: dict[str, Any]) -> list[list[str]]:
    """The cells of the table, row by row, without its head."""
    stream = io.StringIO()
    Console(file=stream, width=120).print(answers_table(answers))
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_each_answer_has_its_row() -> None:
    assert rows(READ, READ | {"inverted": True}, {"file": "x", "error": "file: got nothing"}) == [
        ["seven.png", "7", "98.77 %", ""],
        ["seven.png", "7", "98.77 %", "inverted"],
        ["x", "-", "-", "file: got nothing"],
    ]


@pytest.mark.parametrize(("name", "shown"), [("[red]x", "[red]x"), ("a\x1b[31mb", r"a\x1b[31mb"), ("a\nb", r"a\nb")])
def test_name_is_neither_markup_nor_a_command_to_the_terminal(name: str, shown: str) -> None:
    assert rows(READ | {"file": name})[0][0] == shown
    assert rows({"file": "x", "error": name})[0][3] == shown
