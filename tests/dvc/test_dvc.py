"""The pipeline as its users drive it: dvc on the command line, in a temporary copy of the repository."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from repository import Repository

pytestmark = pytest.mark.pipeline

SMALL = ("data.source=sample", "model.name=compact", "train.epochs=2", "train.batch_size=100")


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One repository for all tests of this file, the pipeline run once and committed."""
    made = Repository(tmp_path_factory.mktemp("pipeline") / "mnist dvc")
    overrides = [part for key in SMALL for part in ("--set-param", key)]
    made.dvc("exp", "run", "--name", "first", *overrides)
    made.commit("first run")
    return made


def test_first_run_gives_every_output_and_a_clean_status(repository: Repository) -> None:
    for name in (
        "models/model.safetensors",
        "models/checkpoint.pth",
        "models/model.onnx",
        "reports/test/confusion.png",
    ):
        assert (repository.folder / name).is_file()
    assert repository.metrics()["dataset"] == "mnist-5k"
    assert "up to date" in repository.dvc("status")
    assert repository.git("status", "--porcelain") == ""


def test_second_repro_does_nothing(repository: Repository) -> None:
    before = (repository.folder / "dvc.lock").read_bytes()
    told = repository.dvc("repro")
    assert told.count("didn't change, skipping") == 4
    assert "Running stage" not in told
    assert (repository.folder / "dvc.lock").read_bytes() == before


def test_forced_repro_gives_the_same_bytes(repository: Repository) -> None:
    before = (repository.folder / "dvc.lock").read_bytes()
    assert repository.dvc("repro", "--force").count("Running stage") == 4
    assert (repository.folder / "dvc.lock").read_bytes() == before
    assert repository.git("status", "--porcelain") == ""


def test_metrics_show_names_the_data_set(repository: Repository) -> None:
    table = repository.dvc("metrics", "show")
    assert "mnist-5k" in table
    assert "accuracy_high" in table


def test_experiment_changes_a_param_and_can_be_compared(repository: Repository) -> None:
    repository.dvc("exp", "run", "--name", "three", "--set-param", "train.epochs=3")
    assert repository.metrics("train")["epochs"] == 3
    changed = json.loads(repository.dvc("metrics", "diff", "--json"))
    assert changed["reports/train/metrics.json"]["epochs"] == {"old": 2, "new": 3, "diff": 1}
    shown = repository.dvc("exp", "show", "--md")
    assert "three" in shown
    plots = repository.dvc("plots", "show")
    assert "index.html" in plots
    page = (repository.folder / "dvc_plots/index.html").read_text()
    assert all(title in page for title in ("Loss", "Accuracy", "Test images", "confusion.png", "mistakes.png"))
    repository.git("checkout", "--", ".")
    repository.dvc("checkout")
    assert "up to date" in repository.dvc("status")


def test_queued_experiment_uses_the_data_of_the_workspace(repository: Repository) -> None:
    """It runs in a copy, prepares anew, and must find the same digits; a relative folder would not resolve there."""
    repository.dvc(
        "exp",
        "run",
        "--queue",
        "--name",
        "queued",
        "--set-param",
        "data.validation=100",
        "--set-param",
        "train.epochs=1",
    )
    repository.dvc("exp", "run", "--run-all")
    shown = json.loads(repository.dvc("exp", "show", "--json"))
    (queued,) = [
        experiment["revs"][0]
        for revision in shown
        for experiment in revision["experiments"] or []
        if experiment["name"] == "queued"
    ]
    metrics = queued["data"]["metrics"]
    assert metrics["reports/test/metrics.json"]["data"]["dataset"] == "mnist-5k"
    assert metrics["reports/train/metrics.json"]["data"]["epochs"] == 1
    assert repository.git("status", "--porcelain") == ""


def test_changed_code_reruns_what_depends_on_it(repository: Repository) -> None:
    path = repository.folder / "mnist_dvc/report/figures.py"
    before = path.read_text()
    path.write_text(f"{before}\n# touched\n")
    status = json.loads(repository.dvc("status", "--json"))
    path.write_text(before)
    assert set(status) == {"evaluate"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("train.epochs=0", "train.epochs: got 0, expected a whole number from 1 to 10000"),
        ("train.learning_rate=fast", "train.learning_rate: got 'fast', expected a number above 0.0 to 10.0"),
    ],
)
def test_wrong_param_is_refused_in_words_before_any_work(repository: Repository, change: str, message: str) -> None:
    model = (repository.folder / "models/model.safetensors").read_bytes()
    result = subprocess.run(
        ["dvc", "exp", "run", "--set-param", change],
        cwd=repository.folder, env=repository.environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert result.returncode != 0
    assert message in result.stderr
    repository.git("checkout", "--", ".")
    repository.dvc("checkout")
    assert (repository.folder / "models/model.safetensors").read_bytes() == model


def test_artifact_is_the_model(repository: Repository) -> None:
    code = (
        "from dvc.repo import Repo; a = Repo().artifacts.read()['dvc.yaml']['mnist-classifier']; print(a.type, a.path)"
    )
    assert repository.run(sys.executable, "-c", code).split() == ["model", "models/model.safetensors"]
