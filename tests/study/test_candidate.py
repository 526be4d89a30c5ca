"""Candidates for a recipe: compared on the images held out, whatever the test images are."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest
import torch
from asking import ask as ask_teachers
from asking import plant
from helpers import NETWORK, command, params, raw_digits, remove_split, write_params

from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, BusyError, DataError, ParamsError
from mnist_dvc.files import exclusive, json_bytes
from mnist_dvc.model import NETWORKS, TEACHERS
from mnist_dvc.model.weights import read_model
from mnist_dvc.report.results import choices_table
from mnist_dvc.study.ensemble import Ensemble
from mnist_dvc.study.fidelity import fidelity
from mnist_dvc.study.records import Candidate, Fidelity, check_file_name
from mnist_dvc.study.results import _candidates
from mnist_dvc.study.trial import candidate, trial
from mnist_dvc.training.engine import Job
from mnist_dvc.training.teaching import read_teaching

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mnist_dvc.paths import Paths

QUESTION, RECIPE = "how-long", "2.5 passes, and then some"


def told(paths: Paths, recipe: str = RECIPE, seed: int = 1) -> dict[str, Any]:
    content: dict[str, Any] = json.loads((paths.candidate(QUESTION, recipe, seed) / "metrics.json").read_text())
    return content


def ask(paths: Paths, recipe: str = RECIPE, **train: Any) -> dict[str, Any]:
    changed = params(**({"epochs": 1} | train))
    candidate(changed, paths, [], question=QUESTION, recipe=recipe)
    return told(paths, recipe, changed.train.seed)


def test_candidate_tells_what_it_came_to(workspace: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    row = ask(workspace, seed=7)
    assert {key: row[key] for key in ("question", "recipe", "seed", "network", "images")} == {
        "question": QUESTION, "recipe": RECIPE, "seed": 7, "network": NETWORK, "images": 100,
    }  # fmt: skip
    assert f"{RECIPE}, seed 7: NLL {row['nll']:.5f}, {row['errors']} errors  ->  " in capsys.readouterr().out
    assert sorted(path.name for path in workspace.root.iterdir()) == [".mnist_dvc", "candidates", "data", "runs"]


def test_figures_are_those_of_the_images_held_out(workspace: Paths) -> None:
    """The same training as a trial writes its model, which is asked here."""
    row = ask(workspace)
    trial(params(epochs=1), workspace)
    model, _ = read_model(workspace.trial(NETWORK, 1) / "model.safetensors")
    held_out = Digits.on(torch.device("cpu"), Prepared.open(workspace.prepared).read("validation"))
    images_N1HW, _ = held_out.batch(torch.arange(len(held_out)))
    logits_NK = model.eval()(normalise(images_N1HW)).detach()
    assert row["errors"] == int((logits_NK.argmax(dim=1) != held_out.labels_N).sum())
    assert row["nll"] == pytest.approx(float(torch.nn.functional.cross_entropy(logits_NK, held_out.labels_N)), rel=1e-5)


def test_test_images_are_not_needed(workspace: Paths) -> None:
    before = ask(workspace)
    remove_split(workspace.prepared, "test")
    assert ask(workspace) == before


def test_images_held_out_are_not_measured_between_epochs(workspace: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    """Twenty thousand after each short epoch would take longer than the training."""
    validated: list[bool] = []
    refuse = Job.__post_init__

    def note(self: Job) -> None:
        validated.append(self.validation is not None)
        refuse(self)

    monkeypatch.setattr(Job, "__post_init__", note)
    ask(workspace)
    assert validated[-1] is False
    trial(params(epochs=1), workspace)
    assert validated[-1] is True


def test_without_images_held_out_it_is_refused_before_any_work(workspace: Paths) -> None:
    raw = raw_digits()
    write_prepared(workspace.prepared, raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    with pytest.raises(DataError, match="images held out: got none, expected some; see data.validation"):
        ask(workspace)
    assert sorted(path.name for path in workspace.root.iterdir()) == ["data"]


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "ends.", "line\nbreak", "a|b", "x" * 81, "\u00e9"])
def test_name_that_no_folder_should_have_is_refused(name: str) -> None:
    with pytest.raises(ParamsError, match="^--recipe: got .*, expected up to 80 letters, digits, "):
        check_file_name("--recipe", name)


@pytest.mark.parametrize("name", [RECIPE, QUESTION, "x" * 80, "7"])
def test_name_that_a_folder_may_have_is_taken(name: str) -> None:
    check_file_name("--recipe", name)


def test_candidates_of_one_network_and_seed_run_side_by_side_but_not_the_same(workspace: Paths) -> None:
    state = workspace.state / "candidates" / QUESTION / RECIPE / "1"
    with exclusive(state, "mnist-dvc study candidate"):
        ask(workspace, recipe="another")
        with pytest.raises(BusyError, match=re.escape(f"{RECIPE}/1/lock: got a workspace that process ")):
            ask(workspace)


def test_command_line(workspace: Paths) -> None:
    write_params(workspace.root, epochs=3)
    asked = ("study", "candidate", "--question", QUESTION, "--recipe", RECIPE, "--seed", "3")
    done = command(*asked, "-S", "train.epochs=1", cwd=workspace.root)
    assert done.returncode == 0, done.stderr
    assert told(workspace, seed=3) == ask(workspace, seed=3)
    refused = command(*asked[:4], "--recipe", "../x", "--seed", "3", cwd=workspace.root)
    assert refused.returncode == 2
    assert refused.stderr.startswith("mnist-dvc: --recipe: got '../x', expected up to 80 letters")


# -------------------------------------------------------------------------------------------------- beside its teachers


@pytest.fixture
def teachers(workspace: Paths) -> list[Path]:
    """They have answered about three views."""
    planted = [plant(workspace, seed) for seed in (101, 102)]
    ask_teachers(workspace, planted)
    return planted


def beside(paths: Paths, teachers: list[Path], **train: Any) -> dict[str, Any]:
    candidate(params(**({"epochs": 2, "distillation": 1.0} | train)), paths, teachers, question=QUESTION, recipe=RECIPE)
    measured: dict[str, Any] = told(paths)["fidelity"]
    return measured


def test_student_is_compared_with_its_teachers_where_neither_has_learned(
    workspace: Paths, teachers: list[Path]
) -> None:
    measured = beside(workspace, teachers)
    trial(params(epochs=2, distillation=1.0), workspace)
    held_out = Digits.on(torch.device("cpu"), Prepared.open(workspace.prepared).read("validation"))
    images_N1HW = normalise(held_out.batch(torch.arange(len(held_out)))[0])
    student, *asked = (
        read_model(path, NETWORKS | TEACHERS)[0].eval()
        for path in (workspace.trial(NETWORK, 1) / "model.safetensors", *teachers)
    )
    with torch.no_grad():
        ours_NK = student(images_N1HW).softmax(dim=1)
        theirs_NK = sum(teacher(images_N1HW).softmax(dim=1) for teacher in asked) / len(asked)
    wrong_N, their_wrong_N = (answers_NK.argmax(dim=1) != held_out.labels_N for answers_NK in (ours_NK, theirs_NK))
    assert measured["teachers_errors"] == int(their_wrong_N.sum())
    assert measured["shared_errors"] == int((wrong_N & their_wrong_N).sum())
    divergence = float((theirs_NK * (theirs_NK.log() - ours_NK.log())).sum(dim=1).mean())
    assert measured["divergence"] == pytest.approx(divergence, rel=1e-3)


def test_taught_view_is_nearer_than_before_and_a_fresh_one_is_another(workspace: Paths, teachers: list[Path]) -> None:
    before = beside(workspace, teachers, learning_rate=1e-6)
    after = beside(workspace, teachers, epochs=12)
    assert after["divergence_taught"] < 0.5 * before["divergence_taught"]
    assert after["divergence_taught"] != after["divergence_fresh"]


def test_divergence_from_oneself_is_none(workspace: Paths, teachers: list[Path]) -> None:
    """Whatever the digits are: what the figures above are measured against."""
    prepared = Prepared.open(workspace.prepared)
    asked = Ensemble.of_teachers(teachers[:1], prepared, torch.device("cpu"), "float32")
    measured = fidelity(asked.models[0], asked, prepared, read_teaching(workspace.teaching, prepared.digest))
    assert measured.divergence == pytest.approx(0.0, abs=1e-6)
    assert measured.divergence_fresh == pytest.approx(0.0, abs=1e-6)
    assert measured.shared_errors == measured.teachers_errors


def test_other_teachers_than_all_who_gave_the_answers_are_refused_before_any_work(
    workspace: Paths, teachers: list[Path]
) -> None:
    with pytest.raises(ArtifactError, match=r"teaching.safetensors: teachers: got (\w{12}, ){2}\w{12}, expected "):
        beside(workspace, [*teachers, plant(workspace, 103)])
    with pytest.raises(ArtifactError, match=r"teachers: got \w{12}, expected \w{12}, \w{12}, who gave these answers"):
        beside(workspace, teachers[:1])
    assert not (workspace.root / "candidates").exists()


def test_missing_teacher_is_refused(workspace: Paths, teachers: list[Path]) -> None:
    teachers[1].unlink()
    with pytest.raises(ArtifactError, match="102/model.safetensors: file: got nothing"):
        beside(workspace, teachers)


# -------------------------------------------------------------------------------------------------------- what is shown


def test_columns_of_the_teachers_are_shown_where_there_were_some(workspace: Paths, teachers: list[Path]) -> None:
    ask(workspace, recipe="alone")
    alone = choices_table(_candidates(workspace.root), QUESTION)
    assert "divergence" not in alone
    measured = beside(workspace, teachers)
    table = choices_table(_candidates(workspace.root), QUESTION)
    assert f"| {measured['shared_errors']} | {measured['divergence']:.5f} |" in table
    assert re.search(r"\| alone \| 100 \| \d+ \| [\d.]+ \|  \|  \|  \|  \|  \|", table)


def test_rows_are_shown_as_those_written_by_hand(workspace: Paths) -> None:
    ask(workspace, recipe="b")
    ask(workspace, recipe="a", seed=2)
    rows = _candidates(workspace.root)
    assert [(row["recipe"], row["seed"]) for row in rows] == [("a", "2"), ("b", "1")]
    assert rows[1]["nll"] == f"{told(workspace, 'b')['nll']:.5f}"
    assert rows[1]["errors"] == str(told(workspace, "b")["errors"])


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "more errors than images": (lambda row: row | {"errors": 101}, "101 errors, of 100 images"),
    "more errors of both than of one": (
        lambda row: row | {"fidelity": dict.fromkeys(Fidelity.model_fields, 0) | {"shared_errors": 1}},
        "1 shared errors, more than one of the two has",
    ),
    "a pipe in a name": (lambda row: row | {"recipe": "a|b"}, "recipe"),
    "no figure": (lambda row: {key: row[key] for key in row if key != "nll"}, "nll"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_row_is_refused(workspace: Paths, name: str) -> None:
    change, expected = DAMAGE[name]
    row = ask(workspace)
    path = workspace.candidate(QUESTION, RECIPE, 1) / "metrics.json"
    path.write_bytes(json_bytes(change(row)))
    with pytest.raises(ArtifactError, match=expected):
        _candidates(workspace.root)
    path.write_bytes(json_bytes(row))
    assert Candidate.model_validate(row).errors == int(_candidates(workspace.root)[0]["errors"])
