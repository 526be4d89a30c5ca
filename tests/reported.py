"""A workspace with a report of a short training, and copies of it to do with as one likes."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from helpers import params
from pages import evaluated

from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.report import report

if TYPE_CHECKING:
    from pathlib import Path

RECIPE: dict[str, Any] = {"epochs": 2, "learning_rate": 0.002}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a report, not to be touched."""
    paths = evaluated(tmp_path_factory.mktemp("made"), **RECIPE)
    report(params(**RECIPE), paths)
    return paths.root


@pytest.fixture
def ready(made: Path, tmp_path: Path) -> Paths:
    """A copy of the workspace to do with as one likes, with an earlier report in it."""
    paths = Paths(tmp_path / "ready")
    shutil.copytree(made, paths.root)
    paths.report_page.write_bytes(b"earlier")
    return paths
