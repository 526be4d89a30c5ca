from __future__ import annotations

import pytest
import torch

from mnist_dvc.errors import ParamsError
from mnist_dvc.model import NETWORKS, build
from mnist_dvc.params import ModelParams


def state(name: str, seed: int) -> dict[str, torch.Tensor]:
    model = build(ModelParams(name=name, dropout=0.0), torch.Generator().manual_seed(seed))
    return dict(model.state_dict())


@pytest.mark.parametrize("name", NETWORKS)
def test_generator_decides_all_weights(name: str) -> None:
    torch.manual_seed(0)
    first = state(name, 1)
    torch.manual_seed(99)
    again, other = state(name, 1), state(name, 2)
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key in first if first[key].ndim > 1]
    assert drawn
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


def test_unknown_name_is_refused_with_the_nearest() -> None:
    expected = r"model.name: got 'refrence', expected one of reference, compact, .*; did you mean reference\?$"
    with pytest.raises(ParamsError, match=expected):
        build(ModelParams(name="refrence", dropout=0.0), torch.Generator())
    with pytest.raises(ParamsError, match=f"expected one of {', '.join(NETWORKS)}$"):
        build(ModelParams(name="zzz", dropout=0.0), torch.Generator())
