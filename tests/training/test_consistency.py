"""States that no training was in: refused by what they say, whatever digest they carry."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch
from jobs import job

from mnist_dvc.errors import ArtifactError, DivergedError
from mnist_dvc.randomness import generator
from mnist_dvc.training.consistency import LARGEST, refuse_impossible, refuse_runaway
from mnist_dvc.training.engine import Training
from mnist_dvc.training.events import EpochEnded, EpochRow, Stepped

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from mnist_dvc.training.snapshot import TrainingState

    Change = Callable[[TrainingState], TrainingState]

STEP, EACH = 7, 5
WHERE = "step-000000007.snapshot"
WEIGHT, VARIANCE, COUNT = "stem.0.weight", "running_var", "num_batches_tracked"


def states(**changes: Any) -> list[TrainingState]:
    """Copies of the state after each step and epoch's end of a training of two epochs of five steps."""
    run = Training(job(**changes))
    kept = []
    for event in run.events():
        if isinstance(event, Stepped | EpochEnded):
            state = run.capture()
            kept.append(replace(state, tensors={name: tensor.clone() for name, tensor in state.tensors.items()}))
    return kept


@pytest.fixture(scope="module")
def good() -> TrainingState:
    return next(state for state in states() if state.step == STEP)


def check(state: TrainingState, **changes: Any) -> None:
    wanted = job(**changes)
    refuse_impossible(state, wanted, Training(wanted).capture().tensors, WHERE)


def with_tensor(name: str, change: Callable[[Tensor], Any]) -> Change:
    """Another value of the first tensor whose name ends so; a change in place, or a new tensor."""

    def make(state: TrainingState) -> TrainingState:
        found = next(key for key in state.tensors if key.endswith(name))
        tensor = state.tensors[found].clone()
        result = change(tensor)
        return replace(state, tensors=dict(state.tensors) | {found: result if result is not None else tensor})

    return make


def filled(name: str, value: float) -> Change:
    def change(tensor: Tensor) -> None:
        tensor.view(-1)[0] = value

    return with_tensor(name, change)


def without(name: str) -> Change:
    return lambda state: replace(state, tensors={key: t for key, t in state.tensors.items() if key != name})


def with_row(**values: Any) -> Change:
    return lambda state: replace(state, history=tuple(replace(row, **values) for row in state.history))


def at(step: int) -> Change:
    return lambda state: replace(state, step=step)


def epochs(number: int) -> Change:
    return lambda state: replace(state, history=tuple(replace(state.history[0], epoch=i + 1) for i in range(number)))


def totals(*values: float) -> Change:
    return with_tensor("totals", lambda _: torch.tensor(values, dtype=torch.float32))


def put(start: int, stop: int, value: int) -> Callable[[Tensor], None]:
    def change(state: Tensor) -> None:
        state[start:stop] = value

    return change


def with_normal(value: float) -> Callable[[Tensor], None]:
    """A generator that has drawn one normal number more than was asked for, which comes next; as PyTorch keeps it."""

    def change(state: Tensor) -> None:
        drawn = torch.Generator()
        drawn.set_state(state)
        torch.randn(1, generator=drawn, dtype=torch.float64)
        state.copy_(drawn.get_state())
        state[5024:5032] = torch.tensor([value], dtype=torch.float64).view(torch.uint8)

    return change


