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


def gradients(model: nn.Module, seed: int) -> None:
    generator = torch.Generator().manual_seed(seed)
    for parameter in model.parameters():
        parameter.grad = torch.randn(parameter.shape, generator=generator).to(memory_format=torch.preserve_format)


@pytest.mark.parametrize("name", NETWORKS)
def test_steps_are_those_of_torch_to_the_bit(name: str) -> None:
    ours, theirs = NETWORKS[name](0.0), NETWORKS[name](0.0)
    theirs.load_state_dict(ours.state_dict())
    for model in (ours, theirs):
        model.to(memory_format=torch.channels_last)
    adamw, expected = AdamW(ours, params(weight_decay=0.1).train), torch_adamw(theirs, weight_decay=0.1)
    for step in range(4):
        adamw.rate = expected.param_groups[0]["lr"] = expected.param_groups[1]["lr"] = 0.01 * (step + 1)
        for model in (ours, theirs):
            gradients(model, step)
        adamw.step()
        expected.step()
    assert all(torch.equal(a, b) for a, b in zip(ours.parameters(), theirs.parameters(), strict=True))
    state, their_state = adamw.state_dict(), expected.state_dict()
    assert state["param_groups"] == their_state["param_groups"]
    assert state["state"].keys() == their_state["state"].keys()
    for number, moments in their_state["state"].items():
        assert all(torch.equal(state["state"][number][key], moment) for key, moment in moments.items())


def test_a_step_without_decay_would_differ() -> None:
    """The twin: the comparison above sees a wrong weight decay."""
    ours, theirs = nn.Linear(3, 3), nn.Linear(3, 3)
    theirs.load_state_dict(ours.state_dict())
    adamw, expected = AdamW(ours, params(weight_decay=0.0).train), torch_adamw(theirs, weight_decay=0.1)
    for model in (ours, theirs):
        gradients(model, 0)
    adamw.step()
    expected.step()
    assert not torch.equal(ours.weight, theirs.weight)
    assert torch.equal(ours.bias, theirs.bias)


def test_gradients_are_forgotten() -> None:
    model = nn.Linear(3, 3)
    gradients(model, 0)
    AdamW(model, params().train).zero_grad()
    assert all(parameter.grad is None for parameter in model.parameters())


def test_training_does_not_import_the_compiler() -> None:
    code = (
        "import sys, torch; from torch import nn; from mnist_dvc.training.optim import AdamW; "
        "from mnist_dvc.training import engine; from helpers import ROOT, params; model = nn.Linear(3, 3); "
        "model(torch.zeros(1, 3)).sum().backward(); AdamW(model, params().train).step(); "
        "print('torch._dynamo' in sys.modules, hasattr(torch.optim, 'AdamW'))"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "tests", capture_output=True, text=True, check=True)
    assert ran.stdout.split() == ["False", "True"]


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


def test_average_of_a_network_without_counts() -> None:
    linear = nn.Linear(1, 1, bias=False)
    average = Average(linear, decay=0.5)
    for step, value in enumerate([4.0, 8.0]):
        linear.weight.data.fill_(value)
        average.update(linear, step)
    assert float(average.model.get_parameter("weight")) == pytest.approx(4.0 * 2 / 11 + 8.0 * 9 / 11)
