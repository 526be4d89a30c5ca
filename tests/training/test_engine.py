from __future__ import annotations

import copy
import itertools
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import augment_params, blobs, params
from torch import nn

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.errors import DivergedError, ParamsError
from mnist_dvc.inference import logits_of
from mnist_dvc.model import build
from mnist_dvc.params import AugmentParams, ModelParams
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import EpochEnded, Finished, Started, Stepped
from mnist_dvc.training.teaching import Lesson, Teaching

CPU = torch.device("cpu")
TRAIN = Digits.on(CPU, blobs(20, seed=1))
VALIDATION = Digits.on(CPU, blobs(5, seed=2))


def job(
    *,
    dropout: float = 0.1,
    precision: str = "float32",
    digits: Digits = TRAIN,
    validation: Digits | None = VALIDATION,
    teaching: Teaching | None = None,
    **changes: Any,
) -> Job:
    model = build(ModelParams(name="compact", dropout=dropout), torch.Generator().manual_seed(0))
    return Job(
        model=model,
        digits=digits,
        validation=validation,
        params=params(**changes).train,
        precision=precision,
        teaching=teaching,
    )


def teaching(seed: int = 0, *, views: int = 3, augment: AugmentParams | None = None) -> Teaching:
    """What teachers might say of TRAIN under ``augment``, by default the distortions of ``params()``."""
    lesson = Lesson(
        augment=augment or params().train.augment,
        seed=0,
        dataset="blobs",
        data_digest="d" * 64,
        teachers=["a" * 64],
        precision="float32",
    )
    logits_VNK = 3.0 * torch.randn((views, len(TRAIN), 10), generator=torch.Generator().manual_seed(seed))
    return Teaching(lesson, logits_VNK.log_softmax(dim=2).half())


OTHER_LABELS = Digits(TRAIN.images_N1HW, (TRAIN.labels_N + 1) % 10)


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
    build(ModelParams(name="compact", dropout=0.0), torch.Generator())  # construction itself draws, then overwrites
    assert torch.equal(torch.random.get_rng_state(), state)


def test_network_handed_over_in_evaluation_mode_is_trained_in_training_mode() -> None:
    handed_over = job()
    handed_over.model.eval()
    assert same(weights(finish(handed_over)), weights(finish(job())))


