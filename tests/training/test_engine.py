from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import NETWORK, augment_params
from jobs import (
    TRAIN,
    VALIDATION,
    Spy,
    alike,
    clean,
    epochs_seen,
    finish,
    job,
    same,
    weights,
)
from torch import nn

from mnist_dvc.augment import Distortions
from mnist_dvc.data.digits import normalise
from mnist_dvc.errors import DivergedError, ParamsError
from mnist_dvc.inference import logits_of
from mnist_dvc.model import build
from mnist_dvc.params import ModelParams
from mnist_dvc.training.engine import Training
from mnist_dvc.training.events import EpochEnded, Finished, Started, Stepped


def test_events_come_in_order() -> None:
    events = list(Training(job(epochs=2, batch_size=40)).events())
    kinds = [type(event) for event in events]
    assert kinds == [Started, *([Stepped] * 5 + [EpochEnded]) * 2, Finished]
    assert [event.step for event in events if isinstance(event, Stepped)] == list(range(1, 11))
    started = events[0]
    assert isinstance(started, Started)
    assert (started.steps, started.train_images, started.validation_images) == (10, 200, 50)


def test_it_learns() -> None:
    history = finish(job(epochs=8, batch_size=20)).history
    assert [row.epoch for row in history] == [1, 2, 3, 4, 5, 6, 7, 8]
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
    "clean epochs": {"clean_epochs": 1},
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
    build(ModelParams(name=NETWORK, dropout=0.0), torch.Generator())  # construction itself draws, then overwrites
    assert torch.equal(torch.random.get_rng_state(), state)


def test_network_handed_over_in_evaluation_mode_is_trained_in_training_mode() -> None:
    handed_over = job()
    handed_over.model.eval()
    assert same(weights(finish(handed_over)), weights(finish(job())))


def test_order_differs_between_epochs() -> None:
    plain = job(augment=augment_params(), batch_size=200)
    spy = Spy(plain.model)
    finish(replace(plain, model=spy, validation=None))
    first, second = (images_N1HW.sum(dim=(1, 2, 3)) for images_N1HW in spy.seen)
    assert not torch.allclose(first, second)
    torch.testing.assert_close(first.sort().values, second.sort().values)


def test_each_epoch_distorts_the_images_anew() -> None:
    first, second = epochs_seen()
    assert not alike(first, clean())
    assert not alike(second, clean())
    assert not alike(first, second)


def test_distortions_of_all_images_are_drawn_once_an_epoch(monkeypatch: pytest.MonkeyPatch) -> None:
    draw, drawn = Distortions.draw, []

    def count(n: int, *arguments: Any) -> Distortions | None:
        drawn.append(n)
        return draw(n, *arguments)

    monkeypatch.setattr(Distortions, "draw", count)
    finish(job(epochs=3, batch_size=40))
    assert drawn == [len(TRAIN)] * 3


@pytest.mark.parametrize("count", [1, 2])
def test_last_epochs_see_clean_images_and_the_earlier_ones_do_not(count: int) -> None:
    seen = epochs_seen(epochs=3, clean_epochs=count)
    assert [alike(epoch, clean()) for epoch in seen] == [epoch >= 3 - count for epoch in range(3)]


@pytest.mark.parametrize("count", [3, 10])
def test_as_many_clean_epochs_as_there_are_leave_none_with_distortions(count: int) -> None:
    assert all(alike(epoch, clean()) for epoch in epochs_seen(epochs=3, clean_epochs=count))
    same_without = finish(job(epochs=3, augment=augment_params()))
    assert same(weights(finish(job(epochs=3, clean_epochs=count))), weights(same_without))


def test_clean_epochs_change_nothing_in_the_epochs_before_them() -> None:
    first = epochs_seen(epochs=3, clean_epochs=1)
    assert all(torch.equal(one, other) for one, other in zip(first[:2], epochs_seen(epochs=3)[:2], strict=True))


def test_validation_measures_the_average_in_evaluation_mode() -> None:
    finished = finish(job())
    logits_NK = logits_of(finished.model, VALIDATION, 7)
    row = finished.history[-1]
    assert row.val_accuracy == int((logits_NK.argmax(1) == VALIDATION.labels_N).sum()) / 50
    assert row.val_loss == pytest.approx(float(nn.functional.cross_entropy(logits_NK, VALIDATION.labels_N)), rel=1e-5)


def test_published_model_is_the_average_not_the_last_step() -> None:
    finished = finish(job())
    assert not same(weights(finished), finished.raw_model_state)


def test_published_statistics_are_those_of_clean_training_images_for_the_published_weights() -> None:
    stem = finish(job(validation=None)).model.get_submodule("stem")
    assert isinstance(stem, nn.Sequential)
    images_N1HW, _ = TRAIN.batch(torch.arange(len(TRAIN)))
    with torch.no_grad():
        seen_NCHW = stem[1](stem[0](normalise(images_N1HW)))
    torch.testing.assert_close(stem[2].running_mean, seen_NCHW.mean(dim=(0, 2, 3)))
    torch.testing.assert_close(stem[2].running_var, seen_NCHW.transpose(0, 1).flatten(1).var(dim=1))


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
        match=r"^training diverged: step 3 of 10: got a loss or gradient that is infinite or no number at learning "
        r"rate 0\.\d+, expected finite numbers; try a smaller train\.learning_rate$",
    ) as caught:
        list(events)
    assert caught.value.exit_code == 70
    after = bad.model.state_dict()
    trained = [key for key, _ in bad.model.named_parameters()][1:]
    assert all(torch.equal(before[key], after[key]) for key in trained)


def test_divergence_is_refused_wherever_the_state_is_asked_for() -> None:
    run = Training(job())
    run.capture()
    run._totals.gradient_norm += math.inf
    for ask in (run.capture, run.refuse_divergence):
        with pytest.raises(DivergedError, match="step 1 of 10: got a loss or gradient that is infinite or no number"):
            ask()
