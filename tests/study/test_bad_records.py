"""The records of a study as accidents and strangers leave them: refused in a line, or not what is asked for."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from damaging import flips_and_cuts, hostile_json, spelt, wrong_values
from helpers import command
from studying import write_lock, write_pipeline, write_trial

from mnist_dvc.errors import ArtifactError
from mnist_dvc.paths import Paths
from mnist_dvc.study.complete import read_summary, refuse_other_trials
from mnist_dvc.study.records import Summary, Timing, Trial, read_record
from mnist_dvc.study.summary import study_summary

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SEEDS = [1, 2, 3]
KINDS: dict[str, Any] = {
    "trials/compact/2/metrics.json": Trial,
    "trials/compact/2/timing.json": Timing,
    "summary.json": Summary,
}
NULLABLE = {"accelerator", "cpus", "val_loss", "val_accuracy", "points"}
every_kind = pytest.mark.parametrize("name", KINDS)


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of three seeds that DVC has run."""
    for seed in SEEDS:
        write_trial(tmp_path, "compact", seed, errors=30 + seed)
    study_summary(Paths(tmp_path))
    write_pipeline(tmp_path, "compact", SEEDS)
    write_lock(tmp_path)
    return tmp_path


@pytest.fixture
def loose(study: Path) -> Path:
    """The same without what DVC has recorded, so that nothing but the content can be refused."""
    (study / "dvc.lock").unlink()
    return study


def refusal(path: Path, kind: Any) -> str | None:
    """Why ``path`` is refused; None where it is taken."""
    try:
        read_record(path, kind, "a record")
    except ArtifactError as error:
        text = str(error)
        assert (error.exit_code, text.isprintable()) == (65, True)
        assert text.startswith(str(path.parent)) or "dvc.lock: " in text
        assert ": got " in text
        assert ", expected " in text
        return text
    return None


@every_kind
def test_every_flipped_bit_and_cut_is_refused(study: Path, name: str) -> None:
    path = study / name
    for content in flips_and_cuts(path.read_bytes(), 200, 50):
        path.write_bytes(content)
        assert refusal(path, KINDS[name])


@every_kind
@pytest.mark.faults
def test_every_bit_and_every_length_is_refused(study: Path, name: str) -> None:
    path = study / name
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        assert refusal(path, KINDS[name])
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        assert refusal(path, KINDS[name])


@every_kind
def test_without_what_dvc_recorded_some_would_pass(loose: Path, name: str) -> None:
    path = loose / name
    taken = []
    for content in flips_and_cuts(path.read_bytes(), 200, 50):
        path.write_bytes(content)
        taken.append(refusal(path, KINDS[name]) is None)
    assert 0 < sum(taken) < 150


@every_kind
def test_whole_record_is_taken_so_the_tests_here_can_fail(loose: Path, name: str) -> None:
    assert refusal(loose / name, KINDS[name]) is None


@every_kind
def test_hostile_file_is_refused_in_a_line(loose: Path, name: str) -> None:
    path = loose / name
    files = hostile_json(path.read_bytes())
    assert len(files) >= 30
    for what, content in files.items():
        path.write_bytes(content)
        assert refusal(path, KINDS[name]), what


@every_kind
def test_value_of_another_kind_or_out_of_range_is_refused(loose: Path, name: str) -> None:
    path = loose / name
    told = json.loads(path.read_bytes())
    for key, value, content in wrong_values(told):
        path.write_bytes(content)
        if not (key in NULLABLE and value is None):
            assert refusal(path, KINDS[name]), (key, value)


