"""The registered networks from Python: their names without PyTorch, their modules with it."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from helpers import blobs

import mnist_dvc
from mnist_dvc.data.digits import normalise
from mnist_dvc.errors import ParamsError
from mnist_dvc.model import NETWORKS
from mnist_dvc.pretrained import RELEASED

IMAGES_NHW = blobs(2).images_NHW


def test_names_are_those_of_the_registry() -> None:
    """A network that is new in ``mnist_dvc/model`` needs its name in ``NAMES`` of ``mnist_dvc/registry.py``."""
    assert mnist_dvc.networks() == tuple(NETWORKS)


@pytest.mark.parametrize("name", mnist_dvc.networks())
def test_network_is_built_with_weights_of_its_seed(name: str) -> None:
    one, same, other = (mnist_dvc.build(name, seed=seed).state_dict() for seed in (1, 1, 2))
    assert all(torch.equal(one[key], same[key]) for key in one)
    assert not all(torch.equal(one[key], other[key]) for key in one)
    model = mnist_dvc.build(name)
    assert model.training
    assert model(torch.zeros(2, 1, 28, 28)).shape == (2, 10)


@pytest.mark.parametrize("name", RELEASED)
def test_pretrained_network_answers_as_the_released_one(name: str) -> None:
    model = mnist_dvc.build(name, pretrained=True).eval()
    with torch.no_grad():
        logits_NK = model(normalise(torch.from_numpy(IMAGES_NHW[:, None] / np.float32(255))))
    np.testing.assert_allclose(logits_NK.softmax(1), mnist_dvc.load(name).probabilities(IMAGES_NHW), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "pretrained", "message"),
    [
        ("compat", False, r"^build: name: got 'compat', expected one of reference, .*; did you mean compact\?$"),
        ("teacher", False, r"^build: name: got 'teacher', expected one of reference, [a-z0-9, -]*$"),
        ("sprint", True, r"^build: name: got 'sprint', expected one of compact, reference$"),
    ],
)
def test_unknown_network_is_refused(name: str, message: str, *, pretrained: bool) -> None:
    with pytest.raises(ParamsError, match=message):
        mnist_dvc.build(name, pretrained=pretrained)


WITHOUT = """
import sys
sys.modules.update(dict.fromkeys({missing!r}))
import mnist_dvc
print(*mnist_dvc.networks())
print(bool({{"torch", "numpy"}} & {{name for name, module in sys.modules.items() if module}}))
try:
    mnist_dvc.build("compact")
except ModuleNotFoundError as error:
    print(error.name, error)
"""


def without(*missing: str) -> list[str]:
    """What a process prints where packages are missing."""
    script = WITHOUT.format(missing=missing)
    return subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    ).stdout.splitlines()


def test_names_need_no_torch_and_modules_say_what_does() -> None:
    names, heavy, refusal = without("torch", "safetensors")
    assert (names.split(), heavy) == (list(NETWORKS), "False")
    words = 'got no such package, expected the extra "train": python -m pip install "mnist-dvc[train]"'
    assert refusal == f"torch torch: {words}"


def test_module_is_built_where_torch_is_there_so_the_test_above_can_fail() -> None:
    assert len(without()) == 2
