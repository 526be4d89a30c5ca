"""Figures of every benchmark with the facts of the machine (reporting.py)."""

from reporting import (
    facts,
    pytest_addoption,
    pytest_configure,
    pytest_generate_tests,
    pytest_sessionfinish,
    pytest_terminal_summary,
)

__all__ = [
    "facts",
    "pytest_addoption",
    "pytest_configure",
    "pytest_generate_tests",
    "pytest_sessionfinish",
    "pytest_terminal_summary",
]