AT_ODDS: dict[str, tuple[str, dict[str, Any], str]] = {
    "accuracy of 750 %": ("metrics", {"accuracy": 7.5}, "accuracy: got Input should be less than or equal to 1"),
    "accuracy of other errors": ("metrics", {"accuracy": 0.99}, "got accuracy 0.99 of 32 errors in 10000 images"),
    "an error less": ("metrics", {"errors": 31}, "got accuracy 0.9968 of 31 errors"),
    "more errors than images": ("metrics", {"errors": 20_000}, "of 20000 errors in 10000 images"),
    "other bound": ("metrics", {"accuracy_low": 0.99}, "got an interval from 0.99 to "),
    "bounds exchanged": ("metrics", {"accuracy_low": 0.998, "accuracy_high": 0.99}, "got an interval from 0.998"),
    "too likely": ("metrics", {"nll": 1e-6}, "too low for 32 errors"),
    "too close": ("metrics", {"brier": 1e-6}, "too low for 32 errors"),
    "seed of another folder": ("metrics", {"seed": 1}, "seed: got 1, expected 2, as its folder says"),
    "network of another folder": ("metrics", {"network": "sprint"}, "network: got sprint, expected compact"),
    "beyond the budget": ("metrics", {"parameters": 20_000}, "parameters: got Input should be less than 20000"),
    "no time": ("timing", {"threads": 0}, "threads: got Input should be greater than or equal to 1"),
    "study of another folder": ("summary", {"study": "record"}, "study: got record, expected"),
    "other mean": ("summary", {"accuracy_mean": 0.9999}, "got accuracy_mean 0.9999, where its own figures come to"),
    "other deviation": ("summary", {"accuracy_sd": 0.5}, "got accuracy_sd 0.5"),
    "wider": ("summary", {"accuracy_mean_high": 0.9999}, "got accuracy_mean_high 0.9999"),
    "other time": ("summary", {"train_seconds_mean": 1.0}, "got train_seconds_mean 1.0"),
    "seed twice": ("summary", {"seeds": [1, 1, 3]}, r"got seeds \[1, 1, 3\], not each once"),
    "seed less": ("summary", {"seeds": [1, 2]}, "got not one accuracy and one time for each seed"),
    "other at the top": ("summary", {"points": []}, "points: got List should have at least 2"),
}


@pytest.mark.parametrize(("file", "changes", "told"), AT_ODDS.values(), ids=AT_ODDS)
def test_record_at_odds_with_itself_is_refused(loose: Path, file: str, changes: dict[str, Any], told: str) -> None:
    name = next(name for name in KINDS if name.endswith(f"{file}.json"))
    path = loose / name
    path.write_bytes(spelt(json.loads(path.read_bytes()) | changes))
    with pytest.raises(ArtifactError, match=told):
        read_record(path, KINDS[name], "a record")


def copied(study: Path, to: int, **changes: Any) -> None:
    """The first trial once more, in the folder of another seed."""
    folder = study / f"trials/compact/{to}"
    folder.mkdir()
    for path in (study / "trials/compact/1").iterdir():
        told = json.loads(path.read_bytes())
        (folder / path.name).write_bytes(spelt(told | {key: value for key, value in changes.items() if key in told}))


def without(name: str) -> Callable[[Path], None]:
    return lambda study: (study / name).unlink()


def last_seed_gone(study: Path) -> None:
    for path in (study / "trials/compact/3").iterdir():
        path.unlink()
    (study / "trials/compact/3").rmdir()


def free(study: Path) -> None:
    """Any trials make the study, as where no DVC runs it."""
    (study / "dvc.yaml").unlink()
    (study / "dvc.lock").unlink()


def rewritten(name: str, text: str) -> Callable[[Path], object]:
    return lambda study: (study / name).write_text(text)


