from __future__ import annotations

import copy
import itertools
import math
from typing import Any

import pytest
import torch
from helpers import augment_params, blobs, params
from torch import nn

from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import DivergedError, ParamsError
from mnist_dvc.inference import logits_of
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import EpochEnded, Finished, Started, Stepped

CPU = torch.device("cpu")
TRAIN = Digits.on(CPU, blobs(20, seed=1))
VALIDATION = Digits.on(CPU, blobs(5, seed=2))


def job(
    *, dropout: float = 0.1, precision: str = "float32", validation: Digits | None = VALIDATION, **changes: Any
) -> Job:
    model = build(ModelParams(name="compact", dropout=dropout), torch.Generator().manual_seed(0))
    return Job(model=model, digits=TRAIN, validation=validation, params=params(**changes).train, precision=precision)


def finish(job: Job) -> Finished:
    *_, last = Training(job).events()
    assert isinstance(last, Finished)
    return last


def weights(finished: Finished) -> dict[str, torch.Tensor]:
    return dict(finished.model.state_dict())


def same(a: dict[str, Any], b: dict[str, Any]) -> bool:
    return all(torch.equal(a[key], b[key]) for key in a)


def test_events_come_in_order() -> None:
    events = list(Training(job(epochs=2, batch_size=40)).events())
    kinds = [type(event) for event in events]
    assert kinds == [Started, *([Stepped] * 5 + [EpochEnded]) * 2, Finished]
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 11))
    started = events[0]
    assert isinstance(started, Started)
    assert (started.steps, started.train_images, started.validation_images) == (10, 200, 50)


def test_it_learns() -> None:
    history = finish(job(epochs=6, batch_size=20)).history
    assert [row.epoch for row in history] == [1, 2, 3, 4, 5, 6]
    assert history[-1].train_loss < 0.5 * history[0].train_loss
    assert history[-1].val_accuracy is not None
    assert history[-1].val_accuracy >= 0.9


def test_incomplete_last_batch_is_left_out() -> None:
    events = list(Training(job(epochs=1, batch_size=60)).events())
    assert sum(isinstance(event, Stepped) for event in events) == 3


def test_same_job_gives_the_same_bits() -> None:
    first, again = finish(job()), finish(job())
    assert same(weights(first), weights(again))
    assert first.history == again.history


CHANGES: dict[str, dict[str, Any]] = {
    "seed": {"seed": 2},
    "augmentation": {"augment": augment_params(rotation=6.0, shift=1.0)},
    "dropout": {"dropout": 0.2},
    "learning rate": {"learning_rate": 0.01},
    "schedule": {"schedule": "cosine"},
    "weight decay": {"weight_decay": 0.5},
    "label smoothing": {"label_smoothing": 0.1},
    "gradient clip": {"gradient_clip": 0.1},
    "average": {"ema_decay": 0.5},
    "precision": {"precision": "bfloat16"},
    "batch size": {"batch_size": 50},
}


@pytest.mark.parametrize("name", CHANGES)
def test_each_param_has_an_effect(name: str) -> None:
    assert not same(weights(finish(job())), weights(finish(job(**CHANGES[name]))))


def test_global_random_state_neither_decides_nor_changes() -> None:
    torch.manual_seed(1)
    first = finish(job())
    state = torch.random.get_rng_state()
    torch.manual_seed(2)
    assert same(weights(finish(job())), weights(first))
    torch.manual_seed(1)
    build(ModelParams(name="compact", dropout=0.0), torch.Generator())  # construction itself draws, then overwrites
    assert torch.equal(torch.random.get_rng_state(), state)


def test_network_handed_over_in_evaluation_mode_is_trained_in_training_mode() -> None:
    handed_over = job()
    handed_over.model.eval()
    assert same(weights(finish(handed_over)), weights(finish(job())))


def test_order_differs_between_epochs() -> None:
    seen = []

    class Spy(nn.Module):
        def __init__(self, inner: nn.Module) -> None:
            super().__init__()
            self.inner = inner

        def forward(self, images_N1HW: torch.Tensor) -> torch.Tensor:
            if self.training:
                seen.append(images_N1HW.sum(dim=(1, 2, 3)))
            result: torch.Tensor = self.inner(images_N1HW)
            return result

    plain = job(augment=augment_params(), batch_size=200)
    spied = Job(model=Spy(plain.model), digits=TRAIN, validation=None, params=plain.params, precision="float32")
    finish(spied)
    first, second = seen
    assert not torch.allclose(first, second)
    torch.testing.assert_close(first.sort().values, second.sort().values)


def test_validation_measures_the_average_in_evaluation_mode() -> None:
    finished = finish(job())
    logits_NK = logits_of(finished.model, VALIDATION, 7)
    row = finished.history[-1]
    assert row.val_accuracy == int((logits_NK.argmax(1) == VALIDATION.labels_N).sum()) / 50
    assert row.val_loss == pytest.approx(float(nn.functional.cross_entropy(logits_NK, VALIDATION.labels_N)), rel=1e-5)


def test_published_model_is_the_average_not_the_last_step() -> None:
    finished = finish(job())
    assert not same(weights(finished), finished.raw_model_state)


def test_without_validation_the_columns_are_empty() -> None:
    row = finish(job(validation=None)).history[-1]
    assert (row.val_loss, row.val_accuracy) == (None, None)
    assert math.isfinite(row.train_loss)


def test_validation_changes_nothing_in_the_training() -> None:
    assert same(weights(finish(job())), weights(finish(job(validation=None))))


def test_batch_larger_than_the_training_set_is_a_params_error() -> None:
    with pytest.raises(ParamsError, match="train.batch_size: got 201, expected at most 200"):
        finish(job(batch_size=201))


@pytest.mark.parametrize("fault", ["loss", "gradient"])
def test_divergence_stops_before_the_step(fault: str) -> None:
    bad = job(gradient_clip=1.0)
    events = Training(bad).events()
    list(itertools.islice(events, 3))
    before = copy.deepcopy(bad.model.state_dict())
    parameter = next(bad.model.parameters())
    if fault == "loss":
        parameter.data.fill_(float("nan"))
    else:
        parameter.register_hook(lambda gradient: gradient * float("inf"))  # type: ignore[no-untyped-call]
    with pytest.raises(
        DivergedError,
        match=r"^training diverged: step 3 of 10: got a loss or gradient that is infinite or no number at learning rate "
        r"0\.\d+, expected finite numbers; try a smaller train\.learning_rate$",
    ) as caught:
        list(events)
    assert caught.value.exit_code == 70
    after = bad.model.state_dict()
    trained = [key for key, _ in bad.model.named_parameters()][1:]
    assert all(torch.equal(before[key], after[key]) for key in trained)
