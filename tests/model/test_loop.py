from __future__ import annotations

import torch

from mnist_dvc.describe import parameter_count
from mnist_dvc.model import NETWORKS
from mnist_dvc.model.blocks import ResidualConv
from mnist_dvc.model.loop import CHANNELS, TIMES, _RepeatedConv


def maps() -> torch.Tensor:
    return torch.randn((3, CHANNELS, 7, 7), generator=torch.Generator().manual_seed(0))


def unrolled(loop: _RepeatedConv) -> list[ResidualConv]:
    """Ordinary residual blocks, each with a copy of the kernel and its own norm."""
    blocks = [ResidualConv(CHANNELS).eval() for _ in loop.norms]
    for block, norm in zip(blocks, loop.norms, strict=True):
        block.conv[0].load_state_dict(loop.conv.state_dict())
        block.conv[1].load_state_dict(norm.state_dict())
    return blocks


def trained_loop() -> _RepeatedConv:
    """Norms that differ, as after a training."""
    loop = _RepeatedConv(CHANNELS, TIMES)
    for number, norm in enumerate(loop.norms):
        torch.nn.init.normal_(norm.get_parameter("weight"), 1.0, 0.3, generator=torch.Generator().manual_seed(number))
    return loop.eval()


def test_loop_has_exactly_its_parameters() -> None:
    assert parameter_count(NETWORKS["loop"](0.0)) == 19_946


def test_kernels_are_used_again_and_every_use_has_a_norm_of_its_own() -> None:
    loop = trained_loop()
    expected_NCHW = torch.nn.Sequential(*unrolled(loop))(maps())
    assert torch.allclose(loop(maps()), expected_NCHW, atol=1e-5)
    loop.norms[-1].load_state_dict(loop.norms[0].state_dict())
    assert not torch.allclose(loop(maps()), expected_NCHW, atol=1e-2)


def test_kernel_learns_from_all_its_uses() -> None:
    loop = trained_loop()
    alone = unrolled(loop)
    for network in (loop, torch.nn.Sequential(*alone)):
        network(maps()).square().sum().backward()
    gradients = [block.get_parameter("conv.0.weight").grad for block in alone]
    told = [gradient for gradient in (loop.conv.weight.grad, *gradients) if gradient is not None]
    assert len(told) == 1 + TIMES
    torch.testing.assert_close(told[0], torch.stack(told[1:]).sum(dim=0), rtol=1e-3, atol=1e-2)
    assert all(float(gradient.abs().max()) > 1.0 for gradient in told[1:])
