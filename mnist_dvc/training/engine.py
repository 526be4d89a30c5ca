"""The training loop: a network, digits and params in, events out; no files, no clock in what it computes."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_dvc.augment import augment
from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.errors import DivergedError, ParamsError
from mnist_dvc.inference import logits_of
from mnist_dvc.model.blocks import set_dropout_generator
from mnist_dvc.randomness import generator
from mnist_dvc.training.events import EpochEnded, EpochRow, Event, Finished, Started, Stepped
from mnist_dvc.training.optim import averaged, learning_rate, optimizer, set_learning_rate

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch.optim.swa_utils import AveragedModel

    from mnist_dvc.params import TrainParams

__all__ = ["Job", "train"]

VALIDATION_BATCH = 250
"""Images per forward pass without gradients; larger ones fall out of the processor's cache."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be trained, on what, and how; nothing in it changes but the weights of ``model``.

    ``model`` is freshly built and on the device of ``digits``, the training images; ``validation`` is None for no
    measure between epochs; ``precision``, of the forward pass, is ``float32`` or ``bfloat16``.

    Raises:
        ParamsError: a batch is larger than the training set.
    """

    model: nn.Module
    digits: Digits
    validation: Digits | None
    params: TrainParams
    precision: str

    def __post_init__(self) -> None:
        if self.steps_per_epoch == 0:
            got, most = self.params.batch_size, len(self.digits)
            problem = f"train.batch_size: got {got}, expected at most {most}, the number of training images"
            raise ParamsError("params", [problem])

    @property
    def device(self) -> torch.device:
        """Where everything lives."""
        return self.digits.labels_N.device

    @property
    def steps_per_epoch(self) -> int:
        """Whole batches in the training images."""
        return len(self.digits) // self.params.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.params.epochs


@dataclass(slots=True, kw_only=True)
class _State:
    """Everything that a step changes beside the weights of the model: what would have to be kept to go on later."""

    average: AveragedModel
    adamw: torch.optim.AdamW
    order: torch.Generator
    distortion: torch.Generator
    dropout: torch.Generator
    step: int = 0
    history: list[EpochRow] = field(default_factory=list)


@dataclass(slots=True)
class _Totals:
    """Sums over the steps of an epoch, on the device, read once at its end."""

    loss: Tensor
    correct: Tensor
    gradient_norm: Tensor


def train(job: Job) -> Iterator[Event]:
    """Run ``job`` and yield what happens: ``Started``, then ``Stepped`` and ``EpochEnded``, at last ``Finished``.

    Raises:
        DivergedError: a loss or gradient is not finite; the weights are those before that step.
    """
    state = _start(job)
    yield Started(
        epochs=job.params.epochs,
        steps=job.steps,
        device=job.device.type,
        precision=job.precision,
        train_images=len(job.digits),
        validation_images=0 if job.validation is None else len(job.validation),
    )
    for _ in range(job.params.epochs):
        yield from _epoch(job, state)
    set_dropout_generator(job.model, None)
    yield Finished(
        model=state.average.module.eval(),
        raw_model_state=job.model.state_dict(),
        optimizer_state=state.adamw.state_dict(),
        history=tuple(state.history),
    )


def _start(job: Job) -> _State:
    params = job.params
    job.model.to(memory_format=torch.channels_last)
    average = averaged(job.model, params.ema_decay)
    dropout = generator(params.seed, "dropout", job.device)
    set_dropout_generator(job.model, dropout)
    return _State(
        average=average,
        adamw=optimizer(job.model, params),
        order=generator(params.seed, "order", job.device),
        distortion=generator(params.seed, "distortion", job.device),
        dropout=dropout,
    )


def _epoch(job: Job, state: _State) -> Iterator[Event]:
    """One pass over the training images in a fresh order, and its row."""
    began = time.perf_counter()
    job.model.train()
    totals = _Totals(*torch.zeros(3, device=job.device).unbind())
    images = job.steps_per_epoch * job.params.batch_size
    order_N = torch.randperm(len(job.digits), generator=state.order, device=job.device)
    for start in range(0, images, job.params.batch_size):
        _step(job, state, order_N[start : start + job.params.batch_size], totals)
        yield Stepped(step=state.step)
    seconds = time.perf_counter() - began
    state.history.append(_row(job, state, totals))
    yield EpochEnded(
        row=state.history[-1],
        images_per_second=images / seconds,
        gradient_norm=float(totals.gradient_norm) / job.steps_per_epoch,
    )


def _step(job: Job, state: _State, index_N: Tensor, totals: _Totals) -> None:
    """One batch: distort, predict, step, average."""
    params = job.params
    images_N1HW, labels_N = job.digits.batch(index_N)
    images_N1HW = normalise(augment(images_N1HW, params.augment, state.distortion))
    with torch.autocast(job.device.type, dtype=torch.bfloat16, enabled=job.precision == "bfloat16"):
        logits_NK = job.model(images_N1HW)
    logits_NK = logits_NK.float()
    loss = F.cross_entropy(logits_NK, labels_N, label_smoothing=params.label_smoothing)
    state.adamw.zero_grad()
    loss.backward()  # type: ignore[no-untyped-call]
    norm = nn.utils.clip_grad_norm_(job.model.parameters(), params.gradient_clip)
    rate = learning_rate(state.step, job.steps, params)
    if not bool(torch.isfinite(loss.detach() + norm)):
        raise DivergedError(
            f"training diverged: step {state.step + 1} of {job.steps}: got loss {loss.item():.4g} and gradient norm "
            f"{norm.item():.4g} at learning rate {rate:.3g}, expected finite numbers; try a smaller train.learning_rate"
        )
    set_learning_rate(state.adamw, rate)
    state.adamw.step()
    state.average.update_parameters(job.model)
    state.step += 1
    totals.loss += loss.detach()
    totals.correct += (logits_NK.detach().argmax(dim=1) == labels_N).sum()
    totals.gradient_norm += norm


def _row(job: Job, state: _State, totals: _Totals) -> EpochRow:
    """The figures of the epoch that ``totals`` were summed over."""
    val_loss, val_accuracy = (None, None)
    if job.validation is not None:
        val_loss, val_accuracy = _validate(state.average.module, job.validation)
    return EpochRow(
        epoch=len(state.history) + 1,
        train_loss=float(totals.loss) / job.steps_per_epoch,
        val_loss=val_loss,
        train_accuracy=float(totals.correct) / (job.steps_per_epoch * job.params.batch_size),
        val_accuracy=val_accuracy,
        lr=learning_rate(state.step - 1, job.steps, job.params),
    )


def _validate(model: nn.Module, validation: Digits) -> tuple[float, float]:
    """Loss in nats per image, and accuracy, of ``model`` in evaluation mode and float32."""
    logits_NK = logits_of(model, validation, VALIDATION_BATCH)
    loss = F.cross_entropy(logits_NK, validation.labels_N)
    correct = (logits_NK.argmax(dim=1) == validation.labels_N).sum()
    return float(loss), float(correct) / len(validation)
