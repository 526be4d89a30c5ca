"""What a stage is made of, and whether it still stands there as it was when the process began."""

from __future__ import annotations

import pkgutil
import shutil
from typing import TYPE_CHECKING

import grimp
import pytest

from mnist_dvc import codebase, pipeline, study
from mnist_dvc.codebase import as_begun, changed_since_begun, code_digest, made_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

GRAPH = grimp.build_graph("mnist_dvc", cache_dir=None)
STAGES = [
    f"{room.__name__}.{found.name}" for room in (pipeline, study) for found in pkgutil.iter_modules(room.__path__)
]
TRAIN = "mnist_dvc.pipeline.train"


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package that stands for it, not read yet."""
    copied = tmp_path / "mnist_dvc"
    shutil.copytree(codebase.PACKAGE, copied, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(codebase, "PACKAGE", copied)
    forget()
    yield copied
    forget()


def forget() -> None:
    """Forget what was read, as a new process would not know it."""
    as_begun.cache_clear()
    codebase._imports.cache_clear()


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_made_of_all_that_it_imports(stage: str) -> None:
    assert made_of(stage) == GRAPH.find_upstream_modules(stage) | {stage}


def test_every_stage_is_held_against_the_graph() -> None:
    assert {TRAIN, "mnist_dvc.pipeline.predict", "mnist_dvc.study.trial"} <= set(STAGES)


@pytest.mark.parametrize(
    "statement",
    [
        "import mnist_dvc.onnx",
        "from mnist_dvc import onnx",
        "from mnist_dvc.onnx import onnx_bytes",
        "from mnist_dvc.onnx import *",
        "def late() -> None:\n    import mnist_dvc.onnx as exported",
        "if TYPE_CHECKING:\n    from mnist_dvc.onnx import onnx_bytes",
    ],
)
def test_an_import_counts_however_it_is_written(package: Path, statement: str) -> None:
    splits = package / "data/splits.py"
    splits.write_text(f"{splits.read_text('utf-8')}\n{statement}\n", "utf-8")
    assert "mnist_dvc.onnx" in made_of("mnist_dvc.data.splits")


def test_the_test_of_imports_can_fail(package: Path) -> None:
    assert package.is_dir()
    assert "mnist_dvc.onnx" not in made_of("mnist_dvc.data.splits")


@pytest.mark.usefixtures("package")
def test_nothing_has_changed_since_begun() -> None:
    assert as_begun()
    assert all(changed_since_begun(stage) == [] for stage in STAGES)


@pytest.mark.parametrize("file", ["pipeline/train.py", "training/engine.py", "model/__init__.py", "errors.py"])
def test_an_edited_file_is_noticed(package: Path, file: str) -> None:
    assert as_begun()
    with (package / file).open("a", encoding="utf-8") as opened:
        opened.write("\n")
    assert changed_since_begun(TRAIN) == [package / file]


def test_a_removed_file_is_noticed(package: Path) -> None:
    assert as_begun()
    (package / "augment.py").unlink()
    assert changed_since_begun(TRAIN) == [package / "augment.py"]


def test_a_file_that_the_stage_does_not_import_may_change(package: Path) -> None:
    assert as_begun()
    (package / "study/results.py").write_text("", "utf-8")
    (package / "new.py").write_text("", "utf-8")
    assert changed_since_begun(TRAIN) == []


def test_a_file_put_back_is_no_change(package: Path) -> None:
    engine = package / "training/engine.py"
    before = as_begun()["mnist_dvc.training.engine"]
    engine.write_bytes(b"")
    assert changed_since_begun(TRAIN)
    engine.write_bytes(before)
    assert changed_since_begun(TRAIN) == []


def test_an_edit_before_the_first_reading_goes_unnoticed(package: Path) -> None:
    """Why the command line reads before it imports: what is compared is what stood there at the first reading."""
    (package / "training/engine.py").write_bytes(b"")
    assert changed_since_begun(TRAIN) == []


def test_the_digest_is_of_what_the_stage_is_made_of_and_nothing_else(package: Path) -> None:
    whole = code_digest(TRAIN)
    for file, same in {"study/results.py": True, "training/engine.py": False, "augment.py": False}.items():
        content = (package / file).read_bytes()
        (package / file).write_bytes(content + b"\n")
        forget()
        assert (code_digest(TRAIN) == whole) == same
        (package / file).write_bytes(content)


def test_the_digest_knows_where_one_file_ends(package: Path) -> None:
    """Code that moves from one file to another is another code."""
    paths = [package / "training/engine.py", package / "training/optim.py"]
    contents = [path.read_bytes() for path in paths]
    whole = code_digest(TRAIN)
    for path, content in zip(paths, reversed(contents), strict=True):
        path.write_bytes(content)
    forget()
    assert code_digest(TRAIN) != whole


@pytest.mark.usefixtures("package")
def test_the_digest_stays_that_of_the_code_that_ran() -> None:
    before = code_digest(TRAIN)
    (codebase.PACKAGE / "training/engine.py").write_bytes(b"")
    assert code_digest(TRAIN) == before
