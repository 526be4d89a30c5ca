"""A training that is captured and restored goes on to the same bits, and would not if anything were left out."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import torch
from devices import outcome, stopped_after, training_on
from helpers import blobs, hard_params, params

from mnist_dvc.data.digits import Digits
from mnist_dvc.errors import ArtifactError
from mnist_dvc.training.events import EpochEnded, Event, Started, Stepped
from mnist_dvc.training.teaching import Lesson, Teaching

if TYPE_CHECKING:
    from mnist_dvc.training.snapshot import TrainingState

CPU = torch.device("cpu")
TRAIN = Digits.on(CPU, blobs(20, seed=1))
STEPS_PER_EPOCH = 5
training = partial(training_on, CPU)


def stopped(step: int, kind: type[Event] = Stepped, **job: Any) -> TrainingState:
    """The state after ``step``, or after the end of the epoch of that step, through bytes and back."""
    return stopped_after(step, training(**job), kind)


@pytest.fixture(scope="module")
def golden() -> bytes:
    torch.set_num_threads(1)
    return outcome(training())


@pytest.mark.parametrize(("step", "kind"), [*((s, Stepped) for s in range(1, 11)), (5, EpochEnded), (10, EpochEnded)])
def test_going_on_from_any_step_gives_the_bits_of_an_uninterrupted_run(golden: bytes, step: int, kind: type) -> None:
    run = training()
    run.restore(stopped(step, kind))
    assert outcome(run) == golden


def test_reference_network_goes_on_to_the_same_bits() -> None:
    run = training("reference")
    run.restore(stopped(7, name="reference"))
    assert outcome(run) == outcome(training("reference"))


def taught(seed: int = 0) -> Teaching:
    """Two views of TRAIN, so that the third epoch sees one of them again."""
    lesson = Lesson(
        augment=params().train.augment,
        seed=0,
        dataset="blobs",
        data_digest="d" * 64,
        teachers=["a" * 64],
        precision="float32",
    )
    logits_VNK = 3.0 * torch.randn((2, len(TRAIN), 10), generator=torch.Generator().manual_seed(seed))
    return Teaching(lesson, logits_VNK.log_softmax(dim=2).half())


LESSONS: dict[str, dict[str, Any]] = {
    "taught": {"epochs": 3, "teaching": taught(), "distillation": 0.7},
    "hard": {"epochs": 5, "hard": hard_params(share=0.25, random=0.25)},
    "hard and taught": {
        "epochs": 5,
        "hard": hard_params(share=0.25, random=0.25),
        "teaching": taught(),
        "distillation": 1.0,
    },
    "clean in the end": {"epochs": 3, "clean_epochs": 1},
    "taught and clean in the end": {"epochs": 3, "clean_epochs": 1, "teaching": taught(), "distillation": 0.7},
}


ENDS = {"hard": (5, 7, 9), "hard and taught": (5, 7, 9)}
"""Steps after which an epoch ends, where it is not every five."""


@pytest.mark.parametrize("lesson", LESSONS)
def test_training_of_another_lesson_goes_on_to_the_same_bits(lesson: str) -> None:
    """From within each epoch, and from both sides of the ends between them."""
    whole = outcome(training(**LESSONS[lesson]))
    first, second, *_ = ENDS.get(lesson, (5, 10))
    within = [(step, Stepped) for step in (3, first, first + 1, second - 1, second + 1)]
    for step, kind in (*within, (first, EpochEnded), (second, EpochEnded)):
        run = training(**LESSONS[lesson])
        run.restore(stopped(step, kind, **LESSONS[lesson]))
        assert outcome(run) == whole, (step, kind)


@pytest.mark.parametrize(
    ("lesson", "change"),
    [
        ("taught", {"teaching": taught(1)}),
        ("taught", {"teaching": None, "distillation": 0.0}),
        ("clean in the end", {"clean_epochs": 0}),
        ("taught and clean in the end", {"clean_epochs": 0}),
    ],
)
def test_going_on_under_another_lesson_gives_other_bits(lesson: str, change: dict[str, Any]) -> None:
    """The twin of the test above."""
    run = training(**LESSONS[lesson] | change)
    run.restore(stopped(8, **LESSONS[lesson]))
    assert outcome(run) != outcome(training(**LESSONS[lesson]))


def test_going_on_may_be_repeated(golden: bytes) -> None:
    """Each process does one step and dies."""
    state = stopped(1)
    for _ in range(2, 11):
        run = training()
        run.restore(state)
        next(event for event in run.events() if isinstance(event, Stepped))
        state = run.capture()
    run = training()
    run.restore(state)
    assert outcome(run) == golden


HARD: dict[str, Any] = {"epochs": 4, "hard": hard_params(share=0.25, random=0.25)}
"""Five steps over all images, then three times two."""
FORGOTTEN = (
    "order",
    "distortion",
    "dropout",
    "losses/before",
    "losses/newest",
    "right",
    "model/",
    "average/",
    "adamw/exp_avg/",
    "adamw/exp_avg_sq/",
    "adamw/step",
)


@pytest.mark.parametrize("part", FORGOTTEN)
def test_leaving_any_part_of_the_state_out_gives_other_bits(part: str) -> None:
    """From within an epoch of hard images, to which every part matters."""
    golden = outcome(training(**HARD))
    run, state = training(**HARD), stopped(8, **HARD)
    fresh = training(**HARD).capture().tensors
    mixed = {name: fresh[name] if name.startswith(part) else tensor for name, tensor in state.tensors.items()}
    run.restore(replace(state, tensors=mixed))
    assert outcome(run) != golden


def test_every_tensor_of_the_state_is_among_the_parts_above() -> None:
    """But for the sums that an epoch's end tells of and that decide nothing."""
    assert {name for name in training().capture().tensors if not name.startswith(FORGOTTEN)} == {"totals"}


