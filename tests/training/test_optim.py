from __future__ import annotations

import math
import subprocess
import sys
from itertools import pairwise

import pytest
import torch
from helpers import ROOT, params
from torch import nn

from mnist_dvc.model import NETWORKS
from mnist_dvc.model.blocks import Dropout
from mnist_dvc.training.flat import Flat
from mnist_dvc.training.optim import AdamW, Average, learning_rate


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


def torch_adamw(model: nn.Module, **train: float) -> torch.optim.AdamW:
    """The optimiser that ours is held against."""
    told = params(**train).train
    groups = [
        {"params": [p for p in model.parameters() if p.ndim > 1], "weight_decay": told.weight_decay},
        {"params": [p for p in model.parameters() if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=told.learning_rate, betas=(0.9, 0.99), fused=True)


def ours_for(model: nn.Module, **train: float) -> AdamW:
    return AdamW(model, Flat.of(model), params(**train).train)


@torch.no_grad()
def gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        parameter.grad.copy_(torch.randn(parameter.shape, generator=generator))


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_are_those_of_torch(name: str) -> None:
    """To the last bit but one: where a tensor ends within a vector of the processor, PyTorch rounds otherwise."""
    ours, theirs = NETWORKS[name](0.0), NETWORKS[name](0.0)
    theirs.load_state_dict(ours.state_dict())
    for model in (ours, theirs):
        model.to(memory_format=torch.channels_last)
    adamw, expected = ours_for(ours, weight_decay=0.1), torch_adamw(theirs, weight_decay=0.1)
    for step in range(4):
        adamw.rate = expected.param_groups[0]["lr"] = expected.param_groups[1]["lr"] = 0.01 * (step + 1)
        for model in (ours, theirs):
            gradients(model, step)
        adamw.step()
        expected.step()
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one, other, rtol=2e-7, atol=1e-8)
    state, their_state = adamw.state_dict(), expected.state_dict()
    assert state["param_groups"] == their_state["param_groups"]
    assert state["state"].keys() == their_state["state"].keys()
    for number, moments in their_state["state"].items():
        for key, moment in moments.items():
            torch.testing.assert_close(state["state"][number][key], moment, rtol=2e-7, atol=1e-8)


def test_a_step_without_decay_would_differ() -> None:
    """The twin: the comparison above sees a wrong weight decay."""
    ours, theirs = nn.Linear(3, 3), nn.Linear(3, 3)
    theirs.load_state_dict(ours.state_dict())
    adamw, expected = ours_for(ours, weight_decay=0.0), torch_adamw(theirs, weight_decay=0.1)
    for model in (ours, theirs):
        gradients(model, 0)
    adamw.step()
    expected.step()
    assert not torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_gradients_are_forgotten() -> None:
    model = nn.Linear(3, 3)
    adamw = ours_for(model)
    model(torch.ones(1, 3)).sum().backward()
    once = adamw.gradient.clone()
    adamw.zero_grad()
    model(torch.ones(1, 3)).sum().backward()
    assert torch.equal(adamw.gradient, once)
    model(torch.ones(1, 3)).sum().backward()  # the twin: gradients add up
    assert not torch.equal(adamw.gradient, once)


@pytest.mark.parametrize("largest", [0.1, 1e6])
def test_gradients_are_clipped_as_torch_does(largest: float) -> None:
    ours, theirs = NETWORKS["sprint"](0.0), NETWORKS["sprint"](0.0)
    adamw = ours_for(ours)
    for model in (ours, theirs):
        gradients(model, 0)
    norm, expected = adamw.clip(largest), nn.utils.clip_grad_norm_(theirs.parameters(), largest)
    assert float(norm) == pytest.approx(float(expected), rel=1e-5)
    for one, other in zip(ours.parameters(), theirs.parameters(), strict=True):
        torch.testing.assert_close(one.grad, other.grad)


def test_training_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch; from torch import nn; from mnist_dvc.training.optim import AdamW; "
        "from mnist_dvc.training import engine; from helpers import ROOT, params; model = nn.Linear(3, 3); "
        "from mnist_dvc.training.flat import Flat; adamw = AdamW(model, Flat.of(model), params().train); "
        "model(torch.zeros(1, 3)).sum().backward(); adamw.step(); "
        "print('torch._dynamo' in sys.modules, hasattr(torch.optim, 'AdamW'))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tests", capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


def test_average_follows_its_formula() -> None:
    linear = nn.Linear(1, 1, bias=False)
    average, flat = Average(linear, decay=0.3), Flat.of(linear)
    expected = None
    for t, value in enumerate([4.0, 8.0, 16.0, 32.0]):
        linear.weight.data.fill_(value)
        average.update(flat, t)
        decay = min(0.3, (1 + t) / (10 + t))
        expected = value if expected is None else decay * expected + (1 - decay) * value
        assert float(average.model.get_parameter("weight")) == pytest.approx(expected)


def test_average_is_apart_from_the_model_and_needs_no_gradient() -> None:
    model = NETWORKS["compact"](0.0)
    average = Average(model, decay=0.9)
    assert not any(parameter.requires_grad for parameter in average.model.parameters())
    assert all(parameter.requires_grad for parameter in model.parameters())
    before = [parameter.clone() for parameter in model.parameters()]
    Flat.of(model).whole.add_(1.0)
    assert all(torch.equal(a, b) for a, b in zip(average.model.parameters(), before, strict=True))


def images(mean: float, seed: int) -> torch.Tensor:
    return torch.randn((50, 1, 8, 8), generator=torch.Generator().manual_seed(seed)) + mean


def test_statistics_are_those_of_the_images_whatever_was_there_before() -> None:
    norm = nn.BatchNorm2d(1)
    average = Average(norm, decay=0.9)
    for _ in range(2):
        average.estimate_statistics([images(1.0, 1), images(3.0, 2)])
        assert float(average.model.get_buffer("running_mean")) == pytest.approx(2.0, abs=0.05)
        assert float(average.model.get_buffer("running_var")) == pytest.approx(1.0, abs=0.05)
        assert not average.model.training
    average.estimate_statistics([images(5.0, 3)])
    assert float(average.model.get_buffer("running_mean")) == pytest.approx(5.0, abs=0.05)


def test_network_without_statistics_is_left_as_it_is() -> None:
    """And is asked nothing."""
    average = Average(nn.Linear(1, 1), decay=0.5)
    average.estimate_statistics([images(1.0, 1)])
    assert not average.model.training


def test_dropout_is_off_while_statistics_are_estimated() -> None:
    """It has no generator here, so it would refuse."""
    network = nn.Sequential(nn.BatchNorm2d(1), Dropout(0.5))
    Average(network, decay=0.5).estimate_statistics([images(0.0, 1)])
    with pytest.raises(RuntimeError, match="no generator set"):
        network.train()(images(0.0, 1))
