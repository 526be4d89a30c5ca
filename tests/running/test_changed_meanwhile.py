"""What is published is what was read: a stage whose inputs change while it works publishes nothing and says why."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

import pytest
from asking import plant
from helpers import NETWORK, PARAMETERS, blobs, copy_of, params, prepared_workspace, write_params, write_scores
from killing import tracked

from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import RawDigits, split
from mnist_dvc.errors import ArtifactError, MnistDvcError
from mnist_dvc.files import SUMS, file_sha256
from mnist_dvc.params import Change, load_params
from mnist_dvc.pipeline import evaluate as evaluating
from mnist_dvc.pipeline import export as exporting
from mnist_dvc.pipeline import prepare as preparing
from mnist_dvc.pipeline import report as reporting
from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.export import export
from mnist_dvc.pipeline.prepare import prepare
from mnist_dvc.pipeline.report import report
from mnist_dvc.pipeline.train import train
from mnist_dvc.running import inputs
from mnist_dvc.running import run as running
from mnist_dvc.running.inputs import Inputs
from mnist_dvc.study import summary as summing
from mnist_dvc.study import teach as asking
from mnist_dvc.study.summary import study_summary
from mnist_dvc.study.teach import teach
from mnist_dvc.study.trial import teacher, trial

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

    Meanwhile = Callable[[str, Callable[[], None]], None]

LAST_WORK: dict[str, tuple[Any, str]] = {
    "prepare": (preparing, "split"),
    "train": (running, "_refuse_without_answers"),
    "trial": (running, "_refuse_without_answers"),
    "teacher": (running, "_refuse_without_answers"),
    "teach": (asking, "teaching_bytes"),
    "evaluate": (evaluating, "confusion_figure"),
    "export": (exporting, "_compare"),
    "report": (reporting, "page_bytes"),
    "summary": (summing, "summarise"),
}
"""What each stage does last before it publishes."""


@pytest.fixture
def meanwhile(monkeypatch: pytest.MonkeyPatch) -> Meanwhile:
    """Do something while a stage works: right before the last thing that it computes."""

    def arrange(stage: str, action: Callable[[], None]) -> None:
        module, name = LAST_WORK[stage]
        work = getattr(module, name)

        def act_and_work(*arguments: Any, **options: Any) -> Any:
            monkeypatch.setattr(module, name, work)
            action()
            return work(*arguments, **options)

        monkeypatch.setattr(module, name, act_and_work)

    return arrange


def read(workspace: Paths, name: str | None = None) -> Params:
    changes = [] if name is None else [Change("model.name", name, "--network")]
    return load_params(workspace.root / "params.yaml", changes)


def run(stage: str, workspace: Paths) -> None:
    match stage:
        case "prepare":
            prepare(read(workspace), workspace)
        case "train":
            train(read(workspace), workspace)
        case "trial":
            trial(read(workspace), workspace)
        case "teacher":
            teacher(read(workspace, "teacher"), workspace)
        case "teach":
            teach(read(workspace), workspace, [workspace.trial("teacher", 5) / "model.safetensors"], views=2, seed=0)
        case "evaluate":
            evaluate(read(workspace), workspace)
        case "export":
            export(read(workspace), workspace)
        case "report":
            report(read(workspace), workspace)
        case "summary":
            study_summary(workspace)


class Ready:
    """Workspaces with all that a stage needs, each made once and copied for every test that asks for it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._made: dict[str, Paths] = {}

    def __call__(self, stage: str, workspace: Paths) -> None:
        """Make ``workspace`` one of them."""
        if stage not in self._made:
            self._made[stage] = prepared_workspace(self._folder / stage)
            self._make(stage, self._made[stage])
        copy_of(self._made[stage], workspace.root)

    def _make(self, stage: str, workspace: Paths) -> None:
        write_params(workspace.root, sections={"data": {"source": "sample"}}, epochs=1)
        if stage in ("evaluate", "export", "report"):
            run("train", workspace)
        if stage == "export":
            write_scores(workspace, PARAMETERS)
        if stage == "report":
            run("evaluate", workspace)
        if stage == "summary":
            run("trial", workspace)
        elif stage == "teach":
            plant(workspace, 5)


@pytest.fixture(scope="module")
def ready(tmp_path_factory: pytest.TempPathFactory) -> Ready:
    return Ready(tmp_path_factory.mktemp("ready"))


def results(workspace: Paths) -> dict[Path, str | None]:
    """Every file that a stage could publish, but the history, which grows; with its digest."""
    kinds = {".json", ".md", ".safetensors", ".npz", ".png", ".csv", ".onnx", ".pth", ".sha256", ".html"}
    found = (path for path in workspace.root.rglob("*") if path.suffix in kinds or path.name == "SHA256SUMS")
    return {
        path: file_sha256(path) for path in found if workspace.state not in path.parents and path != workspace.history
    }


