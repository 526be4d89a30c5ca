from __future__ import annotations

import io

import torch

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


def test_same_training_gives_the_same_bytes() -> None:
    assert made() == made()
