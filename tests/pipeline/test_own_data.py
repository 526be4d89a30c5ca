"""The whole chain on data of one's own whose classes have names: every file says which, and no other is scored."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch
from helpers import NETWORK, PARAMETERS, blobs, idx_bytes, params, raw_digits
from pages import foreign, words

from mnist_dvc.classifier import load
from mnist_dvc.data.prepared import Prepared, write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import name_in, sha256sums
from mnist_dvc.model.weights import read_model, weights_bytes
from mnist_dvc.params import DataParams, Params
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.export import export
from mnist_dvc.pipeline.prepare import prepare
from mnist_dvc.pipeline.report import report
from mnist_dvc.pipeline.train import train
from mnist_dvc.serving import read_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

NAMES = ("apple", "pear / $x$", "a quince of more than fourteen letters")


def chosen() -> Params:
    data = DataParams(source="fruits", validation=30, holdout="random", seed=0)
    return params(epochs=1, learning_rate=0.002).model_copy(update={"data": data})


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace in which every stage ran on three classes, not to be touched."""
    root = tmp_path_factory.mktemp("made")
    (root / "fruits").mkdir()
    for part, digits in (("train", blobs(30, seed=1)), ("test", blobs(5, seed=2))):
        (root / f"fruits/{part}-images-idx3-ubyte").write_bytes(idx_bytes(digits.images_NHW))
        (root / f"fruits/{part}-labels-idx1-ubyte").write_bytes(idx_bytes(digits.labels_N % 3))
    (root / "fruits/classes.txt").write_text("\n".join(NAMES))
    for stage in (prepare, train, evaluate, report, export):
        stage(chosen(), Paths(root))
    return root


@pytest.fixture
def paths(made: Path, tmp_path: Path) -> Paths:
    """A copy of it to do with as one likes."""
    return Paths(shutil.copytree(made, tmp_path / "copy"))


def test_manifest_metrics_and_model_files_say_which_data_set_and_which_classes(made: Path) -> None:
    paths = Paths(made)
    manifest = json.loads((paths.prepared / "manifest.json").read_text())
    assert (manifest["dataset"], tuple(manifest["classes"])) == ("fruits", NAMES)
    assert manifest["splits"]["test"]["per_class"] == [20, 15, 15, 0, 0, 0, 0, 0, 0, 0]
    for told in (paths.test_metrics, paths.metrics, paths.export_metrics):
        assert json.loads(told.read_text())["dataset"] == "fruits"
    assert json.loads(paths.train_metrics.read_text())["trained_on"] == "fruits"
    _, card = read_model(paths.model)
    about = torch.load(paths.checkpoint, weights_only=True)["about"]
    assert (card.dataset, card.classes) == (about["dataset"], tuple(about["classes"])) == ("fruits", NAMES)
    properties = read_onnx(paths.onnx).properties
    assert (properties["dataset"], tuple(json.loads(properties["classes"]))) == ("fruits", NAMES)


def test_every_kind_of_model_answers_with_the_names(made: Path) -> None:
    paths = Paths(made)
    for model in (paths.model, paths.onnx):
        classifier = load(model)
        assert classifier.classes == (*NAMES, *map(str, range(3, 10)))
        answer = classifier.classify(Prepared.open(paths.prepared).read("test").images_NHW[0])
        assert answer.name == classifier.classes[answer.digit]


def test_card_and_page_speak_of_these_classes_and_of_no_digits(made: Path) -> None:
    card = Paths(made).model_card.read_text(encoding="utf-8")
    assert f"# {NETWORK}: fruits with {PARAMETERS} parameters" in card
    assert "| classes | 0: `apple`, 1: `pear / $x$`, 2: `a quince of more than fourteen letters` |" in card
    assert "270 images of `fruits`, a folder of its maker's own. **Not MNIST:" in card
    assert "digits" not in card.replace("digits = logits", "").replace("prepared digits", "")
    page = Paths(made).report_page.read_text(encoding="utf-8")
    shown = words(page)
    assert f"fruits with {PARAMETERS} parameters" in shown
    assert "This is not a result on MNIST." in shown
    assert "small sample" not in shown
    for name in NAMES:
        assert f"{name} → " in shown or f" → {name}" in shown
        assert f"actual {name}, read as " in shown
    assert foreign(page) == []


def test_model_of_mnist_is_never_scored_on_it_nor_this_one_on_mnist(paths: Paths) -> None:
    raw = raw_digits()
    write_prepared(paths.prepared, raw, split(raw, validation=100, seed=0), validation=100, seed=0)
    with pytest.raises(ArtifactError, match=r"trained on: got fruits \(.*\), expected the prepared mnist \(.*\); run"):
        evaluate(chosen(), paths)
    train(params(epochs=1), paths)
    prepare(chosen(), paths)
    with pytest.raises(ArtifactError, match=r"trained on: got mnist \(.*\), expected the prepared fruits \(.*\); run"):
        evaluate(chosen(), paths)


@pytest.mark.parametrize("stage", [evaluate, report, export])
def test_model_that_names_other_classes_is_refused(paths: Paths, stage: Callable[[Params, Paths], None]) -> None:
    """A model file may come from anyone; the names that are shown are those of the prepared manifest."""
    model, card = read_model(paths.model)
    other = weights_bytes(model.state_dict(), replace(card, classes=("<b>", "x")))
    paths.model.write_bytes(other)
    contents = {name_in(paths.sums, path): path.read_bytes() for path in (paths.model, paths.checkpoint, paths.history)}
    paths.sums.write_bytes(sha256sums(contents))
    with pytest.raises(ArtifactError, match="classes: got <b>, x, expected apple, "):
        stage(chosen(), paths)


def test_digits_of_ones_own_are_called_digits(tmp_path: Path) -> None:
    """The twin: without names nothing is said of classes, in any file, as of MNIST."""
    paths, raw = Paths(tmp_path), raw_digits(dataset="mine")
    write_prepared(paths.prepared, raw, split(raw, validation=100, seed=0), validation=100, seed=0)
    for stage in (train, evaluate, export):
        stage(chosen(), paths)
    assert Prepared.open(paths.prepared).classes == ()
    assert "classes" not in json.loads((paths.prepared / "manifest.json").read_text())
    assert b"classes" not in paths.model.read_bytes()
    assert "classes" not in read_onnx(paths.onnx).properties
    card = paths.model_card.read_text(encoding="utf-8")
    assert f"# {NETWORK}: handwritten digits with" in card
    assert "300 images of `mine`, a folder of its maker's own." in card
