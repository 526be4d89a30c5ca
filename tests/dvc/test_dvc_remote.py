"""Outputs for others, as docs/dvc.md shows it: a remote, clones, single files and released models, word for word."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, NamedTuple

import pytest
from consoles import run_section
from repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.pipeline

PAGE = "docs/dvc.md"
MODEL = "models/model.safetensors"


class Shared(NamedTuple):
    """A repository with results, the bare one that stands for its address, and the folder that is its remote."""

    repository: Repository
    address: Path
    remote: Path

    def run(self, heading: str, folder: Path) -> list[str]:
        """Run what the page shows under a heading, beginning in ``folder``."""
        folder.mkdir(parents=True, exist_ok=True)
        names = {"https://github.com/you/mnist_dvc": str(self.address), "/srv/mnist-dvc": str(self.remote)}
        environment = self.repository.environment | {"KEY_ID": "nobody"}
        return run_section(PAGE, heading, folder, environment, names)

    def stored(self) -> dict[str, bytes]:
        """The objects of the remote by their names in it."""
        files = [path for path in self.remote.rglob("*") if path.is_file()]
        return {path.relative_to(self.remote).as_posix(): path.read_bytes() for path in files}


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Shared:
    """One run of the pipeline, committed and pushed as the page says; the tests share it, in any order."""
    folder = tmp_path_factory.mktemp("remote")
    made = Shared(Repository(folder / "mnist_dvc", warm=True), folder / "origin/mnist_dvc", folder / "storage")
    repository = made.repository
    repository.set_params(data_source="sample", model_name="sprint", train_epochs=1, train_threads=1)
    repository.set_params(train_batch_size=250, evaluate_threads=1)
    repository.dvc("repro")
    repository.commit("results")
    repository.run("git", "init", "--quiet", "--bare", "--initial-branch=main", str(made.address))
    repository.git("remote", "add", "origin", str(made.address))
    made.run("Store the outputs", repository.folder)
    return made


def test_outputs_are_pushed_once(shared: Shared) -> None:
    before = shared.stored()
    model = (shared.repository.folder / MODEL).read_bytes()
    assert model in before.values()
    assert "Everything is up to date" in shared.repository.dvc("push")
    assert shared.stored() == before


def test_other_remotes_are_a_matter_of_configuration(tmp_path: Path, shared: Shared) -> None:
    for program in ("git", "dvc"):
        shared.repository.run(program, "init", "--quiet", within=str(tmp_path))
    (listed,) = shared.run("Buckets and machines", tmp_path)
    assert "s3://mnist-dvc/outputs" in listed
    assert f"ssh://you@server.example.org{shared.remote}" in listed
    assert listed.rstrip().endswith("(default)")
    assert "nobody" in (tmp_path / ".dvc/config.local").read_text(encoding="utf-8")
    assert "nobody" not in (tmp_path / ".dvc/config").read_text(encoding="utf-8")


def test_fresh_clone_pulls_every_output_and_runs_nothing(tmp_path: Path, shared: Shared) -> None:
    (told,) = shared.run("Take the outputs of others", tmp_path)
    assert told.count("didn't change, skipping") == 5
    assert "Running stage" not in told
    outputs = shared.repository.outputs()
    assert MODEL in outputs
    assert {name: (tmp_path / "mnist_dvc" / name).read_bytes() for name in outputs} == outputs


def test_a_clone_without_the_remote_lacks_the_outputs(tmp_path: Path, shared: Shared) -> None:
    """The twin of the test above: what it compares came from the remote."""
    aside = shared.remote.rename(shared.remote.with_name("aside"))
    try:
        with pytest.raises(RuntimeError, match="failed to pull|missing-files|Checkout failed"):
            shared.run("Take the outputs of others", tmp_path)
    finally:
        shutil.rmtree(shared.remote, ignore_errors=True)
        aside.rename(shared.remote)
    assert not (tmp_path / "mnist_dvc" / MODEL).exists()


def test_one_file_is_had_without_a_clone(tmp_path: Path, shared: Shared) -> None:
    shared.run("One file, without a clone", tmp_path)
    outputs = shared.repository.outputs()
    assert (tmp_path / "digits.onnx").read_bytes() == outputs["models/model.onnx"]
    assert (tmp_path / "reader/model.safetensors").read_bytes() == outputs[MODEL]
    assert str(shared.address) in (tmp_path / "reader/model.safetensors.dvc").read_text(encoding="utf-8")


def test_released_model_is_had_by_its_name(tmp_path: Path, shared: Shared) -> None:
    shared.run("Release a model", shared.repository.folder)
    shared.run("Take a released model", tmp_path)
    model = (shared.repository.folder / MODEL).read_bytes()
    assert (tmp_path / "newest.safetensors").read_bytes() == model
    assert (tmp_path / "first.safetensors").read_bytes() == model


def test_a_version_that_nobody_released_is_refused(tmp_path: Path, shared: Shared) -> None:
    """The twin of the test above: it is the tag that makes a version."""
    with pytest.raises(RuntimeError, match="v7.0.0"):
        shared.repository.dvc(
            *("artifacts", "get", "--rev", "v7.0.0", "--out", str(tmp_path / "none")),
            *(str(shared.address), "mnist-classifier"),
        )