def test_an_epoch_that_is_gone_on_with_tells_the_gradients_of_its_whole() -> None:
    ends = [event for event in training().events() if isinstance(event, EpochEnded)]
    run = training()
    run.restore(stopped(7))
    (last,) = [event for event in run.events() if isinstance(event, EpochEnded)]
    assert last.gradient_norm == ends[-1].gradient_norm


def test_forgetting_the_position_gives_other_bits(golden: bytes) -> None:
    run = training()
    run.restore(replace(stopped(7), step=6))
    assert outcome(run) != golden


def test_resumed_run_tells_what_was_done_before() -> None:
    state = stopped(7)
    run = training()
    run.restore(state)
    events = list(run.events())
    started = events[0]
    assert isinstance(started, Started)
    assert (started.step, started.history) == (7, state.history)
    assert [event.step for event in events if isinstance(event, Stepped)] == [8, 9, 10]
    assert [event.row.epoch for event in events if isinstance(event, EpochEnded)] == [2]


def unfit(state: TrainingState, fault: str) -> TrainingState:
    tensors = dict(state.tensors)
    weight = "model/stem.0.weight"
    match fault:
        case "missing":
            del tensors[weight]
        case "extra":
            tensors["model/more"] = torch.zeros(1)
        case "shape":
            tensors[weight] = tensors[weight][:1]
        case "dtype":
            tensors[weight] = tensors[weight].double()
        case "step":
            return replace(state, step=STEPS_PER_EPOCH - 1)
        case "end":
            return replace(state, step=11, history=state.history * 2)
    return replace(state, tensors=tensors)


@pytest.mark.parametrize("fault", ["missing", "extra", "shape", "dtype", "step", "end"])
def test_unfit_state_is_refused_and_nothing_is_applied(golden: bytes, fault: str) -> None:
    run = training()
    with pytest.raises(ArtifactError, match="snapshot: (tensor|step)"):
        run.restore(unfit(stopped(7), fault))
    assert outcome(run) == golden


def test_capture_does_not_disturb(golden: bytes) -> None:
    run = training()
    for _ in run.events():
        run.capture()
    again = training()
    again.restore(run.capture())
    assert outcome(again) == golden