HOSTILE: dict[str, tuple[Change, str]] = {
    "no weight": (without("model/stem.0.weight"), "tensor model/stem.0.weight: got nothing, expected float32 ("),
    "no order": (without("order"), "tensor order: got nothing, expected uint8 (5056,)"),
    "a weight of another type": (with_tensor(WEIGHT, lambda t: t.double()), "tensor model/stem.0.weight: got float64"),
    "a moment of another shape": (with_tensor("exp_avg/stem.0.weight", lambda t: t[:1]), "exp_avg/stem.0.weight: got"),
    "a moment of integers": (with_tensor("exp_avg/stem.0.weight", lambda t: t.long()), "got int64"),
    "totals of five": (totals(0, 0, 0, 0, 0), "tensor totals: got float32 (5,), expected float32 (2,)"),
    "epoch 77 of 2": (epochs(77), "history: got 77 epochs, expected at most 2"),
    "epoch 3 of 2": (epochs(3), "history: got 3 epochs, expected at most 2"),
    "no epoch": (epochs(0), "step: got 7, expected one of 0 to 5, after 0 epochs"),
    "a step of another epoch": (at(4), "step: got 4, expected one of 5 to 10, after 1 epochs"),
    "a step beyond the end": (at(11), "step: got 11, expected one of 5 to 10"),
    "a step beyond all": (at(10**300), "step: got 1000"),
    "a row of epoch 2": (with_row(epoch=2), "history, row 1, epoch: got 2, expected 1"),
    "a row at another rate": (with_row(lr=1e30), "history, row 1, lr: got 1e+30, expected"),
    "a row at no rate": (with_row(lr=0.0), "history, row 1, lr: got 0.0, expected"),
    "a row not validated": (with_row(val_loss=None, val_accuracy=None), "history, row 1, validation: got"),
    "a row half validated": (with_row(val_loss=None), "history, row 1, validation: got (False, True)"),
    "sums of 1e30": (totals(1e30, 1e30), "tensor totals: got more than 1e+20"),
    "a negative loss": (totals(-1, 1), "totals, loss: got -1.0, expected 0 or more"),
    "a negative norm": (totals(1, -1), "totals, gradient norm: got -1.0, expected 0 or more"),
    "a loss below 0": (filled("losses/newest", -0.5), "losses/newest: got -0.5, expected 0 or more, or -1"),
    "a loss of 1e30": (filled("losses/before", 1e30), "tensor losses/before: got more than 1e+20"),
    "more images seen than there were": (
        lambda state: replace(state, step=1, history=()),
        "losses/before: got 200 images seen, expected at most 0",
    ),
    "no image seen": (with_tensor("losses/newest", lambda t: t.fill_(-1.0)), "losses/newest: got 0 images seen"),
    "an unseen image right": (
        lambda state: filled("right", True)(filled("losses/newest", -1.0)(state)),
        "tensor right: got an image that was not seen, expected those",
    ),
    "sums before the first step": (
        lambda state: replace(state, step=EACH), "totals: got ("
    ),
    "an optimiser of other steps": (filled("adamw/step", 8.0), "adamw/step: got 8.0, expected 7"),
    "an optimiser of no step": (filled("adamw/step", 0.0), "adamw/step: got 0.0, expected 7"),
    "negative squares": (filled("exp_avg_sq/stem.0.weight", -1.0), "exp_avg_sq/stem.0.weight: got -1.0, expected 0 or"),
    "negative variance": (filled(VARIANCE, -1.0), "running_var: got -1.0, expected 0 or more"),
    "negative batches": (filled(COUNT, -5), "num_batches_tracked: got -5.0, expected 0 or more"),
    "a weight of 1e30": (filled(WEIGHT, 1e30), "tensor model/stem.0.weight: got more than 1e+20"),
    "a moment of -1e30": (filled("exp_avg/stem.0.weight", -1e30), "exp_avg/stem.0.weight: got more than 1e+20"),
    **{
        f"{name} {what}": (with_tensor(name, change), f"generator {name}: got {expected}")
        for name in ("order", "distortion", "dropout")
        for what, change, expected in (
            ("of zeros", put(0, 5056, 0), "no state of a generator"),
            ("of ones", put(0, 5056, 255), "no state of a generator"),
            ("beyond its own end", put(16, 20, 200), "no state of a generator"),
            ("never seeded", put(12, 16, 0), "no state of a generator"),
            ("of another seed", put(0, 8, 7), "another stream"),
            ("with bits that are dropped", put(28, 32, 1), "another stream"),
            ("that repeats itself", put(24, 24 + 624 * 8, 0), "[0.0, 0.0, 0.0, 0.0] as its next numbers"),
        )
    },
    "dropout of the order's stream": (
        lambda state: replace(state, tensors=dict(state.tensors) | {"dropout": state.tensors["order"]}),
        "generator dropout: got another stream",
    ),
    "a normal number of 1e300": (with_tensor("distortion", with_normal(1e300)), "generator distortion: got [inf, "),
    "a normal number of NaN": (with_tensor("distortion", with_normal(torch.nan)), "generator distortion: got [nan"),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_state_that_no_training_was_in_is_refused(good: TrainingState, name: str) -> None:
    change, expected = HOSTILE[name]
    with pytest.raises(ArtifactError) as caught:
        check(change(good))
    assert str(caught.value).startswith(f"{WHERE}: ")
    assert expected in str(caught.value)
    assert caught.value.exit_code == 65


@pytest.mark.parametrize("changes", [{}, {"validation": None, "schedule": "cosine", "epochs": 3, "clean_epochs": 1}])
def test_every_state_of_a_training_is_possible(changes: dict[str, Any]) -> None:
    """The twin, with that of its beginning."""
    kept = [Training(job(**changes)).capture(), *states(**changes)]
    assert len(kept) == 1 + changes.get("epochs", 2) * (EACH + 1)
    for state in kept:
        check(state, **changes)
        refuse_runaway(state)


def test_without_the_check_a_generator_ends_in_an_error_of_pytorch(good: TrainingState) -> None:
    """The twin: 70 with a traceback, and again at every rerun."""
    with pytest.raises(RuntimeError, match="Invalid mt19937 state"):
        Training(job()).restore(HOSTILE["order of zeros"][0](good))


@pytest.mark.parametrize(
    "name",
    ["sums of 1e30", "an optimiser of other steps", "negative squares", "a row at another rate", "epoch 77 of 2"],
)
def test_without_the_check_the_training_would_take_it(good: TrainingState, name: str) -> None:
    """The twin: but for the number of epochs the loop itself looks at shapes alone."""
    state, run = HOSTILE[name][0](good), Training(job())
    if name == "epoch 77 of 2":
        state = replace(state, step=77 * EACH)
        with pytest.raises(ArtifactError, match="^snapshot: step"):
            run.restore(state)
    else:
        run.restore(state)


def test_state_that_would_be_refused_is_not_kept(good: TrainingState) -> None:
    for name in ("sums of 1e30", "a weight of 1e30", "a moment of -1e30"):
        with pytest.raises(DivergedError, match=re.escape(f"got a number of more than {LARGEST:g}, expected smaller")):
            refuse_runaway(HOSTILE[name][0](good))


def test_statistics_may_be_large_as_a_training_that_runs_away_has_them(good: TrainingState) -> None:
    for change in (filled(VARIANCE, 1e38), filled("running_mean", -1e30)):
        refuse_runaway(change(good))
        check(change(good))


def test_generator_of_the_right_stream_is_taken_wherever_it_stands(good: TrainingState) -> None:
    """The twin of those that are refused; another position cannot be told from the right one."""
    drawn = generator(1, "dropout")
    torch.rand(1000, generator=drawn)
    check(replace(good, tensors=dict(good.tensors) | {"dropout": drawn.get_state()}))
    assert isinstance(good.history[0], EpochRow)
