"""What ships: the files of the released networks are whole, tell of each other, and give the same answers."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from helpers import blobs

from mnist_dvc.data.digits import normalise
from mnist_dvc.describe import describe
from mnist_dvc.description import read_description
from mnist_dvc.files import SUMS, sha256, sha256sums
from mnist_dvc.model.weights import read_model
from mnist_dvc.pretrained import FOLDER, MANIFEST, RELEASED, released_description, released_onnx, released_weights
from mnist_dvc.serving import read_onnx

MANIFEST_OF = json.loads((FOLDER / MANIFEST).read_text())
DATA = {path.name for path in FOLDER.iterdir() if path.suffix not in (".py", "") and path.name != MANIFEST}


def test_digests_of_all_files_are_listed_twice_and_right() -> None:
    told = {name: entry for released in MANIFEST_OF.values() for name, entry in released["files"].items()}
    assert told.keys() == DATA
    for name, entry in told.items():
        content = (FOLDER / name).read_bytes()
        assert entry == {"sha256": sha256(content), "bytes": len(content)}
    assert (FOLDER / SUMS).read_bytes() == sha256sums(
        {name: (FOLDER / name).read_bytes() for name in [*told, MANIFEST]}
    )


@pytest.mark.parametrize("network", RELEASED)
def test_onnx_file_is_that_of_the_weights(network: str) -> None:
    weights, onnx = released_weights(network), read_onnx(released_onnx(network))
    model, card = read_model(weights)
    assert onnx.properties["model_sha256"] == sha256(weights.read_bytes())
    assert (
        (onnx.properties["network"], onnx.properties["dataset"]) == (card.network, card.dataset) == (network, "mnist")
    )
    images_N1HW = blobs(25).images_NHW[:, None]
    with torch.no_grad():
        expected_NK = model(normalise(torch.from_numpy(images_N1HW.astype(np.float32)) / 255)).numpy()
    np.testing.assert_allclose(onnx.logits(images_N1HW, 100), expected_NK, atol=1e-4)


@pytest.mark.parametrize("network", RELEASED)
def test_description_is_that_of_the_network(network: str) -> None:
    model, card = read_model(released_weights(network))
    description = read_description(released_description(network))
    assert description == describe(network, model)
    assert description.total == card.parameters == MANIFEST_OF[network]["parameters"]
