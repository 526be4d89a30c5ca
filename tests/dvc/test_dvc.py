"""The pipeline as its users drive it: dvc on the command line, in a temporary copy of the repository."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from repository import Repository, Repro
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mnist_dvc.files import write_atomically

if TYPE_CHECKING:
    from collections.abc import Callable

pytestmark = pytest.mark.pipeline

SMALL = (
    *("data.source=sample", "model.name=sprint", "train.epochs=2", "train.batch_size=100"),
    *("train.threads=1", "evaluate.threads=1"),  # two threads crawl on a busy machine
)


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """One repository for all tests of this file, the pipeline run once and committed."""
    made = Repository(tmp_path_factory.mktemp("pipeline") / "mnist dvc", warm=True)
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
        "reports/report.html",
    ):
        assert (repository.folder / name).is_file()
    assert repository.metrics()["dataset"] == "mnist-5k"
    assert "up to date" in repository.dvc("status")
    assert repository.git("status", "--porcelain") == ""


def test_second_repro_does_nothing(repository: Repository) -> None:
    before = (repository.folder / "dvc.lock").read_bytes()
    told = repository.dvc("repro")
    assert told.count("didn't change, skipping") == 5
    assert "Running stage" not in told
    assert (repository.folder / "dvc.lock").read_bytes() == before


def test_forced_repro_gives_the_same_bytes(repository: Repository) -> None:
    before = (repository.folder / "dvc.lock").read_bytes()
    assert repository.dvc("repro", "--force").count("Running stage") == 5
    assert (repository.folder / "dvc.lock").read_bytes() == before
    assert repository.git("status", "--porcelain") == ""


def test_metrics_show_names_the_data_set(repository: Repository) -> None:
    table = repository.dvc("metrics", "show")
    assert "mnist-5k" in table
    assert "val_accuracy" in table


def test_experiment_changes_a_param_and_can_be_compared(repository: Repository) -> None:
    repository.dvc("exp", "run", "--name", "three", "--set-param", "train.epochs=3")
    assert repository.metrics("train")["epochs"] == 3
    changed = json.loads(repository.dvc("metrics", "diff", "--json"))
    assert changed["reports/metrics.json"]["nll"]["diff"] != 0
    changed = json.loads(repository.dvc("params", "diff", "--json"))
    assert changed["params.yaml"]["train.epochs"] == {"old": 2, "new": 3, "diff": 1}
    shown = repository.dvc("exp", "show", "--only-changed", "--no-pager", COLUMNS="120")
    (header,) = [line for line in shown.splitlines() if "Experiment" in line]
    expected = ["Experiment", "Created", "accuracy", "errors", "nll", "val_accuracy", "train.epochs"]
    assert header.split()[: len(expected)] == expected  # digests of what stages depend on follow
    assert "three" in shown
    plots = repository.dvc("plots", "show")
    assert "index.html" in plots
    page = (repository.folder / "dvc_plots/index.html").read_text()
    assert all(title in page for title in ("Loss", "Accuracy", "Test images", "confusion.png", "mistakes.png"))
    repository.restore()
    assert "up to date" in repository.dvc("status")
    repository.dvc("exp", "apply", "three")
    assert repository.metrics("train")["epochs"] == 3
    repository.restore()


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
    assert metrics["reports/metrics.json"]["data"]["dataset"] == "mnist-5k"
    (run,) = (repository.folder / "runs").glob("*_sprint_seed1_queued")
    assert "test/accuracy" in EventAccumulator(str(run)).Reload().Tags()["scalars"]
    dated = {path.name.removeprefix("mnist_model_")[:15] for path in (repository.folder / "checkpoints").iterdir()}
    assert run.name[:15] in dated
    assert repository.git("status", "--porcelain") == ""


def test_clone_without_a_cache_shows_metrics_and_plots(repository: Repository, tmp_path: Path) -> None:
    """What people look at is in git, at every commit."""
    clone = tmp_path / "clone"
    repository.git("clone", "--quiet", str(repository.folder), str(clone))
    told = repository.dvc("plots", "show", within=str(clone))
    assert "index.html" in told
    page = (clone / "dvc_plots/index.html").read_text()
    assert all(title in page for title in ("Loss", "Accuracy", "Test images", "confusion.png", "mistakes.png"))
    assert "mnist-5k" in repository.dvc("metrics", "show", within=str(clone))
    repository.dvc("plots", "diff", "HEAD~1", "HEAD", within=str(clone))


@pytest.mark.parametrize(("name", "stage"), [("figures.py", "evaluate"), ("templates/report.css", "report")])
def test_changed_code_reruns_what_depends_on_it(repository: Repository, name: str, stage: str) -> None:
    path = repository.folder / "mnist_dvc/report" / name
    before = path.read_text(encoding="utf-8")
    path.write_text(f"{before}\n/* touched */\n", encoding="utf-8")
    status = json.loads(repository.dvc("status", "--json"))
    path.write_text(before, encoding="utf-8")
    assert set(status) == {stage}


def test_bytecode_beside_the_code_changes_nothing(repository: Repository) -> None:
    stray = repository.folder / "mnist_dvc/model/__pycache__/compact.cpython-399.pyc"
    stray.parent.mkdir(exist_ok=True)
    stray.write_bytes(b"compiled")
    assert "up to date" in repository.dvc("status")
    ignore = repository.folder / ".dvcignore"
    ignore.rename(ignore.with_suffix(".aside"))  # the twin: without its line there, the folder would be another
    status = json.loads(repository.dvc("status", "--json"))
    ignore.with_suffix(".aside").rename(ignore)
    assert set(status) == {"train", "evaluate", "export", "report"}


REFUSALS = [
    ("train.epochs=0", "train.epochs: got 0, expected a whole number from 1 to 10000"),
    ("data.validation=5", "data.validation: got 5, expected 0, or a whole number from 10 to 30000"),
]


def refused(repository: Repository, change: str) -> str:
    """What an experiment with ``change`` says before it fails."""
    command = ["dvc", "exp", "run", "--set-param", change]
    result = subprocess.run(
        command, cwd=repository.folder, env=repository.environment, capture_output=True, text=True, check=False
    )
    assert result.returncode != 0
    return result.stderr


@pytest.mark.parametrize(("change", "message"), REFUSALS)
def test_wrong_param_is_refused_in_words_and_costs_no_output(repository: Repository, change: str, message: str) -> None:
    before = repository.outputs()
    assert {"data/prepared/digits.npz", "models/model.safetensors", "models/model.onnx"} <= before.keys()
    assert message in refused(repository, change)
    assert repository.outputs() == before
    assert repository.git("status", "--porcelain").split() == ["M", "params.yaml"]
    repository.git("checkout", "--", ".")


def test_without_persist_a_refusal_would_cost_the_model(repository: Repository) -> None:
    """The twin of the test above."""
    before, pipeline = repository.outputs(), repository.folder / "dvc.yaml"
    pipeline.write_text(pipeline.read_text().replace("persist: true", "persist: false"))
    assert "up to date" in repository.dvc("status")  # which is no matter of persist
    refused(repository, "train.epochs=0")
    gone = before.keys() - repository.outputs().keys()
    status = repository.git("status", "--porcelain").splitlines()
    repository.restore()
    assert {"models/model.safetensors", "models/checkpoint.pth", "reports/train/history.csv"} <= gone
    assert {" D models/SHA256SUMS", " D reports/train/metrics.json"} <= {*status}
    assert repository.outputs() == before


ROW = r"^ +1 +\d"
"""The row of the first epoch; the snapshot of it is saved before the one of the second."""
LONG = 6
"""Epochs; the training goes on for several after the first row is read."""


def test_stopped_training_leaves_the_last_results(repository: Repository) -> None:
    before = repository.published()
    repository.set_params(train_epochs=LONG)
    with Repro(repository) as run:
        run.until(ROW)
        os.kill(run.holder(), signal.SIGTERM)
        assert run.end() != 0
    assert "stopped by SIGTERM" in run.printed
    assert repository.published() == before
    changed = ["M", "params.yaml", "M", "reports/train/history.csv"]  # which shows as far as it came
    assert repository.git("status", "--porcelain").split() == changed
    repository.git("checkout", "--", ".")


def another_seed(repository: Repository) -> str:
    repository.set_params(train_seed=2)
    return "params.yaml: train.seed: got 2, expected 1"


def another_line_of_code(repository: Repository) -> str:
    with (repository.folder / "mnist_dvc/augment.py").open("a", encoding="utf-8") as file:
        file.write("# edited\n")
    return "mnist_dvc/augment.py: code: got another"


@pytest.mark.parametrize("edit", [another_seed, another_line_of_code])
def test_what_is_edited_while_a_stage_runs_is_not_recorded_as_what_it_ran_with(
    repository: Repository, edit: Callable[[Repository], str]
) -> None:
    before, published = repository.outputs(), repository.published()
    lock = (repository.folder / "dvc.lock").read_bytes()
    dated = sorted((repository.folder / "checkpoints").iterdir())
    repository.set_params(train_epochs=LONG)
    params, code = repository.folder / "params.yaml", repository.folder / "mnist_dvc/augment.py"
    unedited = {path: path.read_bytes() for path in (params, code)}
    with Repro(repository, "train") as run:
        run.until(ROW)
        message = edit(repository)
        assert run.end() != 0
    assert message in run.printed
    assert "exited with 65" in run.printed
    assert repository.published() == published
    assert sorted((repository.folder / "checkpoints").iterdir()) == dated
    assert (repository.folder / "dvc.lock").read_bytes() == lock
    for path, content in unedited.items():
        path.write_bytes(content)
    assert "Resuming from .mnist_dvc/resume/" in repository.dvc("repro", "train")
    assert repository.metrics("train")["epochs"] == LONG
    repository.restore()
    assert repository.outputs() == before


def test_dvc_alone_would_record_what_was_edited(repository: Repository) -> None:
    """The twin of the test above: DVC looks at the params when a stage has ended, whatever it ran with."""
    alone = repository.folder / "alone"
    alone.mkdir()
    (alone / "params.yaml").write_text("seed: 1\n")
    command = "cat params.yaml > ran_with && echo 'seed: 2' > params.yaml"
    (alone / "dvc.yaml").write_text(
        f"stages: {{s: {{cmd: {json.dumps(command)}, params: [seed], outs: [ran_with]}}}}\n"
    )
    repository.dvc("repro", "alone/dvc.yaml")
    assert (alone / "ran_with").read_text() == "seed: 1\n"
    assert "seed: 2" in (alone / "dvc.lock").read_text()
    shutil.rmtree(alone)
    repository.git("reset", "--quiet")


def damaged(cache: Path) -> list[str]:
    """Objects of DVC's cache that do not hold what their names say."""
    objects = {path.parent.name + path.name: path.read_bytes() for path in cache.glob("files/md5/??/*")}
    assert objects
    return [name for name, content in objects.items() if name.removesuffix(".dir") != md5(content)]


