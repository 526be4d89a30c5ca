from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from mnist_dvc.errors import DivergedError
from mnist_dvc.training.checkpoint import checkpoint_bytes
from mnist_dvc.training.events import EpochRow

ROWS = [
    EpochRow(epoch=e, train_loss=0.5 / e, val_loss=0.4 / e, train_accuracy=0.9, val_accuracy=0.9 + e / 100, lr=0.01)
    for e in (1, 2)
]


def made() -> bytes:
    model = torch.nn.Linear(3, 2, bias=False)
    torch.nn.init.ones_(model.weight)
    adamw = torch.optim.AdamW(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    adamw.step()
    return checkpoint_bytes(
        model_state=model.state_dict(),
        raw_model_state=model.state_dict(),
        optimizer_state=adamw.state_dict(),
        history=ROWS,
        about={"network": "line", "params": {"train": {"epochs": 2}}},
    )


def test_checkpoint_loads_without_running_code_and_goes_on() -> None:
    content = torch.load(io.BytesIO(made()), weights_only=True)
    assert content["val_accuracy"] == 0.92
    assert [row["epoch"] for row in content["history"]] == [1, 2]
    assert content["about"]["network"] == "line"
    model = torch.nn.Linear(3, 2, bias=False)
    model.load_state_dict(content["raw_model_state_dict"])
    torch.optim.AdamW(model.parameters()).load_state_dict(content["optimizer_state_dict"])


def ruined(part: str, value: float) -> dict[str, Any]:
    """The arguments of a checkpoint, with ``value`` somewhere in ``part``."""
    good = {"weight": torch.zeros(2, 3)}
    bad = {"weight": torch.tensor([[0.0, value]])}
    moments = {"state": {0: {"step": torch.zeros(()), "exp_avg": bad["weight"]}}, "param_groups": [{"lr": 0.1}]}
    made: dict[str, Any] = {"model_state": good, "raw_model_state": good, "optimizer_state": {}}
    return made | {part: moments if part == "optimizer_state" else bad, "history": ROWS, "about": {}}


PARTS = {
    "model_state": "model_state_dict/weight",
    "raw_model_state": "raw_model_state_dict/weight",
    "optimizer_state": "optimizer_state_dict/state/0/exp_avg",
}


@pytest.mark.parametrize("value", [torch.nan, torch.inf])
@pytest.mark.parametrize("part", PARTS)
def test_tensor_that_is_not_finite_is_not_written(part: str, value: float) -> None:
    with pytest.raises(DivergedError, match=f"training diverged: tensor '{PARTS[part]}': got NaN or infinity"):
        checkpoint_bytes(**ruined(part, value))


@pytest.mark.parametrize("part", PARTS)
def test_same_tensor_with_a_finite_number_is_written(part: str) -> None:
    """The twin of the refusal."""
    assert torch.load(io.BytesIO(checkpoint_bytes(**ruined(part, 3e38))), weights_only=True)["schema"] == 1


def test_same_training_gives_the_same_bytes() -> None:
    assert made() == made()
