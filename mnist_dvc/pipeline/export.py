"""Stage ``export``: the published model as an ONNX file that was seen to give the same answers, and its model card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import SUMS, exclusive, json_bytes, own_sums, publish, sha256, sha256sums
from mnist_dvc.graph import checked
from mnist_dvc.inference import logits_of
from mnist_dvc.onnx import onnx_bytes, properties_of
from mnist_dvc.report.model_card import TEMPLATE, Facts, model_card
from mnist_dvc.running.evaluated import read_result
from mnist_dvc.running.inputs import Inputs
from mnist_dvc.running.published import published
from mnist_dvc.serving import OnnxModel

if TYPE_CHECKING:
    from pathlib import Path

    from torch import nn

    from mnist_dvc.model.weights import Card
    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["export"]

MOST_IMAGES = 10_000
BATCH_SIZES = (1, 250)
"""An exporter that takes the number of images for a constant is right for one of them at most."""


@dataclass(frozen=True, slots=True)
class _Comparison:
    """The answers of an ONNX file beside those of the model; the worst over all batch sizes."""

    images: int
    differing_answers: int
    largest_difference: float
    """Of a logit, absolute; NaN where one is no number."""


def export(params: Params, paths: Paths) -> None:
    """Write the published model as an ONNX file, after comparing its answers with PyTorch's on training images.

    Those are the first 10,000, or all if there are fewer; never those of the test. A model card goes with the file,
    and the figures of the comparison.

    Raises:
        ArtifactError: the model is missing, damaged or not the recorded one, of another network than ``model.name`` or
            of other digits, the answers differ, ``predict`` would refuse the file, or the metrics of the test are
            missing, damaged or of another model.
        ChangedError: what was read stands there no more.
        DataError: the prepared digits are missing or damaged.
        BusyError: another process works in this workspace.
        OSError: the file cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc export", paths.root):
        _export(params, paths)


def _export(params: Params, paths: Paths) -> None:
    read = (paths.test_metrics, paths.test_report / SUMS, TEMPLATE)
    beside = Inputs.of(__name__, params, ("train",), read)
    taken = published(__name__, params, "export", paths, threads=1)
    scores = read_result(paths, taken)
    training = Digits.on(torch.device("cpu"), taken.prepared.read("train"))
    digits = Digits(training.images_N1HW[:MOST_IMAGES], training.labels_N[:MOST_IMAGES])
    content = onnx_bytes(taken.model, params.export.opset, properties_of(taken.card, taken.sha256))
    comparison = _compare(content, taken.model, digits, paths.model)
    checked(content, paths.onnx)  # so that `predict` reads it
    _refuse_difference(comparison, params.export.tolerance, paths.onnx)
    metrics = _metrics(taken.card, comparison, content, params.export.opset)
    facts = Facts(
        card=taken.card,
        training_images=len(training),
        recipe=params.train.model_dump(),
        scores=scores,
        parity=metrics,
        digests={paths.onnx.name: sha256(content), paths.model.name: taken.sha256},
    )
    sums = own_sums(paths.onnx)
    outputs = {
        paths.onnx: content,
        paths.model_card: model_card(facts),
        paths.export_metrics: json_bytes(metrics),
        sums: sha256sums({paths.onnx.name: content}),
    }
    with beside.publishing(), taken.inputs.publishing():
        publish(outputs, sums)
    print(
        f"Exported {taken.card.network}: {len(content) / 1000:.1f} KB, opset {params.export.opset}, same answers and "
        f"logits within {comparison.largest_difference:.1e} of PyTorch's on {len(digits):,} training images  ->  "
        f"{paths.onnx}"
    )


def _metrics(card: Card, comparison: _Comparison, content: bytes, opset: int) -> dict[str, Any]:
    told = {"dataset": card.dataset, "network": card.network}
    return told | asdict(comparison) | {"bytes": len(content), "opset": opset}


def _compare(content: bytes, model: nn.Module, digits: Digits, where: Path) -> _Comparison:
    """Ask the ONNX file ``content`` and ``model``, which lies at ``where``, about the same images.

    Raises:
        ArtifactError: the model computes no numbers.
    """
    expected_NK = logits_of(model, digits, max(BATCH_SIZES)).numpy()
    if not np.isfinite(expected_NK).all():
        raise ArtifactError(where, "logits of the images", got="NaN or infinity", expected="finite numbers")
    exported = OnnxModel.of(content)
    others, differences = [], []
    for size in BATCH_SIZES:
        got_NK = exported.logits(digits.images_N1HW.numpy(), size)
        others.append(int((got_NK.argmax(axis=1) != expected_NK.argmax(axis=1)).sum()))
        differences.append(np.abs(got_NK - expected_NK).max())
    return _Comparison(len(digits), max(others), float(np.max(differences)))


def _refuse_difference(comparison: _Comparison, tolerance: float, where: Path) -> None:
    """Let no file be written that answers otherwise.

    Raises:
        ArtifactError: an image is taken for another digit, or a logit is off by more than ``tolerance``.
    """
    if comparison.differing_answers:
        got = f"others than PyTorch's for {comparison.differing_answers} of {comparison.images} images"
        raise ArtifactError(where, "answers", got=got, expected="the same")
    if not comparison.largest_difference <= tolerance:  # NaN is not, either
        got, expected = f"a difference of {comparison.largest_difference:.2g}", f"at most {tolerance:g} from PyTorch's"
        raise ArtifactError(where, "logits", got=got, expected=expected)
