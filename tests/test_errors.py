from __future__ import annotations

import pytest

from mnist_dvc.errors import DataError, ParamsError, one_line


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        ("plain é", "plain é"),
        ("two\nlines", "two\\nlines"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("\u202eturned", "\\u202eturned"),
        ("\udcff", "\\udcff"),
        ("\u2028", "\\u2028"),
        (b"\0", "b'\\\\x00'".replace("\\\\", "\\")),
        ("x" * 50, "x" * 37 + "..."),
        ("\x01" * 50, "\\x01" * 9 + "\\..."),
    ],
)
def test_one_line_is_short_and_printable(value: object, shown: str) -> None:
    assert one_line(value, 40) == shown


def test_refusal_stays_on_one_line_whatever_the_file_holds() -> None:
    error = DataError("here\n", "field\r", got="\x1b[2J" * 1000, expected="a\tb")
    assert str(error).startswith("here\\n: field\\r: got \\x1b[2J")
    assert str(error).isprintable()
    assert len(str(error)) < 600
    assert str(error) == f"here\\n: {error.problem}"


def test_params_error_has_a_line_for_each_problem_and_no_more() -> None:
    error = ParamsError("file", ["one\ntwo", "three"])
    assert str(error).splitlines() == ["file: one\\ntwo", "file: three"]
