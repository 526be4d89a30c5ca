from __future__ import annotations

import copy

import pytest
import torch
from torch.nn import functional as F

from mnist_dvc.describe import parameter_count
from mnist_dvc.model import NETWORKS
from mnist_dvc.model.tiny import SLOPE, TINY, SampleNorm, _Stem, _Steps


def drawn(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize(
    ("name", "parameters"), {"tiny-350": 350, "tiny-700": 640, "tiny-1k": 914, "tiny-2k": 1_798}.items()
)
def test_tiny_networks_have_exactly_their_parameters_and_store_nothing_else(name: str, parameters: int) -> None:
    model = NETWORKS[name](0.0)
    assert parameter_count(model) == parameters
    assert sum(tensor.numel() for tensor in model.state_dict().values()) == parameters
    assert name in TINY


def test_stem_passes_on_strokes_and_their_negatives() -> None:
    stem = _Stem(6)
    x_N1HW = drawn(2, 1, 8, 8)
    maps_NCHW = stem.conv(F.pad(x_N1HW, (1, 1, 1, 1)))
    for half, signed_NCHW in zip(stem(x_N1HW).split(3, dim=1), (maps_NCHW, -maps_NCHW), strict=True):
        torch.testing.assert_close(half, F.max_pool2d(F.relu(signed_NCHW), 2))


def test_norm_is_of_each_sample_and_the_same_in_training_and_after() -> None:
    norm, x_NCHW = SampleNorm(), 3.0 * drawn(2, 4, 5, 5) + 7.0
    for training in (True, False):
        y_NCHW = norm.train(training)(x_NCHW)
        for sample_CHW in y_NCHW:
            assert float(sample_CHW.mean()) == pytest.approx(0.0, abs=1e-5)
            assert float(sample_CHW.std(correction=0)) == pytest.approx(1.0, abs=1e-4)
    torch.testing.assert_close(norm.train()(x_NCHW), norm.eval()(x_NCHW))


def test_a_step_is_a_depthwise_and_a_pointwise_convolution() -> None:
    steps, x_NCHW = _Steps(4, 1, biases=1, pointwise=True), drawn(2, 4, 5, 5)
    torch.nn.init.normal_(steps.biases[0])
    assert steps.pointwise is not None
    depthwise = copy.deepcopy(steps.depthwise)
    depthwise.padding = (1, 1)
    y_NCHW = steps.pointwise(depthwise(steps.norm(x_NCHW))) + steps.biases[0][:, None, None]
    torch.testing.assert_close(steps(x_NCHW, steps.pointwise), x_NCHW + F.leaky_relu(y_NCHW, SLOPE))


def test_steps_go_through_one_kernel_again_each_with_its_biases() -> None:
    own, shared = (_Steps(4, 3, biases=count, pointwise=True) for count in (3, 1))
    assert (len(own.biases), len(shared.biases)) == (3, 1)
    for steps in (own, shared):
        x_NCHW, mix = drawn(2, 4, 5, 5), steps.pointwise
        torch.nn.init.normal_(steps.biases[-1])
        expected_NCHW = x_NCHW
        for bias in [*steps.biases] * (3 // len(steps.biases)):
            one = copy.deepcopy(steps)
            one.times, one.biases = 1, torch.nn.ParameterList([bias])
            expected_NCHW = one(expected_NCHW, mix)
        torch.testing.assert_close(steps(x_NCHW, mix), expected_NCHW)