def other_params(workspace: Paths, stage: str) -> str:
    """Change a param that ``stage`` reads; returns its key."""
    changes: dict[str, tuple[str, dict[str, Any]]] = {
        "prepare": ("data", {"seed": 1, "source": "sample"}),
        "train": ("train", {"seed": 2}),
        "trial": ("evaluate", {"batch_size": 65}),
        "teacher": ("model", {"dropout": 0.5}),
        "teach": ("train", {"threads": 2}),
        "evaluate": ("evaluate", {"mistakes": 3}),
        "export": ("export", {"opset": 19}),
        "report": ("train", {"seed": 2}),
    }
    section, values = changes[stage]
    sections = {"data": {"source": "sample"}, section: values}
    write_params(workspace.root, sections=sections, epochs=1)
    return f"{section}.{next(iter(values))}"


@pytest.mark.parametrize("stage", [name for name in LAST_WORK if name != "summary"])
def test_params_edited_while_a_stage_works(ready: Ready, workspace: Paths, meanwhile: Meanwhile, stage: str) -> None:
    ready(stage, workspace)
    before, key = results(workspace), []
    meanwhile(stage, lambda: key.append(other_params(workspace, stage)))
    with pytest.raises(MnistDvcError) as caught:
        run(stage, workspace)
    assert caught.value.exit_code == 65
    assert f"params.yaml: {key[0]}: got " in str(caught.value)
    assert results(workspace) == before


@pytest.mark.parametrize("stage", ["prepare", "trial", "export", "summary"])
def test_code_edited_while_a_stage_works(
    ready: Ready, workspace: Paths, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch, stage: str
) -> None:
    ready(stage, workspace)
    before, edited = results(workspace), workspace.root / "augment.py"
    meanwhile(stage, lambda: monkeypatch.setattr(inputs, "changed_since_begun", lambda _: [edited]))
    with pytest.raises(MnistDvcError, match=r"augment\.py: code: got another, expected the one that ran"):
        run(stage, workspace)
    assert results(workspace) == before


FILES = {
    "train": "data/prepared/manifest.json",
    "trial": "data/prepared/digits.npz",
    "teacher": "data/prepared/manifest.json",
    "teach": "trials/teacher/5/model.safetensors",
    "evaluate": "reports/train/history.csv",
    "export": "models/model.safetensors",
    "report": "reports/test/predictions.csv",
    "summary": f"trials/{NETWORK}/1/timing.json",
}


@pytest.mark.parametrize("stage", FILES)
def test_file_replaced_while_a_stage_works(ready: Ready, workspace: Paths, meanwhile: Meanwhile, stage: str) -> None:
    ready(stage, workspace)
    path = workspace.root / FILES[stage]
    before = results(workspace)

    def replace() -> None:
        path.write_bytes(path.read_bytes() + b"\n")

    meanwhile(stage, replace)
    with pytest.raises(MnistDvcError) as caught:
        run(stage, workspace)
    assert caught.value.exit_code == 65
    assert str(path) in str(caught.value)
    assert {**results(workspace), path: None} == {**before, path: None}


def test_scores_replaced_while_export_works(ready: Ready, workspace: Paths, meanwhile: Meanwhile) -> None:
    ready("export", workspace)
    before = results(workspace)
    del before[workspace.test_metrics], before[workspace.test_report / SUMS]
    meanwhile("export", lambda: write_scores(workspace, PARAMETERS, dataset="another"))
    with pytest.raises(MnistDvcError, match=r"metrics\.json: content: got another, expected the one that was read"):
        run("export", workspace)
    assert before.items() <= results(workspace).items()
    assert not workspace.model_card.exists()


def test_recipe_edited_while_export_works(ready: Ready, workspace: Paths, meanwhile: Meanwhile) -> None:
    """The model card tells it."""
    ready("export", workspace)
    before = results(workspace)
    meanwhile("export", lambda: write_params(workspace.root, sections={"data": {"source": "sample"}}, epochs=3))
    with pytest.raises(MnistDvcError, match=r"params\.yaml: train\.epochs: got 3, expected 1, as it was read"):
        run("export", workspace)
    assert results(workspace) == before


@pytest.mark.parametrize("stage", ["prepare", "trial", "teach", "evaluate", "export", "report"])
def test_rewriting_the_same_disturbs_no_stage(ready: Ready, workspace: Paths, meanwhile: Meanwhile, stage: str) -> None:
    """The twin of the tests above: it is the change that is refused, not that somebody wrote."""
    ready(stage, workspace)
    before = results(workspace)

    def rewrite() -> None:
        for path in (*before, workspace.root / "params.yaml"):
            content = path.read_bytes()
            path.unlink()
            path.write_bytes(content)

    meanwhile(stage, rewrite)
    run(stage, workspace)
    assert results(workspace) != before or stage == "prepare"


# -------------------------------------------------------------------------------- a split of one pool replaced


def replace_split(workspace: Paths, seed: int) -> None:
    """The digits of one pool, of which another ``seed`` tests other ones."""
    raw = RawDigits("mnist-5k", {"made": "by hand"}, blobs(200, seed=1), None)
    write_prepared(workspace.prepared, raw, split(raw, validation=0, seed=seed), validation=0, seed=seed)


