"""Stage ``export``: the published model as an ONNX file that was seen to give the same answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import exclusive, own_sums, publish, sha256sums
from mnist_dvc.inference import logits_of
from mnist_dvc.onnx import onnx_bytes, properties_of
from mnist_dvc.running.published import published
from mnist_dvc.serving import OnnxModel

if TYPE_CHECKING:
    from torch import nn

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
        ArtifactError: the model is missing, damaged or not the recorded one, of another network than ``model.name`` or
            of other digits, or the answers differ.
        ChangedError: what was read stands there no more.
        DataError: the prepared digits are missing or damaged.
        BusyError: another process works in this workspace.
        OSError: the file cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc export"):
        _export(params, paths)


def _export(params: Params, paths: Paths) -> None:
    taken = published(__name__, params, "export", paths, threads=1)
    split = "validation" if "validation" in taken.prepared else "train"
    digits = Digits.on(torch.device("cpu"), taken.prepared.read(split))
    digits = Digits(digits.images_N1HW[:MOST_IMAGES], digits.labels_N[:MOST_IMAGES])
    content = onnx_bytes(taken.model, params.export.opset, properties_of(taken.card, taken.sha256))
    difference = _difference(content, taken.model, digits, paths)
    if not difference <= params.export.tolerance:  # NaN is not, either
        expected = f"at most {params.export.tolerance:g} from PyTorch's"
        raise ArtifactError(paths.onnx, "logits", got=f"a difference of {difference:.2g}", expected=expected)
    sums = own_sums(paths.onnx)
    with taken.inputs.publishing():
        publish({paths.onnx: content, sums: sha256sums({paths.onnx.name: content})}, sums)
    print(
        f"Exported {taken.card.network}: {len(content) / 1000:.1f} KB, opset {params.export.opset}, logits within "
        f"{difference:.1e} of PyTorch's on {len(digits):,} {split} images  ->  {paths.onnx}"
    )


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
