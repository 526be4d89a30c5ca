from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mnist_dvc.errors import printable


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("digit 7.png", "digit 7.png"),
        ("sieben-ü-七.png", "sieben-ü-七.png"),
        ("[red]7[/red]", "[red]7[/red]"),
        ("\x1b[31mred", r"\x1b[31mred"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\udcff.png", r"\udcff.png"),
        ("right\u202eleft", r"right\u202eleft"),
        ("\U000e0001", r"\U000e0001"),
    ],
)
def test_what_does_not_print_is_escaped(text: str, expected: str) -> None:
    assert printable(text) == expected


@given(st.text(st.characters(exclude_categories=())))
def test_any_name_becomes_one_harmless_line(text: str) -> None:
    assert printable(text).isprintable()
    printable(text).encode()  # no half of a surrogate pair is left
