"""An ONNX file of anybody, with a digest that fits, is refused in one line unless our exporter could write it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import graphs
import numpy as np
import onnx
import pytest
from graphs import changed, good, insert, message
from graphs_table import HOSTILE, INTERFACE, PLAIN, content_of, many_nodes
from helpers import posix
from hostile_graphs import IMAGES_N1HW, codes_of, outcomes
from onnx import helper

from mnist_dvc import graph
from mnist_dvc.classifier import load
from mnist_dvc.errors import ArtifactError
from mnist_dvc.graph import IR_VERSIONS, OPSETS, PROPERTIES, checked
from mnist_dvc.model.weights import Card
from mnist_dvc.onnx import properties_of
from mnist_dvc.params import ExportParams
from mnist_dvc.pretrained import RELEASED, released_onnx, released_sha256
from mnist_dvc.serving import SEAL, OnnxModel, read_onnx

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.mark.parametrize("name", HOSTILE)
def test_what_our_exporter_does_not_write_is_refused(tmp_path: Path, name: str) -> None:
    path = tmp_path / "model.onnx"
    path.write_bytes(content_of(name))
    with pytest.raises(ArtifactError, match=f"model.onnx: .*{HOSTILE[name]}") as caught:
        read_onnx(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1_500


# ----------------------------------------------------------------------------------------------------------- the twins


def unguarded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "checked", lambda content, _: content)


def written(folder: Path, change: Callable[[onnx.ModelProto], object]) -> Path:
    path = folder / "model.onnx"
    path.write_bytes(changed(change))
    return path


def test_good_file_is_read_so_it_is_the_change_that_is_refused(tmp_path: Path) -> None:
    read = read_onnx(written(tmp_path, lambda _: None))
    expected = OnnxModel.of(released_onnx("compact").read_bytes())
    np.testing.assert_array_equal(read.logits(IMAGES_N1HW, 7), expected.logits(IMAGES_N1HW, 7))


def foreign(model: onnx.ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))
    insert(model, "QuickGelu", domain="com.microsoft")


RUNS: dict[str, Callable[[onnx.ModelProto], object]] = {
    "loop": partial(graphs.loop, times=3),
    "nested functions": partial(graphs.functions, depth=3),
    "operator of another domain": foreign,
    "numbers out of nothing": partial(graphs.zeros, numbers=1_000_000),
    "100 classes": partial(graphs.classes, count=100, told=100),
    "infinity": partial(graphs.valued, value=np.inf),
    "many nodes": many_nodes,
    "broadcast": lambda m: graphs.widened(m, 2_000),
}


@pytest.mark.parametrize("name", RUNS)
def test_without_the_guard_the_runtime_would_take_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    unguarded(monkeypatch)
    assert read_onnx(written(tmp_path, RUNS[name])).logits(IMAGES_N1HW, 7).shape[0] == 7


def test_without_the_guard_weights_would_come_out_of_the_working_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    unguarded(monkeypatch)
    monkeypatch.chdir(tmp_path)
    path, answers = written(tmp_path, graphs.outside), []
    for value in (0.0, 0.1):
        (tmp_path / "weights.bin").write_bytes(np.full(400, value, np.float32).tobytes())
        answers.append(read_onnx(path).logits(IMAGES_N1HW, 7))
    assert not np.array_equal(answers[0], answers[1])


def test_network_of_100_classes_gives_no_digit_70(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second look, at the answers themselves."""
    unguarded(monkeypatch)
    classifier = load(written(tmp_path, partial(graphs.classes, count=100, told=100)))
    with pytest.raises(ArtifactError, match=r"answers: got \(7, 100\), expected \(7, 10\)"):
        classifier.probabilities(IMAGES_N1HW[:, 0])


def test_what_was_not_looked_at_is_not_run() -> None:
    """Fields that nobody knows, and shapes that the file claims, do not reach the runtime."""
    unknown = PLAIN + message(99, b"unknown") + message(7, message(99, b"unknown"))
    with pytest.raises(ArtifactError, match=INTERFACE):  # the second graph is merged into the first, with its inputs
        checked(unknown + message(7, good().graph.SerializeToString()), released_onnx("compact"))
    passed = checked(unknown, released_onnx("compact"))
    assert b"unknown" not in passed
    assert not onnx.load_from_string(passed).graph.value_info


def test_released_files_are_known_by_their_digest_under_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(graph, "checked", lambda _, where: pytest.fail(f"{where} was looked into"))
    for network in RELEASED:
        copy = tmp_path / f"{network}.onnx"
        copy.write_bytes(released_onnx(network).read_bytes())
        assert load(copy).probabilities(IMAGES_N1HW[:, 0]).shape == (7, 10)
    with pytest.raises(pytest.fail.Exception, match="was looked into"):
        load(written(tmp_path, lambda _: None))


@pytest.mark.parametrize("network", RELEASED)
def test_released_files_pass_the_check_too(network: str) -> None:
    content = released_onnx(network).read_bytes()
    assert OnnxModel.of(checked(content, released_onnx(network))).properties["network"] == network
    assert len(released_sha256()) == len(RELEASED)


def test_bounds_are_those_of_the_params_and_of_what_export_says() -> None:
    told = ExportParams.model_json_schema()["properties"]["opset"]
    assert (OPSETS[0], OPSETS[-1]) == (told["minimum"], told["maximum"])
    card = Card("compact", 19_706, "mnist", "d" * 64, {}, ("a", "b"))
    assert {*properties_of(card, "d" * 64), SEAL} == {*PROPERTIES}
    assert good().ir_version in IR_VERSIONS


NAMED = ("endless loop", "nested functions", "3 GB of zeros", "operator of another domain", "weights in another file")
"""The worst of them; all others go through the command in `tests/faults/test_hostile_graphs.py`."""


@posix
def test_command_ends_in_65_and_one_line_under_a_limit(tmp_path: Path) -> None:
    codes = codes_of({name: content_of(name) for name in (*NAMED, "100 classes", "broadcast to 15 GB")}, tmp_path)
    assert {*codes.values()} == {65}


def test_any_bytes_with_a_digest_are_refused_or_answer(tmp_path: Path) -> None:
    refused, answered = outcomes(tmp_path, seed=0, count=200)
    assert min(refused, answered) > 10