def score(workspace: Paths) -> bytes:
    return (workspace.trial(NETWORK, 1) / "metrics.json").read_bytes()


def test_trial_is_never_scored_on_images_that_it_may_have_learned(
    ready: Ready, workspace: Paths, meanwhile: Meanwhile
) -> None:
    ready("trial", workspace)
    replace_split(workspace, 0)
    meanwhile("trial", lambda: replace_split(workspace, 1))
    with pytest.raises(MnistDvcError) as caught:
        run("trial", workspace)
    assert caught.value.exit_code == 65
    assert not workspace.trial(NETWORK, 1).joinpath("metrics.json").exists()
    replace_split(workspace, 0)
    run("trial", workspace)


def test_without_the_check_the_trial_would_be_scored_on_them(
    ready: Ready, workspace: Paths, meanwhile: Meanwhile, monkeypatch: pytest.MonkeyPatch
) -> None:
    ready("trial", workspace)
    replace_split(workspace, 0)
    run("trial", workspace)
    honest = score(workspace)
    monkeypatch.setattr(Inputs, "refuse_changes", lambda _: None)
    opened = Prepared.open

    def opened_again(prepared: Any, name: str) -> Any:
        return reading(opened(prepared.folder), name)

    reading = Prepared.read
    monkeypatch.setattr(Prepared, "read", opened_again)
    meanwhile("trial", lambda: replace_split(workspace, 1))
    run("trial", workspace)
    assert score(workspace) != honest


# ------------------------------------------------------------------------------------------------ put it back


def test_training_that_was_refused_is_not_lost(
    ready: Ready, workspace: Paths, meanwhile: Meanwhile, capsys: pytest.CaptureFixture[str]
) -> None:
    ready("train", workspace)
    run("train", workspace)
    whole = tracked(workspace)
    for path in workspace.of_training:
        path.unlink()
    meanwhile("train", lambda: write_params(workspace.root, epochs=1, seed=2))
    with pytest.raises(MnistDvcError):
        run("train", workspace)
    write_params(workspace.root, sections={"data": {"source": "sample"}}, epochs=1)
    capsys.readouterr()
    run("train", workspace)
    assert "Going on after step 7 of 7" in capsys.readouterr().out
    assert tracked(workspace) == whole


def test_views_of_other_code_are_not_mixed_with_new_ones(
    ready: Ready, workspace: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asking is stopped after a view, code is edited, and the same command asks about every view anew."""
    ready("teach", workspace)
    asked: list[int] = []
    answer = asking._ClassRoom.answers

    def count(self: asking._ClassRoom, view: int) -> Any:
        asked.append(view)
        if asked == [0, 1]:
            raise KeyboardInterrupt
        return answer(self, view)

    monkeypatch.setattr(asking._ClassRoom, "answers", count)
    with pytest.raises(KeyboardInterrupt):
        run("teach", workspace)
    assert asked == [0, 1]
    with monkeypatch.context() as edited:
        edited.setattr(inputs, "code_digest", lambda _: "new")
        run("teach", workspace)
    assert asked == [0, 1, 0, 1]
    run("teach", workspace)  # the former code: the view that it answered is still there
    assert asked == [0, 1, 0, 1, 1]


# -------------------------------------------------------------------------------- parts that belong together


def test_model_with_the_history_of_another_training_is_refused(ready: Ready, workspace: Paths) -> None:
    ready("train", workspace)
    run("train", workspace)
    earlier = workspace.history.read_bytes()
    train(params(epochs=1, seed=2), workspace)
    workspace.history.write_bytes(earlier)
    with pytest.raises(ArtifactError, match=r"history\.csv: SHA-256: got .*, expected .*, as in .*SHA256SUMS"):
        run("evaluate", workspace)
    assert not workspace.test_report.exists()


def test_its_own_history_is_taken_so_the_test_above_can_fail(ready: Ready, workspace: Paths) -> None:
    ready("train", workspace)
    run("train", workspace)
    run("evaluate", workspace)
    assert (workspace.test_report / "metrics.json").is_file()


@pytest.mark.parametrize("stage", ["evaluate", "export", "report"])
def test_model_of_another_network_than_the_params_name_is_refused(ready: Ready, workspace: Paths, stage: str) -> None:
    ready(stage, workspace)
    write_params(workspace.root, sections={"model": {"name": "sprint"}})
    before = results(workspace)
    words = r"model\.safetensors: network: got compact-1k, expected sprint, as model\.name in .* says; run `train`"
    with pytest.raises(ArtifactError, match=words):
        run(stage, workspace)
    assert results(workspace) == before


@pytest.mark.parametrize("stage", ["evaluate", "export", "report"])
def test_model_of_other_digits_is_refused(ready: Ready, workspace: Paths, stage: str) -> None:
    ready(stage, workspace)
    shutil.rmtree(workspace.prepared)
    run("prepare", workspace)
    with pytest.raises(ArtifactError, match="data it was trained on: got mnist .*, expected the prepared mnist-5k"):
        run(stage, workspace)
