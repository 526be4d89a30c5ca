from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from mnist_dvc.report.answers import answers_table

READ: dict[str, Any] = {"file": "seven.png", "digit": 7, "confidence": 0.98765, "inverted": False, "unsure": False}


def rows(*answers: dict[str, Any], many: bool = False) -> list[list[str]]:
    """The cells of the table, row by row, without its head."""
    stream = io.StringIO()
    Console(file=stream, width=120).print(answers_table(answers, many=many))
    lines = [line for line in stream.getvalue().splitlines() if line.startswith("│")]
    return [[cell.strip() for cell in line.strip("│").split("│")] for line in lines]


def test_each_answer_has_its_row() -> None:
    assert rows(READ, READ | {"inverted": True}, {"file": "x", "error": "file: got nothing"}) == [
        ["seven.png", "7", "98.77 %", ""],
        ["seven.png", "7", "98.77 %", "inverted"],
        ["x", "-", "-", "file: got nothing"],
    ]


def test_remarks_tell_of_all_that_was_noticed() -> None:
    noticed = [(unsure, inverted) for unsure in (False, True) for inverted in (False, True)]
    told = rows(*(READ | {"unsure": unsure, "inverted": inverted} for unsure, inverted in noticed))
    assert [row[-1] for row in told] == ["", "inverted", "unsure", "unsure, inverted"]


def test_name_of_a_class_stands_for_its_number() -> None:
    assert rows(READ | {"class": "[b]ankle boot"})[0][1] == "[b]ankle boot"


def test_digits_of_one_file_follow_each_other() -> None:
    digits = [READ | {"box": [1, 2, 3, 4]}, {"error": "confidence: got 0.5", "box": [5, 6, 7, 8]}]
    assert rows({"file": "ten.png", "digits": digits}, {"file": "x", "error": "file: got nothing"}, many=True) == [
        ["ten.png", "7", "98.77 %", "1 2 3 4", ""],
        ["", "-", "-", "5 6 7 8", "confidence: got 0.5"],
        ["x", "-", "-", "-", "file: got nothing"],
    ]


@pytest.mark.parametrize(("name", "shown"), [("[red]x", "[red]x"), ("a\x1b[31mb", r"a\x1b[31mb"), ("a\nb", r"a\nb")])
def test_name_is_neither_markup_nor_a_command_to_the_terminal(name: str, shown: str) -> None:
    assert rows(READ | {"file": name})[0][0] == shown
    assert rows({"file": "x", "error": name})[0][3] == shown
