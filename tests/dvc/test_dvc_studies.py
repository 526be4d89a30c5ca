"""The studies as their users drive them: `dvc repro` in a study's folder, on the bundled sample, with short recipes."""

from __future__ import annotations

import json
import re
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.pipeline

SHORT = {
    "source": "sample",
    "epochs": "1",
    "batch_size": "250",
    "threads": "1",
}


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """A copy of the repository in which the studies have never run and are done in seconds."""
    made = Repository(tmp_path_factory.mktemp("studies") / "mnist dvc", warm=True)
    for leftover in (*made.folder.glob("studies/*/trials"), *made.folder.glob("studies/*/*/trials")):
        shutil.rmtree(leftover)
    for leftover in (*made.folder.glob("studies/*/dvc.lock"), *made.folder.glob("studies/*/summary.json")):
        leftover.unlink()
    for params in made.folder.glob("studies/**/params.yaml"):
        text = params.read_text(encoding="utf-8")
        for key, value in SHORT.items():
            text = re.sub(rf"^(  {key}:) [^#\n]*", rf"\1 {value} ", text, count=1, flags=re.MULTILINE)
        # One pool for teachers and students: from another split of it, a teacher might know their test images.
        text = re.sub(r"^(  validation:) [1-9]\d*", r"\1 0", text, flags=re.MULTILINE)
        params.write_text(text, encoding="utf-8")
    for pipeline in made.folder.glob("studies/*/dvc.yaml"):
        text = pipeline.read_text(encoding="utf-8")
        text = re.sub(r"seed: \[(\d+), (\d+)[^]]*\]", r"seed: [\1, \2]", text)
        text = text.replace("--views 20", "--views 2").replace(
            ", compact-2k5, compact-5k, compact-10k, compact]", ", compact]"
        )
        for number in ("103", "104"):
            text = re.sub(rf"^ *- teacher/trials/teacher/{number}/.*\n", "", text, flags=re.MULTILINE)
            text = re.sub(rf" *teacher/trials/teacher/{number}/model.safetensors", "", text)
        pipeline.write_text(text, encoding="utf-8")
    made.commit("short studies")
    return made


def summary(study: Path) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((study / "summary.json").read_text(encoding="utf-8"))
    return loaded


def test_study_runs_sums_up_and_is_clean_afterwards(repository: Repository) -> None:
    study = repository.folder / "studies/fast"
    repository.dvc("repro", within="studies/fast")
    told = summary(study)
    assert (told["study"], told["seeds"], told["dataset"]) == ("fast", [1, 2], "mnist-5k")
    assert told["accuracy_mean"] == pytest.approx(sum(told["accuracies"]) / 2)
    assert "up to date" in repository.dvc("status", "dvc.yaml", within="studies/fast")
    again = repository.dvc("repro", within="studies/fast")
    assert "Running stage" not in again
    repository.git("add", "studies")
    staged = repository.git("diff", "--cached", "--name-only").split()
    assert "studies/fast/trials/sprint/1/metrics.json" in staged
    assert not [name for name in staged if name.endswith((".safetensors", ".npz"))]


def test_forced_trial_gives_the_same_model_and_metrics(repository: Repository) -> None:
    trial = repository.folder / "studies/fast/trials/sprint/2"
    before = {name: (trial / name).read_bytes() for name in ("model.safetensors", "metrics.json")}
    repository.dvc("repro", "--force", "--single-item", "dvc.yaml:trial@2", within="studies/fast")
    assert {name: (trial / name).read_bytes() for name in before} == before


def test_students_learn_from_teachers_from_one_command(repository: Repository) -> None:
    repository.dvc("repro", within="studies/record")
    study = repository.folder / "studies/record"
    assert (study / "data/teaching.safetensors").is_file()
    assert "accuracy" not in json.loads((study / "teacher/trials/teacher/101/metrics.json").read_text(encoding="utf-8"))
    assert summary(study)["network"] == "compact"
    repository.dvc("repro", within="studies/frontier")
    sizes = [point["parameters"] for point in summary(repository.folder / "studies/frontier")["points"]]
    assert sizes == [886, 19_706]


def test_main_pipeline_does_not_speak_of_the_studies(repository: Repository) -> None:
    assert "studies" not in repository.dvc("status")
    assert "studies" not in repository.dvc("dag")


def test_candidates_are_trained_and_compared_on_images_held_out(repository: Repository) -> None:
    study = repository.folder / "studies/choices"
    params = study / "params.yaml"
    text = params.read_text(encoding="utf-8").replace("validation: 0 ", "validation: 100 ")
    params.write_text(text.replace("holdout: block ", "holdout: random "), encoding="utf-8")
    candidates = study / "candidates.yaml"
    two = re.sub(r"epochs=\d+", "epochs=1", "  - ".join(candidates.read_text(encoding="utf-8").split("  - ")[:3]))
    candidates.write_text(two, encoding="utf-8")
    shutil.rmtree(study / "candidates")
    repository.dvc("repro", within="studies/choices")
    rows = [json.loads(path.read_text(encoding="utf-8")) for path in study.glob("candidates/*/*/*/metrics.json")]
    assert sorted((row["recipe"], row["seed"]) for row in rows) == [
        ("3 plain passes", 1), ("3 plain passes", 2), ("5 plain passes", 1), ("5 plain passes", 2),
    ]  # fmt: skip
    assert {row["images"] for row in rows} == {100}
    assert "up to date" in repository.dvc("status", "dvc.yaml", within="studies/choices")
