"""The training loop: a network, digits and params in, events out; no files, no clock in what it computes."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.data.digits import Digits, normalise
from mnist_dvc.errors import ArtifactError, DivergedError, ParamsError
from mnist_dvc.inference import logits_of
from mnist_dvc.model.blocks import set_dropout_generator
from mnist_dvc.model.weights import kind_of
from mnist_dvc.randomness import generator
from mnist_dvc.training.events import EpochEnded, EpochRow, Event, Finished, Started, Stepped
from mnist_dvc.training.flat import Flat, leave
from mnist_dvc.training.optim import AdamW, Average, learning_rate
from mnist_dvc.training.selection import Newest, Schedule
from mnist_dvc.training.snapshot import TrainingState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mnist_dvc.params import TrainParams
    from mnist_dvc.training.teaching import Teaching

__all__ = ["Job", "Training"]

VALIDATION_BATCH = 250
"""Images per forward pass without gradients; larger ones fall out of the processor's cache."""
STATISTICS = 1_000
"""Training images, evenly spaced, that the statistics of BatchNorm are estimated from; 10,000 do no better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """What is to be trained, on what, and how; nothing in it changes but the weights of ``model``.

    ``model`` is freshly built and on the device of ``digits``, the training images; ``validation`` is None for no
    measure between epochs; ``precision``, of the forward pass, is ``float32`` or ``bfloat16``; ``teaching``, on the
    same device, are answers to learn from beside the labels, None for the labels alone.

    Raises:
        ParamsError: a batch is larger than the training set, or ``params`` and ``teaching`` are not for each other.
    """

    model: nn.Module
    digits: Digits
    validation: Digits | None
    params: TrainParams
    precision: str
    teaching: Teaching | None = None

    def __post_init__(self) -> None:
        if self.params.batch_size > len(self.digits):
            expected = f"at most {len(self.digits)}, the number of training images"
            raise ParamsError("params", [f"train.batch_size: got {self.params.batch_size}, expected {expected}"])
        if self.teaching is None and self.params.distillation:
            got = f"{self.params.distillation:g} and no answers of teachers"
            raise ParamsError("params", [f"train.distillation: got {got}, expected 0, or run `study teach` before"])
        if self.teaching is not None and self.teaching.lesson.augment != self.params.augment:
            problem = (
                "train.augment: got other distortions than the teachers saw, expected theirs; run `study teach` again"
            )
            raise ParamsError("params", [problem])

    @property
    def device(self) -> torch.device:
        """Where everything lives."""
        return self.digits.labels_N.device

    @property
    def schedule(self) -> Schedule:
        """How many steps each epoch takes."""
        return Schedule(len(self.digits), self.params)

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.schedule.steps


@dataclass(slots=True)
class _Totals:
    """Sums over the steps of an epoch, on the device, so that no step waits for a number to arrive from there."""

    loss: Tensor
    gradient_norm: Tensor

    @classmethod
    def zero(cls, device: torch.device) -> _Totals:
        return cls(*torch.zeros(2, device=device).unbind())

    def are_finite(self) -> bool:
        """Whether no loss and no gradient of the epoch was infinite or no number; waits for the device."""
        return bool(torch.isfinite(self.loss + self.gradient_norm))


class Training:
    """One run of a job: an iterator of events, between any two of which its state can be captured or restored."""

    def __init__(self, job: Job) -> None:
        """``job.model`` is trained in place; everything else that a step changes is made here."""
        params = job.params
        self._job = job
        job.model.to(memory_format=torch.channels_last)
        self._schedule, self._steps = job.schedule, job.steps
        self._average = Average(job.model, params.ema_decay)
        self._flat = Flat.of(job.model)
        self._adamw = AdamW(job.model, self._flat, params)
        self._order = generator(params.seed, "order", job.device)
        self._distortion = generator(params.seed, "distortion", job.device)
        self._dropout = generator(params.seed, "dropout", job.device)
        self._newest = Newest.none(len(job.digits), job.device)
        self._totals = _Totals.zero(job.device)
        self._keep_what_an_epoch_begins_with()
        self._history: list[EpochRow] = []
        self._step = 0

    @property
    def step(self) -> int:
        """Steps done."""
        return self._step

    @property
    def epochs_done(self) -> int:
        """Epochs done, their validation included."""
        return len(self._history)

    def capture(self) -> TrainingState:
        """Everything that decides how the training goes on; its tensors change with the next step.

        Raises:
            DivergedError: it has gone wrong, so this state is no use to anyone.
        """
        self.refuse_divergence()
        tensors = {
            "order": self._order_before_epoch,
            "distortion": self._distortion_before_epoch,
            "dropout": self._dropout.get_state(),
            "losses/before": self._losses_before_epoch,
            "losses/newest": self._newest.losses_N,
            "right": self._newest.right_N,
            "totals": torch.stack((self._totals.loss, self._totals.gradient_norm)),
        }
        tensors |= {f"model/{name}": tensor for name, tensor in self._job.model.state_dict().items()}
        tensors |= {f"average/{name}": tensor for name, tensor in self._average.model.state_dict().items()}
        tensors |= {f"adamw/{name}": tensor for name, tensor in self._adamw.moments().items()}
        return TrainingState(step=self._step, history=tuple(self._history), tensors=tensors)

    def restore(self, state: TrainingState) -> None:
        """Go on from ``state``, which a training of an equal job captured; to be called before the first event.

        Raises:
            ArtifactError: ``state`` does not fit this job; nothing is changed.
        """
        self._refuse_unfit(state)
        tensors = state.tensors
        self._order.set_state(tensors["order"])
        self._order_before_epoch = tensors["order"]
        self._distortion.set_state(tensors["distortion"])
        self._distortion_before_epoch = tensors["distortion"]
        self._dropout.set_state(tensors["dropout"])
        self._losses_before_epoch = tensors["losses/before"].to(self._job.device)
        self._newest.losses_N.copy_(tensors["losses/newest"])
        self._newest.right_N.copy_(tensors["right"])
        self._totals = _Totals(*tensors["totals"].to(self._job.device).unbind())
        self._job.model.load_state_dict(_under("model", tensors))
        self._average.model.load_state_dict(_under("average", tensors))
        self._adamw.restore(_under("adamw", tensors))
        self._history = list(state.history)
        self._step = state.step
        if state.step:  # the rate of the step before is part of the optimiser's published state
            self._adamw.rate = learning_rate(state.step - 1, self._steps, self._job.params)

    def _refuse_unfit(self, state: TrainingState) -> None:
        expected = {name: kind_of(tensor) for name, tensor in self.capture().tensors.items()}
        got = {name: kind_of(tensor) for name, tensor in state.tensors.items()}
        for name in sorted(expected.keys() | got.keys()):
            if got.get(name) != expected.get(name):
                raise ArtifactError(
                    "snapshot", f"tensor {name}", got=got.get(name, "none"), expected=expected.get(name, "none")
                )
        epochs = len(state.history)
        first, last = self._schedule.bounds(epochs)
        if not first <= state.step <= last:
            raise ArtifactError("snapshot", "step", got=state.step, expected=f"one of epoch {epochs + 1}")

    def events(self) -> Iterator[Event]:
        """Train to the end and tell: ``Started``, then ``Stepped`` and ``EpochEnded``, at last ``Finished``.

        Raises:
            DivergedError: a loss or gradient is not finite; the weights are those before that step.
        """
        job = self._job
        set_dropout_generator(job.model, self._dropout)
        yield Started(
            epochs=job.params.epochs,
            steps=job.steps,
            device=job.device.type,
            precision=job.precision,
            train_images=len(job.digits),
            validation_images=0 if job.validation is None else len(job.validation),
            step=self._step,
            history=tuple(self._history),
        )
        while len(self._history) < job.params.epochs:
            yield from self._epoch()
        set_dropout_generator(job.model, None)
        model = self._published()
        for trained in (job.model, model):
            leave(trained)
        yield Finished(
            model=model,
            raw_model_state=job.model.state_dict(),
            optimizer_state=self._adamw.state_dict(),
            history=tuple(self._history),
        )

    def _epoch(self) -> Iterator[Event]:
        """What is left of an epoch, in a fresh order of the images that it takes, and its row."""
        job, epoch = self._job, len(self._history)
        began, images = time.perf_counter(), 0
        job.model.train()
        taken_M = self._schedule.choose(epoch, self._losses_before_epoch, self._order)
        distortions, view = self._lesson(taken_M)
        start, end = self._schedule.steps_before(epoch), self._schedule.steps_before(epoch + 1)
        while self._step < end:
            batch = slice(
                (self._step - start) * job.params.batch_size, (self._step - start + 1) * job.params.batch_size
            )
            self._train_on(taken_M[batch], None if distortions is None else distortions[batch], view)
            images += job.params.batch_size
            yield Stepped(step=self._step)
        self.refuse_divergence()
        seconds = time.perf_counter() - began
        row, gradient_norm = self._row(), float(self._totals.gradient_norm) / (end - start)
        self._history.append(row)
        self._totals = _Totals.zero(job.device)
        self._keep_what_an_epoch_begins_with()
        yield EpochEnded(row=row, images_per_second=images / seconds, gradient_norm=gradient_norm)

    def _keep_what_an_epoch_begins_with(self) -> None:
        """Its images and distortions are drawn at its start: within it, a snapshot has what they were drawn from."""
        self._order_before_epoch = self._order.get_state()
        self._distortion_before_epoch = self._distortion.get_state()
        self._losses_before_epoch = self._newest.losses_N.clone()

    def _lesson(self, taken_M: Tensor) -> tuple[Distortions | None, int | None]:
        """What this epoch does to the images at ``taken_M``, and the view that the teachers answered, if it has one."""
        job, epoch = self._job, len(self._history)
        if epoch >= job.params.epochs - job.params.clean_epochs:
            return None, None
        if job.teaching is None:
            return Distortions.draw(len(taken_M), job.params.augment, self._distortion), None
        view = job.teaching.view_of_epoch(epoch, job.params.seed)
        distortions = job.teaching.distortions(view, job.device)
        return None if distortions is None else distortions[taken_M], view

    def _train_on(self, index_N: Tensor, distortions: Distortions | None, view: int | None) -> None:
        """One batch: distort, predict, step, average."""
        job, params = self._job, self._job.params
        images_N1HW, labels_N = job.digits.batch(index_N)
        if distortions is not None:
            images_N1HW = distort(images_N1HW, distortions)
        with torch.autocast(job.device.type, dtype=torch.bfloat16, enabled=job.precision == "bfloat16"):
            logits_NK = job.model(normalise(images_N1HW))
        logits_NK = logits_NK.float()
        losses_N = self._losses(logits_NK, labels_N, index_N, view)
        loss = losses_N.mean()
        self._adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self._newest.note(index_N, losses_N.detach(), logits_NK.detach().argmax(dim=1) == labels_N)
        self._totals.loss += loss.detach()
        self._totals.gradient_norm += self._adamw.clip(params.gradient_clip)
        if job.device.type == "cpu":  # elsewhere a look at the sums would make every step wait; see refuse_divergence
            self.refuse_divergence()
        self._adamw.rate = learning_rate(self._step, self._steps, params)
        self._adamw.step()
        self._average.update(self._flat, self._step)
        self._step += 1

    def _losses(self, logits_NK: Tensor, labels_N: Tensor, index_N: Tensor, view: int | None) -> Tensor:
        """(N,) cross-entropy against the labels, mixed with the divergence from the teachers' answers where they are.

        Divergence is cross-entropy less the entropy of the answer, which no student can remove: of the same gradient,
        and an image that the teachers are in doubt about is not hard for it.
        """
        params, teaching = self._job.params, self._job.teaching
        losses_N = F.cross_entropy(logits_NK, labels_N, label_smoothing=params.label_smoothing, reduction="none")
        if teaching is None or view is None:
            return losses_N
        answers_NK = teaching.answers(view, index_N)
        divergences_N = F.kl_div(logits_NK.log_softmax(dim=1), answers_NK, reduction="none").sum(dim=1)
        return torch.lerp(losses_N, divergences_N.clamp(min=0.0), params.distillation)

    def _published(self) -> nn.Module:
        """The average so far, with statistics of its own: of undistorted training images, in float32."""
        digits = self._job.digits
        count = min(STATISTICS, len(digits))
        index_N = torch.arange(count, device=self._job.device) * (len(digits) // count)
        batches = (normalise(digits.batch(part)[0]) for part in index_N.chunk(-(-count // VALIDATION_BATCH)))
        self._average.estimate_statistics(batches)
        return self._average.model

    def refuse_divergence(self) -> None:
        """End here if a loss or a gradient of this epoch was not finite.

        On the CPU every step is checked before it changes the weights. A GPU would have to stop for it, so there it is
        for whoever keeps the state to ask before, and for the end of the epoch.

        Raises:
            DivergedError: one was.
        """
        if not self._totals.are_finite():
            rate = learning_rate(self._step, self._steps, self._job.params)
            raise DivergedError(
                f"training diverged: step {self._step + 1} of {self._steps}: got a loss or gradient that is "
                f"infinite or no number at learning rate {rate:.3g}, expected finite numbers; try a smaller "
                "train.learning_rate"
            )

    def _row(self) -> EpochRow:
        """The figures after an epoch."""
        job = self._job
        train_loss, train_accuracy = self._newest.means()
        val_loss, val_accuracy = (None, None)
        if job.validation is not None:
            val_loss, val_accuracy = _validate(self._published(), job.validation)
            if not math.isfinite(val_loss):
                raise DivergedError(
                    f"training diverged: step {self._step} of {self._steps}: got validation loss {val_loss}, "
                    "expected a finite number; try a smaller train.learning_rate"
                )
        return EpochRow(
            epoch=len(self._history) + 1,
            train_loss=train_loss,
            val_loss=val_loss,
            train_accuracy=train_accuracy,
            val_accuracy=val_accuracy,
            lr=learning_rate(self._step - 1, self._steps, job.params),
        )


def _under(prefix: str, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The tensors whose names begin with ``prefix/``, without it."""
    return {name.removeprefix(f"{prefix}/"): t for name, t in tensors.items() if name.startswith(f"{prefix}/")}


def _validate(model: nn.Module, validation: Digits) -> tuple[float, float]:
    """Loss in nats per image, and accuracy, of ``model`` in evaluation mode and float32."""
    logits_NK = logits_of(model, validation, VALIDATION_BATCH)
    loss = F.cross_entropy(logits_NK, validation.labels_N)
    correct = (logits_NK.argmax(dim=1) == validation.labels_N).sum()
    return float(loss), float(correct) / len(validation)
