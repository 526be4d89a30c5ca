"""What a network learns from the answers of teachers, and of which images."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from helpers import augment_params, params
from jobs import (
    CPU,
    OTHER_LABELS,
    TRAIN,
    VALIDATION,
    alike,
    clean,
    epochs_seen,
    finish,
    job,
    same,
    sums_of,
    teaching,
    weights,
)

from mnist_dvc.augment import distort
from mnist_dvc.errors import ParamsError
from mnist_dvc.inference import logits_of
from mnist_dvc.training.engine import Training
from mnist_dvc.training.events import Finished, Stepped
from mnist_dvc.training.teaching import Teaching


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
