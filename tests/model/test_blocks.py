from __future__ import annotations

import pytest
import torch
from torch import nn

from mnist_dvc.model.blocks import (
    DepthwiseSeparable,
    Dropout,
    MaximumAndMean,
    PooledConv,
    ResidualConv,
    SqueezeExcitation,
    initialise,
    set_dropout_generator,
)


def test_depthwise_separable_is_depthwise_and_changes_the_width() -> None:
    block = DepthwiseSeparable(4, 6)
    assert block(torch.randn(2, 4, 5, 5)).shape == (2, 6, 5, 5)
    depthwise = block.depthwise[0]
    assert isinstance(depthwise, nn.Conv2d)
    assert depthwise.groups == 4


def test_residual_adds_the_input() -> None:
    block = DepthwiseSeparable(4, 4, residual=True).eval()
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    x_NCHW = torch.rand(2, 4, 5, 5)
    torch.testing.assert_close(block(x_NCHW), x_NCHW)


def test_residual_needs_equal_widths() -> None:
    with pytest.raises(ValueError, match="residual needs equal widths, got 4 and 6"):
        DepthwiseSeparable(4, 6, residual=True)


def test_squeeze_excitation_scales_each_channel_by_one_factor_below_one() -> None:
    torch.manual_seed(0)
    x_NCHW = torch.rand(2, 4, 5, 5) + 0.5
    factor_NCHW = (SqueezeExcitation(4)(x_NCHW) / x_NCHW).detach()
    torch.testing.assert_close(factor_NCHW, factor_NCHW[:, :, :1, :1].expand_as(factor_NCHW))
    assert 0.0 < float(factor_NCHW.min()) < float(factor_NCHW.max()) < 1.0


def test_dropout_drops_the_fraction_and_keeps_the_mean() -> None:
    dropout = Dropout(0.25)
    set_dropout_generator(dropout, torch.Generator().manual_seed(0))
    dropped = dropout(torch.ones(100_000))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert float(dropped.mean()) == pytest.approx(1.0, abs=0.01)


def test_dropout_draws_from_its_generator_alone() -> None:
    dropout = Dropout(0.5)
    before = torch.random.get_rng_state()
    results = []
    for _ in range(2):
        set_dropout_generator(dropout, torch.Generator().manual_seed(3))
        results.append(dropout(torch.ones(50)))
    assert torch.equal(*results)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_dropout_without_a_generator_refuses_to_train() -> None:
    dropout = Dropout(0.5)
    with pytest.raises(RuntimeError, match="no generator set"):
        dropout(torch.ones(3))
    assert torch.equal(dropout.eval()(torch.ones(3)), torch.ones(3))
    assert torch.equal(Dropout(0.0)(torch.ones(3)), torch.ones(3))


def test_pooled_convolution_is_the_usual_one_with_its_pooling_last() -> None:
    """A maximum and a norm that rises can change places; that is why the cheaper order may be taken."""
    block = PooledConv(2, 5, 5).eval()
    convolution, pooling, norm, relu = block
    assert isinstance(norm, nn.BatchNorm2d)
    norm.running_mean = torch.linspace(-1.0, 1.0, 5)
    x_NCHW = torch.rand((3, 2, 14, 14), generator=torch.Generator().manual_seed(0))
    usual_NCHW = pooling(relu(norm(convolution(x_NCHW))))
    assert usual_NCHW.shape == (3, 5, 7, 7)
    torch.testing.assert_close(block(x_NCHW), usual_NCHW)
    norm.weight.data.neg_()  # the twin: one that falls cannot
    assert not torch.allclose(block(x_NCHW), pooling(relu(norm(convolution(x_NCHW)))))


def test_residual_convolution_adds_the_input() -> None:
    block = ResidualConv(4).eval()
    x_NCHW = torch.rand((2, 4, 5, 5), generator=torch.Generator().manual_seed(0))
    assert block(x_NCHW).shape == x_NCHW.shape
    assert not torch.allclose(block(x_NCHW), x_NCHW)
    for parameter in block.parameters():
        nn.init.zeros_(parameter)
    torch.testing.assert_close(block(x_NCHW), x_NCHW)


def test_maximum_and_mean_of_each_map_stand_side_by_side() -> None:
    x_NCHW = torch.tensor([[[[0.0, 4.0], [0.0, 0.0]], [[1.0, 1.0], [1.0, -3.0]]]])
    assert torch.equal(MaximumAndMean()(x_NCHW), torch.tensor([[4.0, 1.0, 1.0, 0.0]]))


def test_initial_weights_fill_the_range_of_their_layer_and_norms_stay() -> None:
    model = nn.Sequential(nn.Conv2d(4, 50, 3, bias=False), nn.BatchNorm2d(50), nn.Linear(100, 200))
    initialise(model, torch.Generator().manual_seed(0))
    convolution, norm, line = model
    for values, fan_in in ((convolution.weight, 36), (line.weight, 100), (line.bias, 100)):
        assert isinstance(values, torch.Tensor)
        assert float(values.detach().abs().max()) == pytest.approx(fan_in**-0.5, rel=0.02)
    assert torch.equal(norm.weight, torch.ones(50))  # type: ignore[arg-type]
