from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from helpers import params
from torch import nn

from mnist_dvc.model import NETWORKS
from mnist_dvc.training.optim import Average, learning_rate, optimizer, set_learning_rate


def rates(steps: int, **train: object) -> list[float]:
    return [learning_rate(step, steps, params(**train).train) for step in range(steps)]


@pytest.mark.parametrize("steps", [25, 100, 2140])
@pytest.mark.parametrize("warmup", [0.1, 0.2, 0.5])
def test_onecycle_is_that_of_torch(steps: int, warmup: float) -> None:
    adamw = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=1.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        adamw, max_lr=0.02, total_steps=steps, pct_start=warmup, div_factor=10.0, final_div_factor=10_000.0
    )
    expected = []
    for _ in range(steps):
        expected.append(schedule.get_last_lr()[0])
        adamw.step()
        schedule.step() if len(expected) < steps else None
    ours = rates(steps, learning_rate=0.02, warmup=warmup, schedule="onecycle")
    assert ours == pytest.approx(expected, rel=1e-9)


def test_cosine_without_warmup_is_that_of_torch() -> None:
    adamw = torch.optim.AdamW([nn.Parameter(torch.zeros(1))], lr=0.02)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adamw, T_max=50)
    expected = []
    for _ in range(50):
        expected.append(schedule.get_last_lr()[0])
        adamw.step()
        schedule.step()
    assert rates(50, learning_rate=0.02, warmup=0.0, schedule="cosine") == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("schedule", ["onecycle", "cosine"])
@pytest.mark.parametrize("warmup", [0.0, 0.2, 0.99])
@pytest.mark.parametrize("steps", [1, 2, 3, 100])
def test_rates_stay_within_the_peak_at_the_edges(schedule: str, warmup: float, steps: int) -> None:
    values = rates(steps, learning_rate=0.02, warmup=warmup, schedule=schedule)
    assert all(math.isfinite(rate) and 0.0 <= rate <= 0.02 for rate in values)


def test_cosine_warms_up_along_a_line() -> None:
    values = rates(100, learning_rate=1.0, warmup=0.2, schedule="cosine")
    assert {round(b - a, 9) for a, b in pairwise(values[:20])} == {round(1 / 21, 9)}


@pytest.mark.parametrize("name", NETWORKS)
def test_decay_spares_biases_and_norms(name: str) -> None:
    model = NETWORKS[name](0.0)
    decayed, spared = optimizer(model, params(weight_decay=0.1).train).param_groups
    assert (decayed["weight_decay"], spared["weight_decay"]) == (0.1, 0.0)
    norms = {id(p) for m in model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    biases = {id(p) for key, p in model.named_parameters() if key.endswith("bias")}
    assert {id(p) for p in spared["params"]} == norms | biases
    assert len(decayed["params"]) + len(spared["params"]) == len(list(model.parameters()))


def test_set_learning_rate_reaches_every_group() -> None:
    adamw = optimizer(NETWORKS["compact"](0.0), params().train)
    set_learning_rate(adamw, 0.125)
    assert [group["lr"] for group in adamw.param_groups] == [0.125, 0.125]


def test_average_follows_its_formula_and_includes_norm_statistics() -> None:
    norm = nn.BatchNorm2d(1)
    average = Average(norm, decay=0.3)
    kept = average.model
    assert isinstance(kept, nn.BatchNorm2d)
    expected = None
    for t, value in enumerate([4.0, 8.0, 16.0, 32.0]):
        norm.weight.data.fill_(value)
        norm.get_buffer("running_mean").fill_(value)
        norm.get_buffer("num_batches_tracked").fill_(t + 1)
        average.update(norm, t)
        decay = min(0.3, (1 + t) / (10 + t))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert float(kept.weight) == pytest.approx(expected)
        assert float(kept.get_buffer("running_mean")) == pytest.approx(expected)
    assert int(kept.get_buffer("num_batches_tracked")) == 4


def test_average_is_apart_from_the_model_and_needs_no_gradient() -> None:
    model = NETWORKS["compact"](0.0)
    average = Average(model, decay=0.9)
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