OTHER_TRIALS: dict[str, tuple[list[Callable[[Path], object]], str]] = {
    "no metrics": (
        [without("trials/compact/3/metrics.json")],
        "3/metrics.json: file: got nothing, expected what `study",
    ),
    "no metrics, no DVC": ([free, without("trials/compact/3/metrics.json")], "3/metrics.json: file: got nothing"),
    "a trial less": ([last_seed_gone], "3/metrics.json: file: got nothing, expected .*; run `dvc repro`"),
    "a trial more": ([lambda study: copied(study, 4, seed=4)], "compact/4: trial: got one more, expected those of"),
    "a copy": ([free, lambda study: copied(study, 4)], "4/metrics.json: seed: got 1, expected 4, as its folder says"),
    "a copy with another seed": ([free, lambda study: copied(study, 4, seed=4)], "compact/4: figures: got those of"),
    "another trial": (
        [last_seed_gone, lambda study: copied(study, 3, seed=3)],
        "3/metrics.json: MD5: got .*, expected .*, as in .*dvc.lock; run `dvc repro` again",
    ),
    "not recorded": (
        [lambda study: write_pipeline(study, "compact", [1, 2, 3, 4]), lambda study: copied(study, 4, seed=4, nll=0.3)],
        "dvc.lock: trials/compact/4/metrics.json: got nothing, expected its MD5; `dvc repro` makes and records it",
    ),
    "no YAML": ([rewritten("dvc.yaml", "stages: [")], "dvc.yaml: content: got not valid YAML"),
    "a list": ([rewritten("dvc.yaml", "[1]")], "dvc.yaml: stages: got NoneType"),
    "stages of another kind": ([rewritten("dvc.yaml", "stages: [1]")], "dvc.yaml: stages: got list"),
    "no matrix": (
        [rewritten("dvc.yaml", "stages: {trial: {outs: [a/metrics.json]}}")],
        "dvc.yaml: stage trial: got Key",
    ),
    "matrix of one": (
        [rewritten("dvc.yaml", "stages: {trial: {matrix: {seed: 1}}}")],
        "dvc.yaml: stage trial: got Type",
    ),
    "lock of nothing": ([rewritten("dvc.lock", "")], "dvc.lock: stages: got NoneType"),
    "lock without stages": ([rewritten("dvc.lock", "{}")], "dvc.lock: stages: got NoneType"),
    "lock of a conflict": ([rewritten("dvc.lock", "<<<<<<< HEAD\n=======\n")], "dvc.lock: stages: got NoneType"),
    "lock of another kind": ([rewritten("dvc.lock", "stages: {a: {outs: [1]}}")], "dvc.lock: content: got damage"),
    "endless lock": ([rewritten("dvc.lock", "a" * 300_000)], "dvc.lock: size: got more than 262,144 bytes"),
}


@pytest.mark.parametrize(("changes", "told"), OTHER_TRIALS.values(), ids=OTHER_TRIALS)
def test_study_of_other_trials_is_not_summed_up(
    study: Path, changes: list[Callable[[Path], object]], told: str
) -> None:
    for change in changes:
        change(study)
    with pytest.raises(ArtifactError, match=told) as caught:
        refuse_other_trials(study)
    assert len(str(caught.value).splitlines()) == 1


def test_study_of_its_own_trials_is_taken_so_the_test_above_can_fail(study: Path) -> None:
    refuse_other_trials(study)
    free(study)
    refuse_other_trials(study)


def test_model_that_lies_there_twice_is_refused(study: Path) -> None:
    for seed in (1, 3):
        (study / f"trials/compact/{seed}/model.safetensors").write_bytes(b"weights")
    write_lock(study)
    with pytest.raises(ArtifactError, match=r"compact/3: model: got that of .*compact/1, expected its own"):
        refuse_other_trials(study)


def test_summary_of_other_seeds_than_the_study_has_is_refused(study: Path) -> None:
    (study / "dvc.lock").unlink()
    write_pipeline(study, "compact", [1, 2])
    with pytest.raises(ArtifactError, match=r"summary\.json: compact, seed 3: got a trial more, expected those of"):
        read_summary(study, "a summary")
    write_pipeline(study, "compact", [1, 2, 3, 4])
    with pytest.raises(ArtifactError, match=r"summary\.json: compact, seed 4: got a trial less"):
        read_summary(study, "a summary")
    write_pipeline(study, "compact", SEEDS)
    assert read_summary(study, "a summary").seeds == SEEDS


def test_command_names_what_is_missing_and_leaves_the_summary(study: Path) -> None:
    before = (study / "summary.json").read_bytes()
    last_seed_gone(study)
    result = command("study", "summary", cwd=study)
    assert result.returncode == 65
    assert result.stderr.startswith("mnist-dvc: trials/compact/3/metrics.json: file: got nothing, expected what `study")
    assert len(result.stderr.splitlines()) == 1
    assert (study / "summary.json").read_bytes() == before
    write_trial(study, "compact", 3, errors=33)
    result = command("study", "summary", cwd=study)
    assert (result.returncode, result.stderr) == (0, "")
