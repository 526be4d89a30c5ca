"""Every registered network, from its module through `export` to the answers of its file."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnxruntime
import pytest
from exporting import network_input, publish
from helpers import params_of

from mnist_dvc.model import NETWORKS
from mnist_dvc.model.weights import read_model
from mnist_dvc.pipeline.export import export

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mnist_dvc.paths import Paths


def images(count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(1).integers(0, 256, (count, 1, 28, 28), dtype=np.uint8)


@pytest.mark.parametrize("name", NETWORKS)
def test_file_answers_as_the_model_does_for_any_number_of_images(workspace: Paths, name: str) -> None:
    publish(workspace, name)
    export(params_of(name), workspace)
    model, _ = read_model(workspace.model)
    session = onnxruntime.InferenceSession(workspace.onnx, providers=["CPUExecutionProvider"])
    for count in (1, 7, 250):
        images_N1HW = images(count)
        (got_NK,) = session.run(["logits"], {"images": images_N1HW})
        expected_NK = model(network_input(images_N1HW)).detach().numpy()
        assert (got_NK.dtype, got_NK.shape) == (np.float32, (count, 10))
        np.testing.assert_allclose(got_NK, expected_NK, atol=1e-5, rtol=1e-5)
