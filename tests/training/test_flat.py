from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from mnist_dvc.model import NETWORKS
from mnist_dvc.training.flat import ALIGNED, Flat, leave


def network(name: str = "reference") -> nn.Module:
    torch.manual_seed(0)
    return NETWORKS[name](0.0).to(memory_format=torch.channels_last)


@pytest.mark.parametrize("name", NETWORKS)
def test_model_lives_in_one_tensor_with_the_same_values_and_layouts(name: str) -> None:
    model, before = network(name), network(name)
    flat = Flat.of(model)
    held = {**dict(model.named_parameters()), **{n: b for n, b in model.named_buffers() if b.is_floating_point()}}
    assert flat.views.keys() == held.keys()
    expected = before.state_dict()
    for key, tensor in held.items():
        assert torch.equal(tensor, expected[key])
        assert tensor.stride() == expected[key].stride()
        assert (tensor.data_ptr() - flat.whole.data_ptr()) % (4 * ALIGNED) == 0
    with torch.no_grad():
        flat.whole.fill_(7.0)
    assert all(bool((tensor == 7.0).all()) for tensor in held.values())


def test_gaps_are_zeros() -> None:
    flat = Flat({"three": torch.ones(3), "twenty": torch.ones(20)})
    assert len(flat.whole) == 3 * ALIGNED
    assert float(flat.whole.sum()) == 23.0


def test_matrices_come_first_then_vectors_then_buffers() -> None:
    model = network()
    flat = Flat.of(model)
    named = dict(model.named_parameters())
    matrices = [name for name, parameter in named.items() if parameter.ndim > 1]
    first, second = flat.end_of(matrices), flat.end_of(list(named))
    assert 0 < first < second < len(flat.whole)
    for name, view in flat.views.items():
        place = (view.data_ptr() - flat.whole.data_ptr()) // 4
        assert (place < first) == (name in matrices)
        assert (place < second) == (name in named)


def test_end_of_nothing_and_of_everything() -> None:
    flat = Flat({"a": torch.ones(3), "b": torch.ones(3)})
    assert (flat.end_of([]), flat.end_of(["a"]), flat.end_of(["a", "b"])) == (0, ALIGNED, 2 * ALIGNED)


def test_network_computes_the_same_and_learns_in_place() -> None:
    model, before = network(), network()
    flat = Flat.of(model)
    images_N1HW = torch.rand(4, 1, 28, 28)
    torch.testing.assert_close(model.eval()(images_N1HW), before.eval()(images_N1HW))
    model.train()(images_N1HW)
    assert torch.equal(flat.views["convblock1.2.running_mean"], model.get_buffer("convblock1.2.running_mean"))
    assert bool((model.get_buffer("convblock1.2.running_mean") != 0).any())


def test_after_leaving_nothing_is_shared() -> None:
    model = network()
    flat = Flat.of(model)
    before = copy.deepcopy(model.state_dict())
    leave(model)
    flat.whole.zero_()
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert len({tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}) == len(before)


def test_without_leaving_it_is() -> None:
    """The twin: a file of one weight would hold them all."""
    model = network()
    Flat.of(model)
    pointers = {tensor.untyped_storage().data_ptr() for tensor in model.state_dict().values()}
    assert len(pointers) < len(model.state_dict())
