from __future__ import annotations

import functools
from typing import TYPE_CHECKING

import pytest
from helpers import idx_folder, params

from mnist_dvc.data import sources
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.data.sources import read_folder
from mnist_dvc.errors import DataError
from mnist_dvc.params import DataParams
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.prepare import prepare

if TYPE_CHECKING:
    from pathlib import Path


def run(root: Path, source: str, validation: int = 500) -> Prepared:
    data = DataParams(source=source, validation=validation, holdout="random", seed=0)
    prepare(params().model_copy(update={"data": data}), Paths(root))
    return Prepared.open(Paths(root).prepared)


def test_sample_splits_into_4000_500_500(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    prepared = run(tmp_path, "sample", validation=5000)
    assert prepared.dataset == "mnist-5k"
    assert [len(prepared.read(name)) for name in ("train", "validation", "test")] == [4000, 500, 500]
    assert "Prepared mnist-5k: 4,000 train, 500 validation, 500 test" in capsys.readouterr().out


def test_folder_with_the_published_files_becomes_mnist(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = idx_folder(tmp_path / "tiny")
    monkeypatch.setattr(sources, "MNIST_FILES", files)
    monkeypatch.setattr(sources, "read_folder", functools.partial(read_folder, files=files))
    prepared = run(tmp_path, "tiny", validation=10)
    assert (prepared.dataset, prepared.classes) == ("mnist", ())
    assert [len(prepared.read(name)) for name in ("train", "validation", "test")] == [20, 10, 20]


def test_refused_source_changes_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError):
        run(tmp_path, "nowhere")
    assert [path.name for path in tmp_path.iterdir()] == [".mnist_dvc"]  # the lock
