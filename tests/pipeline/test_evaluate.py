from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from helpers import NO_FILES, PARAMETERS, copy_of, params, prepared_workspace, raw_digits, read_csv

from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError, DataError
from mnist_dvc.files import name_in, sha256sums
from mnist_dvc.model.weights import read_model, weights_bytes
from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.train import train
from mnist_dvc.running.history import read_history

if TYPE_CHECKING:
    from pathlib import Path

    from mnist_dvc.paths import Paths

OUTPUTS = (
    "metrics.json",
    "SHA256SUMS",
    "predictions.csv",
    "classes.csv",
    "curves.png",
    "confusion.png",
    "mistakes.png",
)
KEYS = ["dataset", "accuracy", "errors", "images", "accuracy_low", "accuracy_high", "nll", "brier", "ece", "parameters"]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    paths = prepared_workspace(tmp_path_factory.mktemp("template"))
    train(params(epochs=4, batch_size=20), paths)
    return paths


@pytest.fixture
def trained(template: Paths, tmp_path: Path) -> Paths:
    return copy_of(template, tmp_path)


def test_every_output_is_written_and_the_result_told(trained: Paths, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(params(), trained)
    assert sorted(path.name for path in trained.test_report.iterdir()) == sorted(OUTPUTS)
    assert "errors in 100 images; 95 % interval" in capsys.readouterr().out


def test_metrics_are_those_of_the_predictions(trained: Paths) -> None:
    evaluate(params(), trained)
    metrics = json.loads((trained.test_report / "metrics.json").read_text())
    assert list(metrics) == KEYS
    assert (metrics["dataset"], metrics["images"], metrics["parameters"]) == ("mnist", 100, PARAMETERS)
    rows = read_csv(trained.test_report / "predictions.csv")
    assert [int(row["index"]) for row in rows] == list(range(100))
    wrong = sum(row["actual"] != row["predicted"] for row in rows)
    assert metrics["errors"] == wrong
    assert math.isclose(metrics["accuracy"], 1 - wrong / 100)
    labels = Prepared.open(trained.prepared).read("test").labels_N
    np.testing.assert_array_equal([int(row["actual"]) for row in rows], labels)
    classes = read_csv(trained.test_report / "classes.csv")
    assert [row["images"] for row in classes] == ["10"] * 10


def test_twice_the_same_bytes(trained: Paths) -> None:
    runs = []
    for _ in range(2):
        evaluate(params(), trained)
        runs.append([hashlib.sha256((trained.test_report / name).read_bytes()).hexdigest() for name in OUTPUTS])
    assert runs[0] == runs[1]


def test_chunk_size_does_not_change_the_answers(trained: Paths) -> None:
    results = []
    for size in (7, 100):
        chosen = params()
        evaluate(
            chosen.model_copy(update={"evaluate": chosen.evaluate.model_copy(update={"batch_size": size})}), trained
        )
        results.append(json.loads((trained.test_report / "metrics.json").read_text()))
    assert results[0]["errors"] == results[1]["errors"]
    assert results[0]["nll"] == pytest.approx(results[1]["nll"], rel=1e-4)


def test_training_without_validation_can_be_evaluated(workspace: Paths) -> None:
    raw = raw_digits()
    write_prepared(workspace.prepared, raw, split(raw, validation=0, seed=0), validation=0, seed=0)
    train(params(), workspace)
    assert next(workspace.dated_checkpoints.iterdir()).name.endswith("_accnone.pth")
    metrics = json.loads((workspace.train_metrics).read_text())
    assert "val_accuracy" not in metrics
    evaluate(params(), workspace)
    assert (trained_curves := workspace.test_report / "curves.png").stat().st_size > 1000, trained_curves


def test_model_of_other_data_is_never_scored(trained: Paths) -> None:
    """The 5,000 sample digits are MNIST training images: a network trained on MNIST has seen them all."""
    raw = raw_digits(dataset="mnist-5k")
    write_prepared(trained.prepared, raw, split(raw, validation=100, seed=0), validation=100, seed=0)
    with pytest.raises(
        ArtifactError, match=r"data it was trained on: got mnist \(.*\), expected the prepared mnist-5k"
    ):
        evaluate(params(), trained)
    assert not trained.test_report.exists()


def test_model_of_another_split_is_never_scored(trained: Paths) -> None:
    raw = raw_digits()
    write_prepared(trained.prepared, raw, split(raw, validation=100, seed=1), validation=100, seed=1)
    with pytest.raises(ArtifactError, match="data it was trained on"):
        evaluate(params(), trained)


def on_record(paths: Paths, contents: dict[Path, bytes]) -> None:
    """Put files in place as `train` would have written them."""
    for path, content in contents.items():
        path.write_bytes(content)
    paths.sums.write_bytes(sha256sums({name_in(paths.sums, path): content for path, content in contents.items()}))


@pytest.mark.parametrize("content", [b"", b"epoch,train_loss\n1,abc\n", b"\x00" * 100, b"\x1b[31m"])
def test_any_other_history_is_refused(trained: Paths, content: bytes) -> None:
    trained.history.write_bytes(content)
    with pytest.raises(ArtifactError, match=r"history\.csv: SHA-256: got .*, expected .*, as in .*models/SHA256SUMS"):
        evaluate(params(), trained)
    assert not trained.test_report.exists()


def test_recorded_history_is_taken_so_the_test_above_can_fail(trained: Paths) -> None:
    rows = b"epoch,train_loss,val_loss,train_accuracy,val_accuracy,lr\n1,2.0,,0.25,,0.01\n2,1.0,,0.75,,0.001\n"
    on_record(trained, {trained.model: trained.model.read_bytes(), trained.history: rows})
    evaluate(params(), trained)
    assert list(read_history(trained.history, trained.sums)) == ["epoch", "train_loss", "train_accuracy", "lr"]


@pytest.mark.parametrize("kind", ["pipe", "folder", "device"])
def test_history_that_is_no_file_is_refused_without_waiting(trained: Paths, kind: str) -> None:
    trained.history.unlink()
    NO_FILES[kind](trained.history)
    with pytest.raises(ArtifactError, match="file: got something else than a file"):
        evaluate(params(), trained)


def test_model_without_its_digests_is_refused(trained: Paths) -> None:
    """What a process leaves that was killed while it published."""
    trained.sums.unlink()
    with pytest.raises(ArtifactError, match="SHA256SUMS: file: got nothing, expected the digests that `train` writes"):
        evaluate(params(), trained)


def test_missing_inputs_say_what_makes_them(trained: Paths) -> None:
    trained.history.unlink()
    with pytest.raises(ArtifactError, match="the history that `train` writes"):
        evaluate(params(), trained)
    trained.model.unlink()
    with pytest.raises(ArtifactError, match="the model that `train` writes"):
        evaluate(params(), trained)


def test_damaged_test_images_are_refused(trained: Paths) -> None:
    path = trained.prepared / "digits.npz"
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(DataError, match="got damage"):
        evaluate(params(), trained)


def test_another_model_than_the_recorded_one_is_refused(trained: Paths) -> None:
    """A whole model of the same data in the place of the one that the commit names, as a changed cache delivers it."""
    record = trained.sums.read_bytes()
    train(params(seed=2), trained)
    trained.sums.write_bytes(record)
    with pytest.raises(ArtifactError, match="as in SHA256SUMS beside it"):
        evaluate(params(), trained)
    assert not trained.test_report.exists()


def test_model_that_computes_no_numbers_is_refused(trained: Paths) -> None:
    """Its weights are finite; what comes of them is not."""
    model, card = read_model(trained.model)
    state = {name: torch.full_like(t, 1e38) if t.ndim > 1 else t for name, t in model.state_dict().items()}
    content = weights_bytes(state, card)
    on_record(trained, {trained.model: content, trained.history: trained.history.read_bytes()})
    with pytest.raises(ArtifactError, match="logits of the test images: got NaN or infinity"):
        evaluate(params(), trained)
    assert not trained.test_report.exists()
