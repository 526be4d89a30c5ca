"""Figures of every benchmark with the facts of the machine (reporting.py)."""

from reporting import facts, pytest_addoption, pytest_sessionfinish

__all__ = ["facts", "pytest_addoption", "pytest_sessionfinish"]
