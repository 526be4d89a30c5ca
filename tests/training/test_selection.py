"""Which images an epoch takes, how many steps that is, and what the training makes of it."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from helpers import hard_params, params
from jobs import TRAIN, Spy, finish, job, same, teaching, weights

from mnist_dvc.errors import ParamsError
from mnist_dvc.training.engine import Training
from mnist_dvc.training.events import EpochEnded, Stepped
from mnist_dvc.training.selection import UNSEEN, Newest, Schedule

CPU = torch.device("cpu")
HARD = hard_params(share=0.2, random=0.1, plain_epochs=2)


def schedule(images: int = 1000, **train: Any) -> Schedule:
    return Schedule(images, params(**({"epochs": 5, "batch_size": 30, "hard": HARD} | train)).train)


def choose(losses_N: torch.Tensor, seed: int = 0, epoch: int = 2, **train: Any) -> torch.Tensor:
    return schedule(len(losses_N), **train).choose(epoch, losses_N, torch.Generator().manual_seed(seed))


def test_plain_epochs_take_whole_batches_of_all_and_later_ones_of_a_share() -> None:
    plan = schedule()
    assert [plan.steps_in(epoch) for epoch in range(5)] == [33, 33, 10, 10, 10]
    assert [plan.steps_before(epoch) for epoch in range(6)] == [0, 33, 66, 76, 86, 96]
    assert plan.steps == 96
    assert [plan.bounds(epochs) for epochs in (0, 2, 4, 5)] == [(0, 33), (66, 76), (86, 96), (96, 96)]


def test_share_of_1_takes_all_in_every_epoch() -> None:
    plan = schedule(hard=hard_params(share=1.0, random=0.5, plain_epochs=1))
    assert all(plan.is_plain(epoch) for epoch in range(5))
    assert plan.steps == 5 * 33


def test_more_plain_epochs_than_there_are_leave_none_for_the_hard() -> None:
    plan = schedule(hard=hard_params(share=0.2, plain_epochs=9))
    assert plan.steps == 5 * 33


def test_epoch_of_few_images_takes_a_step() -> None:
    assert schedule(images=40).steps_in(3) == 1
    assert len(choose(torch.rand(40))) == 30


def test_shares_beyond_all_images_take_all() -> None:
    assert schedule(hard=hard_params(share=0.8, random=0.7)).steps_in(4) == 33
    taken = choose(torch.rand(1000), hard=hard_params(share=0.8, random=0.7))
    assert len(taken) == len(set(taken.tolist())) == 990


def test_hardest_are_taken_and_some_of_the_others_each_once() -> None:
    losses_N = torch.rand(1000, generator=torch.Generator().manual_seed(1))
    hardest = set(losses_N.topk(200).indices.tolist())
    first, again, other = (choose(losses_N, seed).tolist() for seed in (0, 0, 1))
    assert len(first) == len(set(first)) == 300
    assert first == again != other
    for taken in (first, other):
        assert hardest <= set(taken)
    assert set(first) - hardest != set(other) - hardest


def test_they_come_in_a_random_order() -> None:
    losses_N = torch.linspace(1.0, 0.0, 1000)
    taken = choose(losses_N).tolist()
    assert sum(index < 200 for index in taken[:150]) < 130  # all 150 if the hardest came first


def test_images_not_seen_yet_come_before_all_others() -> None:
    losses_N = torch.full((1000,), 5.0)
    losses_N[[3, 500, 999]] = UNSEEN
    assert {3, 500, 999} <= set(choose(losses_N, hard=hard_params(share=0.1)).tolist())


def test_plain_epochs_do_not_look_at_losses() -> None:
    one, other = (choose(losses_N, epoch=1) for losses_N in (torch.rand(1000), torch.rand(1000)))
    assert torch.equal(one, other)
    assert len(one) == 990


def test_newest_is_what_was_noted_last_and_its_means_leave_out_the_unseen() -> None:
    newest = Newest.none(4, CPU)
    newest.note(torch.tensor([1, 2]), torch.tensor([3.0, 5.0]), torch.tensor([True, True]))
    newest.note(torch.tensor([2]), torch.tensor([1.0]), torch.tensor([False]))
    assert newest.losses_N.tolist() == [UNSEEN, 3.0, 1.0, UNSEEN]
    assert newest.means() == (2.0, 0.5)


def seen_by(**changes: Any) -> list[int]:
    """Images of each step."""
    plain = job(**changes)
    spy = Spy(plain.model)
    finish(replace(plain, model=spy))
    return [len(images_N1HW) for images_N1HW in spy.seen]


def test_training_takes_the_steps_of_its_schedule() -> None:
    hard = hard_params(share=0.2, random=0.2)
    assert seen_by(epochs=3, batch_size=40, hard=hard, validation=None) == [40] * (5 + 2 + 2)
    events = list(Training(job(epochs=3, batch_size=40, hard=hard)).events())
    kinds = [type(event) for event in events if isinstance(event, Stepped | EpochEnded)]
    assert kinds == [*[Stepped] * 5, EpochEnded, Stepped, Stepped, EpochEnded, Stepped, Stepped, EpochEnded]


def test_epoch_of_hard_images_takes_those_of_the_largest_losses() -> None:
    """As a snapshot from the end of the plain epoch has them."""
    hard = hard_params(share=0.2, random=0.0)
    run = Training(job(epochs=2, batch_size=40, hard=hard))
    events = run.events()
    next(event for event in events if isinstance(event, EpochEnded))
    before = run.capture().tensors["losses/newest"].clone()
    next(event for event in events if isinstance(event, Stepped))
    after = run.capture().tensors["losses/newest"]
    changed = set((before != after).nonzero().flatten().tolist())
    assert changed == set(before.topk(40).indices.tolist())


def test_training_figures_are_of_all_images_not_of_the_hard_ones() -> None:
    run = Training(job(epochs=4, batch_size=40, hard=hard_params(share=0.2, random=0.0)))
    for event in run.events():
        if isinstance(event, EpochEnded):
            tensors = run.capture().tensors
            assert event.row.train_loss == pytest.approx(float(tensors["losses/newest"].mean()), rel=1e-5)
            assert event.row.train_accuracy == pytest.approx(float(tensors["right"].float().mean()))


@pytest.mark.parametrize("change", [{"share": 0.4}, {"random": 0.4}, {"plain_epochs": 2}])
def test_each_param_has_an_effect(change: dict[str, Any]) -> None:
    before: dict[str, Any] = {"share": 0.2, "random": 0.2, "plain_epochs": 1}
    one, other = (finish(job(epochs=3, hard=hard_params(**told))) for told in (before, before | change))
    assert not same(weights(one), weights(other))


def test_image_that_the_teachers_doubt_is_not_hard_for_it() -> None:
    """The loss is what a student could still remove: with their very answers there is none, however unsure they are."""
    asked = teaching(views=1)
    run = Training(job(teaching=asked, distillation=1.0))
    index_N = torch.arange(10)
    said_NK = asked.log_probabilities_VNK[0, :10].float()
    labels_N = TRAIN.labels_N[:10]
    losses_N = run._losses(said_NK, labels_N, index_N, 0)
    assert float(losses_N.abs().max()) < 1e-5
    of_labels_N = run._losses(said_NK, labels_N, index_N, None)
    assert float(of_labels_N.min()) > 0.01


def test_batch_may_be_larger_than_the_share_but_not_than_all_images() -> None:
    finish(job(epochs=2, batch_size=150, hard=hard_params(share=0.1)))
    with pytest.raises(ParamsError, match="train.batch_size: got 201, expected at most 200"):
        job(epochs=2, batch_size=201, hard=hard_params(share=0.1))