class Spy(nn.Module):
    """Passes images on to the network and keeps those that it is trained on, in the order of the epochs."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner
        self.seen: list[torch.Tensor] = []

    def forward(self, images_N1HW: torch.Tensor) -> torch.Tensor:
        if self.training:
            self.seen.append(images_N1HW.detach().clone())
        result: torch.Tensor = self.inner(images_N1HW)
        return result


def epochs_seen(**changes: Any) -> list[torch.Tensor]:
    """The sums of the pixels of all images as the network saw them, epoch by epoch, in the order of TRAIN.

    An epoch is a single step, and the order of its images is undone.
    """
    plain = job(batch_size=200, **changes)
    spy = Spy(plain.model)
    job_of_spy = replace(plain, model=spy, validation=None)
    orders = torch.Generator()
    orders.set_state(Training(plain).capture().tensors["order"])
    finish(job_of_spy)
    restored = []
    for images_N1HW in spy.seen:
        order_N = torch.randperm(len(TRAIN), generator=orders)
        restored.append(images_N1HW[order_N.argsort()].sum(dim=(1, 2, 3)))
    return restored


def sums_of(images_N1HW: torch.Tensor) -> torch.Tensor:
    return normalise(images_N1HW).sum(dim=(1, 2, 3))


def clean() -> torch.Tensor:
    """The same sums of TRAIN as it is."""
    return sums_of(TRAIN.batch(torch.arange(len(TRAIN)))[0])


def alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return torch.allclose(one, other, atol=1e-2, rtol=1e-4)


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


# ----------------------------------------------------------------------------------------------- learning from teachers


def learnt(**changes: Any) -> Finished:
    return finish(job(**changes))


def equally(one: Finished, other: Finished) -> bool:
    return same(weights(one), weights(other)) and same(one.raw_model_state, other.raw_model_state)


def test_at_weight_1_the_labels_do_not_matter() -> None:
    one = learnt(teaching=teaching(), distillation=1.0)
    assert equally(one, learnt(teaching=teaching(), distillation=1.0, digits=OTHER_LABELS))
    assert equally(one, learnt(teaching=teaching(), distillation=1.0, label_smoothing=0.3))


@pytest.mark.parametrize("weight", [0.0, 0.5, 0.9])
def test_below_weight_1_they_do(weight: float) -> None:
    one = learnt(teaching=teaching(), distillation=weight)
    assert not equally(one, learnt(teaching=teaching(), distillation=weight, digits=OTHER_LABELS))


def test_at_weight_0_the_answers_do_not_matter() -> None:
    assert equally(learnt(teaching=teaching(1), distillation=0.0), learnt(teaching=teaching(2), distillation=0.0))


@pytest.mark.parametrize("weight", [0.1, 1.0])
def test_above_weight_0_they_do(weight: float) -> None:
    one = learnt(teaching=teaching(1), distillation=weight)
    assert not equally(one, learnt(teaching=teaching(2), distillation=weight))


def test_loss_lies_between_those_of_labels_and_answers() -> None:
    """Of the first step, before which nothing has been learnt."""
    losses = []
    for weight in (0.0, 0.25, 1.0):
        run = Training(job(teaching=teaching(), distillation=weight))
        next(event for event in run.events() if isinstance(event, Stepped))
        losses.append(float(run._totals.loss))
    labels, mixed, told = losses
    assert abs(labels - told) > 0.01
    assert mixed == pytest.approx(0.75 * labels + 0.25 * told, rel=1e-5)


def test_student_learns_what_its_teachers_say_and_not_what_the_labels_say() -> None:
    """The teachers are sure of the digit after the right one, under every distortion."""
    said_NK = torch.full((len(TRAIN), 10), -20.0)
    said_NK[torch.arange(len(TRAIN)), OTHER_LABELS.labels_N] = 0.0
    wrong = Teaching(teaching().lesson, said_NK.expand(6, -1, -1).half())
    finished = learnt(teaching=wrong, distillation=1.0, epochs=6, batch_size=20)
    answers_N = logits_of(finished.model, VALIDATION, 50).argmax(dim=1)
    assert float((answers_N == (VALIDATION.labels_N + 1) % 10).float().mean()) >= 0.9
    assert finished.history[-1].train_accuracy < 0.1  # against the labels, which are the truth


def test_student_sees_the_images_that_the_teachers_saw() -> None:
    asked = teaching(views=3)
    seen = epochs_seen(teaching=asked, distillation=1.0, epochs=4)
    shown = []
    for view in range(3):
        distortions = asked.distortions(view, CPU)
        assert distortions is not None
        shown.append(sums_of(distort(TRAIN.batch(torch.arange(len(TRAIN)))[0], distortions)))
    for epoch, sums in enumerate(seen):
        expected = asked.view_of_epoch(epoch, params().train.seed)
        assert [alike(sums, view) for view in shown] == [view == expected for view in range(3)]


def test_answers_are_those_of_the_image_and_the_view() -> None:
    """Teachers who say something else of the views that are not seen, or of other images, teach otherwise or not."""
    seen = teaching(views=3).view_of_epoch(0, params().train.seed)
    one = learnt(teaching=teaching(views=3), distillation=1.0, epochs=1)
    changed_VNK = teaching(views=3).log_probabilities_VNK.clone()
    for view in {0, 1, 2} - {seen}:
        changed_VNK[view] = changed_VNK[view].flip(1)
    unseen = Teaching(teaching().lesson, changed_VNK.clone())
    assert equally(one, learnt(teaching=unseen, distillation=1.0, epochs=1))
    changed_VNK[seen] = changed_VNK[seen].roll(1, dims=0)
    assert not equally(one, learnt(teaching=Teaching(teaching().lesson, changed_VNK), distillation=1.0, epochs=1))


def test_clean_epochs_are_learnt_from_the_labels() -> None:
    """The teachers never saw the images as they are."""
    whole = {"teaching": teaching(), "distillation": 1.0, "epochs": 3}
    seen = epochs_seen(**whole, clean_epochs=1)
    assert [alike(epoch, clean()) for epoch in seen] == [False, False, True]
    one = learnt(**whole, clean_epochs=1)
    assert not equally(one, learnt(**whole, clean_epochs=1, digits=OTHER_LABELS))
    only_clean = {"distillation": 1.0, "epochs": 3, "clean_epochs": 3}
    assert equally(learnt(teaching=teaching(1), **only_clean), learnt(teaching=teaching(2), **only_clean))


@pytest.mark.parametrize("weight", [0.5, 1.0])
def test_distillation_without_answers_is_refused(weight: float) -> None:
    with pytest.raises(
        ParamsError, match=f"train.distillation: got {weight:g} and no answers of teachers, expected 0, or run `study"
    ):
        job(distillation=weight)
    assert job(distillation=0.0).teaching is None


@pytest.mark.parametrize("change", [{"rotation": 5.0}, {"rotation": 5.0, "shift": 1.0, "elastic": 0.1}, {}])
def test_answers_under_other_distortions_are_refused(change: dict[str, float]) -> None:
    with pytest.raises(
        ParamsError, match="train.augment: got other distortions than the teachers saw, expected theirs"
    ):
        job(teaching=teaching(), distillation=0.5, augment=augment_params(**change))
    theirs = augment_params(**change)
    assert job(teaching=teaching(augment=theirs), distillation=0.5, augment=theirs).teaching is not None
