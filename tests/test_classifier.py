"""The Python interface: what `predict` answers with, for pictures and for arrays."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
import torch
from helpers import blobs
from PIL import Image

import mnist_dvc
from mnist_dvc.classifier import SURE, Answer, Classifier, load
from mnist_dvc.errors import ArtifactError, DataError, ImageError
from mnist_dvc.files import BLANK, sealed
from mnist_dvc.image import read_picture
from mnist_dvc.model import build
from mnist_dvc.model.weights import Card, weights_bytes
from mnist_dvc.params import ModelParams
from mnist_dvc.pretrained import RELEASED, released_onnx, released_weights
from mnist_dvc.serving import SEAL

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from numpy.typing import NDArray

IMAGES_NHW = blobs(25).images_NHW
"""More than a batch."""


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "one.png"
    pixels_HW = np.full((40, 40), 255, np.uint8)
    pixels_HW[6:34, 18:22] = 0
    Image.fromarray(pixels_HW).save(path)
    return path


def test_picture_is_answered(picture: Path) -> None:
    answer = mnist_dvc.load().classify(picture)
    assert (answer.digit, answer.inverted) == (1, True)
    assert answer.confidence == max(answer.probabilities) > 0.9
    assert sum(answer.probabilities) == pytest.approx(1.0)
    assert len(answer.probabilities) == 10


def test_picture_is_answered_as_its_pixels_are(picture: Path) -> None:
    classifier = load()
    (expected_K,) = classifier.probabilities(read_picture(picture).pixels_HW[None])
    assert classifier.classify(str(picture)).probabilities == tuple(expected_K)


@pytest.mark.parametrize("network", RELEASED)
def test_released_networks_are_known_by_name_and_answer_as_their_weights_do(network: str) -> None:
    by_name, by_file = load(network), load(released_onnx(network))
    np.testing.assert_array_equal(by_name.probabilities(IMAGES_NHW), by_file.probabilities(IMAGES_NHW))
    in_torch = load(released_weights(network)).probabilities(IMAGES_NHW)
    np.testing.assert_allclose(by_name.probabilities(IMAGES_NHW), in_torch, atol=1e-4)


def test_released_networks_differ_so_the_test_above_can_fail() -> None:
    one, other = (load(network).probabilities(IMAGES_NHW) for network in RELEASED)
    assert not np.allclose(one, other, atol=1e-4)


def test_bytes_and_fractions_mean_the_same() -> None:
    classifier = load()
    for kind in (np.float64, np.float32, np.float16):
        fractions_NHW: NDArray[Any] = (IMAGES_NHW / 255).astype(kind)
        in_bytes, in_fractions = classifier.probabilities(IMAGES_NHW), classifier.probabilities(fractions_NHW)
        np.testing.assert_array_equal(in_bytes, in_fractions)


@pytest.mark.parametrize("file", [released_onnx("compact"), released_weights("compact")], ids=["onnx", "torch"])
def test_layout_of_an_array_does_not_matter(file: Path) -> None:
    """A view that is turned, mirrored or not to be written to, as it comes from other libraries."""
    classifier = load(file)
    turned_NHW, mirrored_NHW = IMAGES_NHW.transpose(0, 2, 1), IMAGES_NHW[:, ::-1, ::-1]
    kept_NHW = IMAGES_NHW.copy()
    kept_NHW.flags.writeable = False
    for view_NHW in (turned_NHW, mirrored_NHW, kept_NHW):
        expected_NK = classifier.probabilities(view_NHW.copy(order="C"))
        np.testing.assert_allclose(classifier.probabilities(view_NHW), expected_NK, atol=1e-6)
    straight_NK = classifier.probabilities(IMAGES_NHW)
    for view_NHW in (turned_NHW, mirrored_NHW):  # so the loop above can fail
        assert not np.allclose(classifier.probabilities(view_NHW), straight_NK, atol=1e-6)


def test_answers_do_not_depend_on_the_company() -> None:
    classifier = load()
    alone = [classifier.probabilities(image_HW[None])[0] for image_HW in IMAGES_NHW[:3]]
    np.testing.assert_allclose(classifier.probabilities(IMAGES_NHW)[:3], alone, atol=1e-6)
    assert classifier.probabilities(IMAGES_NHW[:0]).shape == (0, 10)


@pytest.mark.parametrize(
    ("images_NHW", "message"),
    [
        (np.zeros((28, 28), np.uint8), r"images: shape: got \(28, 28\), expected \(N, 28, 28\)"),
        (np.zeros((3, 27, 28), np.uint8), r"images: shape: got \(3, 27, 28\)"),
        (np.zeros((3, 28, 28), np.int64), "images: type: got int64, expected uint8, or floating point"),
        (np.full((1, 28, 28), 255.0), "images: values: got some outside of it, expected 0 to 1"),
        (np.full((1, 28, 28), np.nan), "images: values: got some outside of it, expected 0 to 1"),
    ],
    ids=["one image", "27 rows", "whole numbers", "fractions of 255", "no number"],
)
def test_other_arrays_are_refused(images_NHW: NDArray[Any], message: str) -> None:
    with pytest.raises(DataError, match=message):
        load().probabilities(images_NHW)


def test_network_that_computes_no_numbers_is_refused(tmp_path: Path) -> None:
    classifier = Classifier(
        lambda images_N1HW: np.full((len(images_N1HW), 10), np.inf, np.float32), tmp_path / "x.onnx"
    )
    with pytest.raises(ArtifactError, match="x.onnx: answers: got values that are no numbers"):
        classifier.probabilities(IMAGES_NHW)


def opened(path: Path) -> Image.Image:
    image = Image.open(path)
    image.load()
    return image


@pytest.mark.parametrize(
    "given", [str, lambda path: path, lambda path: path.read_bytes(), opened], ids=["text", "path", "bytes", "PIL"]
)
def test_picture_is_taken_in_any_form(picture: Path, given: Callable[[Path], Any]) -> None:
    classifier = load()
    expected = classifier.classify(picture)
    assert (expected.name, expected.unsure, expected.box) == ("1", False, (18, 6, 22, 34))
    assert classifier.classify(given(picture)) == expected
    assert classifier.read(given(picture)) == [expected]
    assert classifier.classify([given(picture), picture]) == [expected] * 2


def test_arrays_are_answered_one_or_many() -> None:
    classifier = load()
    expected_NK = classifier.probabilities(IMAGES_NHW)
    many, one = classifier.classify(IMAGES_NHW), classifier.classify(IMAGES_NHW[0] / 255)
    np.testing.assert_array_equal([answer.probabilities for answer in many], expected_NK)
    np.testing.assert_allclose(one.probabilities, expected_NK[0], atol=1e-6)
    assert [answer.digit for answer in many] == expected_NK.argmax(axis=1).tolist()
    assert (one.inverted, one.box, one.name) == (False, None, str(one.digit))
    assert classifier.classify(image_HW for image_HW in IMAGES_NHW[:2])[1].digit == many[1].digit
    assert classifier.classify(IMAGES_NHW[:0]) == classifier.classify([]) == []


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (7, "picture: type: got int, expected a path, the bytes of a picture file, an image of PIL, or an array"),
        ([7], "picture 0: type: got int"),
        ([np.zeros((28, 28), np.uint8), np.zeros((1, 28, 28), np.uint8)], r"picture 1: shape: got \(1, 28, 28\)"),
        (np.zeros((20, 20), np.uint8), r"images: shape: got \(1, 20, 20\), expected \(N, 28, 28\)"),
        (np.zeros((1, 1, 28, 28), np.uint8), r"images: shape: got \(1, 1, 28, 28\)"),
        (np.zeros((28, 28), np.int64), "images: type: got int64"),
    ],
    ids=["number", "numbers", "batch among pictures", "small", "four axes", "whole numbers"],
)
def test_what_is_no_picture_is_refused(given: Any, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load().classify(given)


@pytest.mark.parametrize("given", [b"a seven", Image.new("L", (40, 40), 255)], ids=["bytes", "blank"])
def test_bad_picture_is_refused_and_its_place_told(picture: Path, given: Any) -> None:
    with pytest.raises(ImageError, match=r"^picture: "):
        load().classify(given)
    with pytest.raises(ImageError, match=r"^picture 1: "):
        load().classify([picture, given])
    with pytest.raises(ImageError, match=r"^picture: "):
        load().read(given)


@pytest.mark.parametrize(("confidence", "unsure"), [(SURE, False), (SURE - 1e-9, True)])
def test_answer_below_the_threshold_is_unsure(confidence: float, *, unsure: bool) -> None:
    assert Answer(0, "0", (confidence, 1 - confidence)).unsure == unsure


# --------------------------------------------------------------------------------------------------- names of classes


def onnx_with(folder: Path, **properties: str) -> Path:
    """The released network with more to say of itself."""
    proto = onnx.load_from_string(released_onnx("compact").read_bytes())
    told = {entry.key: entry.value for entry in proto.metadata_props} | properties | {SEAL: BLANK}
    del proto.metadata_props[:]
    onnx.helper.set_model_props(proto, told)
    path = folder / "model.onnx"
    path.write_bytes(sealed(proto.SerializeToString(deterministic=True)))
    return path


def test_classes_that_are_no_digits_are_called_by_their_names(tmp_path: Path, picture: Path) -> None:
    path = onnx_with(tmp_path, classes=json.dumps(["top", "trouser", "pullover"]))
    answer = load(path).classify(picture)
    assert (answer.digit, answer.name) == (1, "trouser")
    assert load(path).classes == ("top", "trouser", "pullover", "3", "4", "5", "6", "7", "8", "9")
    assert load(onnx_with(tmp_path)).classify(picture).name == "1"


A_LIST = "classes: got .*, expected a list of 2 to 10 names, each of at most 60 characters"
CLASSES = {
    "top": A_LIST,
    '{"1": "top"}': A_LIST,
    "[1, 2]": A_LIST,
    '"top"': A_LIST,
    '["one"]': A_LIST,
    json.dumps(["x"] * 11): A_LIST,
    json.dumps(["a\nb", "c"]): A_LIST,
    json.dumps(["x" * 61, "c"]): A_LIST,
    "[" * 1_000: A_LIST,
    '["x", "x"]': "classes: got .*, expected names that differ",
    "[" * 100_000: "property classes: got 100,000 characters, expected at most 2,000",
}


@pytest.mark.parametrize("classes", CLASSES, ids=range(len(CLASSES)))
def test_classes_that_are_no_names_are_refused(tmp_path: Path, classes: str) -> None:
    with pytest.raises(ArtifactError, match=f"model.onnx: .*{CLASSES[classes]}"):
        load(onnx_with(tmp_path, classes=classes))


def test_classes_of_a_model_file_that_are_no_names_are_refused(tmp_path: Path) -> None:
    state = dict(build(ModelParams(name="compact", dropout=0.0), torch.Generator().manual_seed(0)).state_dict())
    for classes in (("x",) * 10, ("a\nb", "c"), ("one",)):
        card = Card("compact", 19_706, "mnist", "d" * 64, {}, classes)
        (tmp_path / "model.safetensors").write_bytes(weights_bytes(state, card))
        with pytest.raises(ArtifactError, match="model.safetensors: classes: got "):
            load(tmp_path / "model.safetensors")


# ------------------------------------------------------------------------------------------------------------- refusals


@pytest.mark.parametrize(("name", "hint"), [("compat", "; did you mean compact?"), ("sprint", "")])
def test_name_of_no_released_network_is_refused(name: str, hint: str) -> None:
    with pytest.raises(ArtifactError) as caught:
        load(name)
    expected = f"a model file, or a released network (compact, reference){hint}"
    assert str(caught.value) == f"{name}: model: got no file, expected {expected}"


def test_picture_or_model_that_is_missing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match="missing.png"):
        load().classify(tmp_path / "missing.png")
    with pytest.raises(ArtifactError, match="missing.onnx: file: got nothing"):
        load(tmp_path / "missing.onnx")


def test_package_offers_the_classifier_and_imports_it_on_demand() -> None:
    script = "import sys, mnist_dvc\nprint('numpy' in sys.modules)\nmnist_dvc.load\nprint('numpy' in sys.modules)"
    told = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.split()
    assert told == ["False", "True"]
    assert all(hasattr(mnist_dvc, name) for name in mnist_dvc.__all__)
    assert set(mnist_dvc.__all__) <= set(dir(mnist_dvc))
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        mnist_dvc.nonsense  # noqa: B018
