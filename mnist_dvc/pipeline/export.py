"""Stage ``export``: the published model as an ONNX file that was seen to give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import exclusive, own_sums, recorded_sha256, sha256sums, write_atomically
from mnist_dvc.inference import logits_of
from mnist_dvc.model.weights import read_model
from mnist_dvc.onnx import onnx_bytes
from mnist_dvc.runtime import set_up
from mnist_dvc.serving import OnnxModel

if TYPE_CHECKING:
    from torch import nn

    from mnist_dvc.model.weights import Card
    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths

__all__ = ["export"]

MOST_IMAGES = 1000
BATCH_SIZES = (1, 250)
"""An exporter that takes the number of images for a constant is right for one of them at most."""


def export(params: Params, paths: Paths) -> None:
    """Write the published model as an ONNX file, after comparing its answers with PyTorch's on prepared images.

    The images are those for validation, or to train on where there are none; never those of the test.

    Raises:
        ArtifactError: the model is missing, damaged or not the recorded one, or the answers differ.
        DataError: the prepared digits are missing or damaged.
        BusyError: another process works in this workspace.
        OSError: the file cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc export"):
        _export(params, paths)


def _export(params: Params, paths: Paths) -> None:
    set_up(threads=1)
    model, card = read_model(paths.model)
    properties = _properties(card, paths)
    prepared = Prepared.open(paths.prepared)
    split = "validation" if "validation" in prepared else "train"
    digits = Digits.on(torch.device("cpu"), prepared.read(split))
    digits = Digits(digits.images_N1HW[:MOST_IMAGES], digits.labels_N[:MOST_IMAGES])
    content = onnx_bytes(model, params.export.opset, properties)
    difference = _difference(content, model, digits, paths)
    if not difference <= params.export.tolerance:  # NaN is not, either
        expected = f"at most {params.export.tolerance:g} from PyTorch's"
        raise ArtifactError(paths.onnx, "logits", got=f"a difference of {difference:.2g}", expected=expected)
    write_atomically(own_sums(paths.onnx), sha256sums({paths.onnx.name: content}))  # first: without it none is believed
    write_atomically(paths.onnx, content)
    print(
        f"Exported {card.network}: {len(content) / 1000:.1f} KB, opset {params.export.opset}, logits within "
        f"{difference:.1e} of PyTorch's on {len(digits):,} {split} images  ->  {paths.onnx}"
    )


def _properties(card: Card, paths: Paths) -> dict[str, str]:
    """What the file says of itself; :func:`read_model` has compared the model with the digest on record."""
    recorded = recorded_sha256(paths.model)
    if recorded is None:
        raise ArtifactError(paths.sums, "file", got="nothing", expected="the digests that `train` writes")
    return {
        "network": card.network,
        "dataset": card.dataset,
        "data_digest": card.data_digest,
        "model_sha256": recorded,
    }


def _difference(content: bytes, model: nn.Module, digits: Digits, paths: Paths) -> float:
    """Largest absolute difference between the logits of the ONNX file ``content`` and of ``model``.

    Raises:
        ArtifactError: the model computes no numbers, or an image is taken for another digit.
    """
    images_N1HW, _ = digits.batch(torch.arange(len(digits)))
    expected_NK = logits_of(model, digits, max(BATCH_SIZES)).numpy()
    if not np.isfinite(expected_NK).all():
        raise ArtifactError(paths.model, "logits of the images", got="NaN or infinity", expected="finite numbers")
    exported = OnnxModel.of(content)
    differences = []
    for size in BATCH_SIZES:
        got_NK = exported.logits(images_N1HW.numpy(), size)
        others = int((got_NK.argmax(axis=1) != expected_NK.argmax(axis=1)).sum())
        if others:
            got = f"others than PyTorch's for {others} of {len(digits)} images"
            raise ArtifactError(paths.onnx, "answers", got=got, expected="the same")
        differences.append(np.abs(got_NK - expected_NK).max())
    return float(np.max(differences))