def md5(content: bytes) -> str:
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


def is_linked(path: Path, kind: str) -> bool:
    return path.is_symlink() if kind == "symlink" else path.stat().st_nlink == 2


@pytest.mark.parametrize(("kind", "stages"), [("hardlink", []), ("symlink", ["train"])])
def test_cache_that_is_linked_into_the_workspace_is_not_written_through(
    repository: Repository, kind: str, stages: list[str]
) -> None:
    before, model = repository.outputs(), repository.folder / "models/model.safetensors"
    repository.dvc("config", "--local", "cache.type", kind)
    repository.dvc("checkout", "--relink")
    assert is_linked(model, kind)
    repository.set_params(train_epochs=1, evaluate_mistakes=9, export_opset=19)
    repository.run("python", "-m", "mnist_dvc", "train")  # by hand: DVC would replace the links by copies before
    assert model.read_bytes() != before["models/model.safetensors"]
    assert damaged(repository.folder / ".dvc/cache") == []
    repository.dvc("repro", *stages)
    assert is_linked(model, kind)
    assert damaged(repository.folder / ".dvc/cache") == []
    changed = {name for name, content in repository.outputs().items() if before[name] != content}
    assert changed >= {"models/model.safetensors", "models/checkpoint.pth", "reports/train/history.csv"}
    assert stages or changed >= {"models/model.onnx", "reports/test/mistakes.png"}
    repository.dvc("config", "--local", "--unset", "cache.type")
    repository.restore("--relink")
    assert repository.outputs() == before
    assert not is_linked(model, kind)


@pytest.mark.parametrize(("write", "wrong"), [(Path.write_bytes, 1), (write_atomically, 0)])
def test_the_check_of_the_cache_finds_who_writes_through_a_link(
    tmp_path: Path, write: Callable[[Path, bytes], object], wrong: int
) -> None:
    """The twin of the test above."""
    name = md5(b"old")
    cached = tmp_path / f"cache/files/md5/{name[:2]}/{name[2:]}"
    cached.parent.mkdir(parents=True)
    cached.write_bytes(b"old")
    linked = tmp_path / "model"
    linked.hardlink_to(cached)
    write(linked, b"new")
    assert len(damaged(tmp_path / "cache")) == wrong


def test_artifact_is_the_model(repository: Repository) -> None:
    code = (
        "from dvc.repo import Repo; a = Repo().artifacts.read()['dvc.yaml']['mnist-classifier']; print(a.type, a.path)"
    )
    assert repository.run(sys.executable, "-c", code).split() == ["model", "models/model.safetensors"]
