"""The page of faults names tests; each of them is there."""

from __future__ import annotations

import ast
import re

import pytest
from helpers import ROOT

NAMED = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")


def missing(page: str) -> list[str]:
    """Tests that ``page`` names and no file has."""
    found = []
    for file, name in NAMED.findall(page):
        path = ROOT / file
        functions = {node.name for node in ast.walk(ast.parse(path.read_text()))
                     if isinstance(node, ast.FunctionDef)} if path.is_file() else set()  # fmt: skip
        if name not in functions:
            found.append(f"{file}::{name}")
    return found


PAGE = (ROOT / "docs/reliability.md").read_text(encoding="utf-8")


def test_every_test_that_the_page_names_is_there() -> None:
    assert missing(PAGE) == []


@pytest.mark.parametrize("number", [*range(1, 13), 14, 15, 17, 18, 19, 22, 23])
def test_every_fault_that_applies_has_a_row_with_a_test(number: int) -> None:
    rows = [line for line in PAGE.splitlines() if re.match(rf"\| [\d, ]*\b{number}\b[\d, ]* \|", line)]
    assert rows
    assert all(NAMED.search(row) for row in rows)


def test_the_check_can_fail() -> None:
    assert missing("`tests/test_files.py::test_nothing` and `tests/nowhere.py::test_it`") == [
        "tests/test_files.py::test_nothing",
        "tests/nowhere.py::test_it",
    ]
