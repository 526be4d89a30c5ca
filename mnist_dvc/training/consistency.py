"""Whether a state can be one that this training was in: sealed bytes may still say what no training ever said."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch

from mnist_dvc.errors import ArtifactError, DivergedError
from mnist_dvc.model.tensorfile import first_difference
from mnist_dvc.model.weights import kind_of
from mnist_dvc.randomness import generator
from mnist_dvc.training.optim import learning_rate
from mnist_dvc.training.selection import UNSEEN

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from torch import Tensor

    from mnist_dvc.training.engine import Job
    from mnist_dvc.training.snapshot import TrainingState

    Problems = Iterator[tuple[str, object, object]]  # what is wrong, what was found, what was expected

__all__ = ["LARGEST", "refuse_impossible", "refuse_runaway"]

LARGEST = 1e20
"""Of weights, moments and the sums of an epoch; the running statistics of BatchNorm are products of these."""
STREAMS = ("order", "distortion", "dropout")
_EXACT = 2**24
"""From here on a float32 that is counted up by 1 stays where it is."""
_FAR = 40.0
"""Beyond any number that is drawn from the normal distribution: float32 ends it at 7 deviations, float64 at 9."""


def refuse_runaway(state: TrainingState) -> None:
    """End a training here rather than keep a state that :func:`refuse_impossible` would refuse.

    Raises:
        DivergedError: a number is finite and larger than ``LARGEST``.
    """
    name = _too_large(state.tensors)
    if name is not None:
        raise DivergedError(
            f"training diverged: tensor {name!r}: got a number of more than {LARGEST:g}, expected smaller ones; try a "
            "smaller train.learning_rate"
        )


def refuse_impossible(state: TrainingState, job: Job, fresh: Mapping[str, Tensor], where: object) -> None:
    """Compare ``state`` with what ``job`` can have come to.

    Weights, moments and generators that are merely others cannot be told from the right ones.

    Args:
        state: of a training of an equal job, by its own account; its tensors are finite.
        job: what is to be gone on with.
        fresh: the tensors of its state before the first step.
        where: the file, for errors.

    Raises:
        ArtifactError: a tensor is missing, left over, or of another type or shape; a count, a sum or a rate is not the
            one of that step; a square is negative, a number too large; or a generator has no state of its stream.
    """
    kinds, wanted = ({name: kind_of(t) for name, t in tensors.items()} for tensors in (state.tensors, fresh))
    differing = first_difference(kinds, wanted)
    if differing is not None:
        name, got, expected = differing
        raise ArtifactError(where, f"tensor {name[:80]}", got=got, expected=expected)
    problem = next(_impossible(state, job), None)
    if problem is not None:
        what, found, wanted_there = problem
        raise ArtifactError(where, what, got=found, expected=wanted_there)


def _impossible(state: TrainingState, job: Job) -> Problems:
    yield from _of_history(state, job)
    yield from _of_totals(state, job)
    yield from _of_losses(state, job)
    yield from _of_values(state)
    for name in STREAMS:
        yield from _of_generator(name, state.tensors[name], job)


def _of_history(state: TrainingState, job: Job) -> Problems:
    """Rows of the epochs 1, 2, ..., validated as the job says, at the rate of the last step of each."""
    epochs, schedule = len(state.history), job.schedule
    if epochs > job.params.epochs:
        yield "history", f"{epochs} epochs", f"at most {job.params.epochs}"
        return
    first, last = schedule.bounds(epochs)
    if not first <= state.step <= last:
        yield "step", state.step, f"one of {first} to {last}, after {epochs} epochs"
    for number, row in enumerate(state.history, start=1):
        place = f"history, row {number}"
        if row.epoch != number:
            yield f"{place}, epoch", row.epoch, number
        validated = (row.val_loss is not None, row.val_accuracy is not None)
        if validated != (job.validation is not None,) * 2:
            yield f"{place}, validation", validated, "both, or none where no image is held out"
        rate = learning_rate(schedule.steps_before(number) - 1, job.steps, job.params)
        if not math.isclose(row.lr, rate, rel_tol=1e-9, abs_tol=1e-30):
            yield f"{place}, lr", row.lr, f"{rate}, of the epoch's last step"


def _of_totals(state: TrainingState, job: Job) -> Problems:
    """Sums over the steps of the epoch that is under way."""
    steps = state.step - job.schedule.steps_before(len(state.history))
    loss, norm = state.tensors["totals"].tolist()
    if steps == 0 and (loss, norm) != (0.0, 0.0):
        yield "totals", (loss, norm), "0, before the first step of an epoch"
    for name, value in (("loss", loss), ("gradient norm", norm)):
        if value < 0.0:
            yield f"totals, {name}", value, "0 or more"


def _of_losses(state: TrainingState, job: Job) -> Problems:
    """Of images that were seen, by now or before the epoch that is under way."""
    begun = job.schedule.steps_before(len(state.history))
    for name, steps in (("losses/before", begun), ("losses/newest", state.step)):
        losses_N = state.tensors[name]
        unseen_N = losses_N == UNSEEN
        if bool(((losses_N < 0.0) & ~unseen_N).any()):
            yield f"tensor {name}", float(losses_N[~unseen_N].min()), f"0 or more, or {UNSEEN:g} of images not seen"
        seen, most = int((~unseen_N).sum()), steps * job.params.batch_size
        if seen > most or (steps and not seen):
            yield f"tensor {name}", f"{seen} images seen", f"at most {most}, and some after the first step"
    if bool((state.tensors["right"] & (state.tensors["losses/newest"] == UNSEEN)).any()):
        yield "tensor right", "an image that was not seen", "those that were"


def _of_values(state: TrainingState) -> Problems:
    tensors = state.tensors
    too_large = _too_large(tensors)
    if too_large is not None:
        yield f"tensor {too_large}", f"more than {LARGEST:g}", "smaller numbers"
    for name, tensor in tensors.items():
        what, smallest = f"tensor {name}", float(tensor.min()) if tensor.numel() else 0.0
        if name == "adamw/step" and float(tensor) != min(state.step, _EXACT):
            yield what, float(tensor), f"{state.step}, as steps are done"
        never_negative = name.startswith("adamw/exp_avg_sq/") or name.endswith("running_var")
        if smallest < 0.0 and (never_negative or not tensor.is_floating_point()):
            yield what, smallest, "0 or more"


def _too_large(tensors: Mapping[str, Tensor]) -> str | None:
    """Name of the first tensor with a number beyond ``LARGEST`` where none may be."""
    for name, tensor in tensors.items():
        bounded = tensor.is_floating_point() and "running_" not in name
        if bounded and tensor.numel() and LARGEST < float(tensor.abs().max()) < math.inf:
            return name
    return None


def _of_generator(name: str, state: Tensor, job: Job) -> Problems:
    """Tried out on a generator that nothing else draws from."""
    tried = generator(job.params.seed, name, job.device)
    seed, what = tried.initial_seed(), f"generator {name}"
    try:
        tried.set_state(state)
    except RuntimeError:
        yield what, "no state of a generator", "one"
        return
    if tried.initial_seed() != seed or not torch.equal(tried.get_state(), state):
        yield what, "another stream", f"the one of seed {job.params.seed}"
        return
    drawn = torch.randn(4, generator=tried, device=job.device)
    if not bool((drawn.abs() < _FAR).all()) or len(set(drawn.tolist())) == 1:
        yield what, f"{drawn.tolist()} as its next numbers", "random ones"
