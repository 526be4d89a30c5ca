"""The recipe of CONTRIBUTING.md for a network, followed to the letter in a copy of the repository."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from textwrap import dedent, indent

import pytest
from helpers import ROOT
from repository import RESULTS, copy_tree

pytestmark = pytest.mark.architecture

FILE = dedent(
    """
    \"""The {name} network, by somebody who has read the recipe.\"""

    from __future__ import annotations

    from collections import OrderedDict

    from torch import nn

    {imports}

    __all__ = ["{cls}"]


    class {cls}(nn.Sequential):
        \"""Images (N, 1, 28, 28), float32 of mean 0 and deviation 1, to logits (N, 10).\"""

        def __init__(self, dropout: float) -> None:
            \"""``dropout`` in [0, 1) acts on the pooled features, just before the classifier.\"""
            super().__init__(
                OrderedDict(
    {layers}
                )
            )
    """
).lstrip()
BLOCKS = "from mnist_dvc.model.blocks import "
SMALL = """
stem=PooledConv(1, 8, 5),
body=ResidualConv(8),
shrink=PooledConv(8, 16, 3),
head=nn.Sequential(MaximumAndMean(), {dropout}(dropout), nn.Linear(32, 10)),
""".strip()
LARGE = """
stem=PooledConv(1, 5, 7),
shrink=PooledConv(5, 40, 3),
body=nn.Sequential(*conv_bn(40, 48), nn.ReLU(inplace=True)),
head=nn.Sequential(nn.AdaptiveMaxPool2d(1), nn.Flatten(), Dropout(dropout), nn.Linear(48, 10)),
""".strip()
"""20,001 parameters."""


def copy(folder: Path) -> Path:
    if not (ROOT / ".git").exists():
        pytest.skip("what git would commit can only be told in a git repository")
    copy_tree(folder, without=RESULTS)
    return folder


def add_file(folder: Path, name: str, imports: str, layers: str) -> None:
    """A file in ``mnist_dvc/model/``."""
    text = FILE.format(name=name, cls=f"{name.title()}Net", imports=imports, layers=indent(layers, " " * 16))
    (folder / f"mnist_dvc/model/{name}.py").write_text(text, encoding="utf-8")


def register(folder: Path, name: str) -> None:
    """One import and one line in ``mnist_dvc/model/__init__.py``."""
    path = folder / "mnist_dvc/model/__init__.py"
    text = path.read_text(encoding="utf-8")
    for before, line in (
        ("from mnist_dvc.model.teacher import TeacherNet\n", f"from mnist_dvc.model.{name} import {name.title()}Net\n"),
        ("NETWORKS: dict[str, Callable[[float], nn.Module]] = {\n", f'    "{name}": {name.title()}Net,\n'),
    ):
        assert text.count(before) == 1
        text = text.replace(before, before + line)
    path.write_text(text, encoding="utf-8")


def run(folder: Path, *command: str) -> subprocess.CompletedProcess[str]:
    """Run what an editable installation of ``folder`` would run."""
    kept = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_", "PYTHON"))}
    environment = kept | {"PYTHONPATH": str(folder), "COLUMNS": "250"}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)


def promises_of(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    named = ("networks", "layers", "pipeline_file", "studies", "doors")
    files = [f"tests/architecture/test_{name}.py" for name in named]
    plain = ("-v", "--color=no", "-m", "", "-p", "no:cacheprovider", "-p", "no:xdist")
    return run(folder, sys.executable, "-m", "pytest", *plain, *arguments, *files)


def layers(folder: Path) -> subprocess.CompletedProcess[str]:
    return run(folder, str(Path(sys.executable).with_name("lint-imports")), "--no-cache")


@pytest.fixture(scope="module")
def third(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with a third network in it."""
    folder = copy(tmp_path_factory.mktemp("third") / "repository")
    imports = f"{BLOCKS}Dropout, MaximumAndMean, PooledConv, ResidualConv"
    add_file(folder, "third", imports, SMALL.format(dropout="Dropout"))
    register(folder, "third")
    return folder


CONCERNED = "third or beyond_the_budget or layers_are_kept or test_pipeline_file or test_studies"
"""What the tests have in their names that a new network may break; those of other networks it does not."""


def test_third_network_needs_one_file_one_import_and_one_line(third: Path) -> None:
    told = layers(third)
    assert "0 broken" in told.stdout, told.stdout
    result = promises_of(third, "-k", CONCERNED)
    assert result.returncode == 0, result.stdout
    promises = set(re.findall(r"::(test_\w+)\[(?:.+-)?third\] PASSED", result.stdout))
    assert {"test_budget_holds", "test_dropout_is_there_and_acts_in_training_only"} <= promises
    assert "test_teacher_is_beyond_the_budget_and_no_network PASSED" in result.stdout


def test_third_network_is_found_by_its_name(third: Path) -> None:
    result = run(third, sys.executable, "-m", "mnist_dvc", "summary", "--model", "third")
    assert result.returncode == 0, result.stderr
    assert "third: layers" in result.stdout


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository with networks that break a promise each, and one that nobody has registered."""
    folder = copy(tmp_path_factory.mktemp("broken") / "repository")
    rest = "MaximumAndMean, PooledConv, ResidualConv"
    foreign, ours = SMALL.format(dropout="nn.Dropout"), SMALL.format(dropout="Dropout")
    add_file(folder, "foreign", f"{BLOCKS}{rest}", foreign)
    add_file(folder, "large", f"{BLOCKS}Dropout, PooledConv, conv_bn", LARGE)
    sibling = "from mnist_dvc.model.compact import Dropout, MaximumAndMean, PooledConv, ResidualConv"
    add_file(folder, "sibling", sibling, ours)
    for name in ("foreign", "large", "sibling"):
        register(folder, name)
    add_file(folder, "alone", f"{BLOCKS}Dropout, {rest}", ours)
    return folder


def test_network_that_breaks_a_promise_is_told_what_to_do(broken: Path) -> None:
    """The twin of the tests above."""
    promises = "(foreign or large or sibling) and (budget_holds or dropout_is_there)"
    result = promises_of(broken, "-k", f"({promises}) or exactly_the_code")
    failed = set(re.findall(r"^FAILED .*::(\S+)", result.stdout, re.MULTILINE))
    stages = ("train", "evaluate", "report", "export")
    assert failed == {
        "test_budget_holds[large]",
        "test_dropout_is_there_and_acts_in_training_only[foreign]",
        *(f"test_stage_depends_on_exactly_the_code_it_imports[{stage}]" for stage in stages),
    }
    for words in (
        "large: got 20,001 parameters, expected fewer than 20,000: narrow a layer",
        "foreign: got torch's Dropout, expected Dropout of mnist_dvc.model.blocks: it draws from",
        "remove `- mnist_dvc/model`: the stage imports no alone.py of it; a new module there may want its import first",
    ):
        assert words in result.stdout
    told = layers(broken)
    assert told.returncode != 0
    assert "mnist_dvc.model.sibling is not allowed to import mnist_dvc.model.compact" in told.stdout
