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
from mnist_dvc.training.optim import AdamW, Average, learning_rate
from mnist_dvc.training.snapshot import TrainingState

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mnist_dvc.params import TrainParams
    from mnist_dvc.training.teaching import Teaching

__all__ = ["Job", "Training"]

VALIDATION_BATCH = 250
"""Images per forward pass without gradients; larger ones fall out of the processor's cache."""


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
        if self.steps_per_epoch == 0:
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
    def steps_per_epoch(self) -> int:
        """Whole batches in the training images."""
        return len(self.digits) // self.params.batch_size

    @property
    def steps(self) -> int:
        """Steps of the whole training."""
        return self.steps_per_epoch * self.params.epochs


@dataclass(slots=True)
class _Totals:
    """Sums over the steps of an epoch, on the device, so that no step waits for a number to arrive from there."""

    loss: Tensor
    correct: Tensor
    gradient_norm: Tensor

    @classmethod
    def zero(cls, device: torch.device) -> _Totals:
        return cls(*torch.zeros(3, device=device).unbind())

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
        self._average = Average(job.model, params.ema_decay)
        self._adamw = AdamW(job.model, params)
        self._order = generator(params.seed, "order", job.device)
        self._distortion = generator(params.seed, "distortion", job.device)
        self._dropout = generator(params.seed, "dropout", job.device)
        # Order and distortions of an epoch are drawn at its start: kept is what they were drawn from.
        self._order_before_epoch = self._order.get_state()
        self._distortion_before_epoch = self._distortion.get_state()
        self._totals = _Totals.zero(job.device)
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
            "totals": torch.stack((self._totals.loss, self._totals.correct, self._totals.gradient_norm)),
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
        self._totals = _Totals(*tensors["totals"].to(self._job.device).unbind())
        self._job.model.load_state_dict(_under("model", tensors))
        self._average.model.load_state_dict(_under("average", tensors))
        self._adamw.restore(_under("adamw", tensors))
        self._history = list(state.history)
        self._step = state.step
        if state.step:  # the rate of the step before is part of the optimiser's published state
            self._adamw.rate = learning_rate(state.step - 1, self._job.steps, self._job.params)

    def _refuse_unfit(self, state: TrainingState) -> None:
        expected = {name: kind_of(tensor) for name, tensor in self.capture().tensors.items()}
        got = {name: kind_of(tensor) for name, tensor in state.tensors.items()}
        for name in sorted(expected.keys() | got.keys()):
            if got.get(name) != expected.get(name):
                raise ArtifactError(
                    "snapshot", f"tensor {name}", got=got.get(name, "none"), expected=expected.get(name, "none")
                )
        epochs = len(state.history)
        if (
            not epochs * self._job.steps_per_epoch
            <= state.step
            <= min((epochs + 1) * self._job.steps_per_epoch, self._job.steps)
        ):
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
        yield Finished(
            model=self._average.model.eval(),
            raw_model_state=job.model.state_dict(),
            optimizer_state=self._adamw.state_dict(),
            history=tuple(self._history),
        )

    def _epoch(self) -> Iterator[Event]:
        """What is left of one pass over the training images in a fresh order, and its row."""
        job, size = self._job, self._job.params.batch_size
        began, images = time.perf_counter(), 0
        job.model.train()
        order_N = torch.randperm(len(job.digits), generator=self._order, device=job.device)
        distortions, view = self._lesson()
        while self._step < (len(self._history) + 1) * job.steps_per_epoch:
            start = (self._step - len(self._history) * job.steps_per_epoch) * size
            self._train_on(order_N[start : start + size], distortions, view)
            images += size
            yield Stepped(step=self._step)
        self.refuse_divergence()
        seconds = time.perf_counter() - began
        row, gradient_norm = self._row(), float(self._totals.gradient_norm) / job.steps_per_epoch
        self._history.append(row)
        self._totals = _Totals.zero(job.device)
        self._order_before_epoch = self._order.get_state()
        self._distortion_before_epoch = self._distortion.get_state()
        yield EpochEnded(row=row, images_per_second=images / seconds, gradient_norm=gradient_norm)

    def _lesson(self) -> tuple[Distortions | None, int | None]:
        """What this epoch does to all its images, and the view of them that the teachers answered, if it has one."""
        job, epoch = self._job, len(self._history)
        if epoch >= job.params.epochs - job.params.clean_epochs:
            return None, None
        if job.teaching is None:
            return Distortions.draw(len(job.digits), job.params.augment, self._distortion), None
        view = job.teaching.view_of_epoch(epoch, job.params.seed)
        return job.teaching.distortions(view, job.device), view

    def _train_on(self, index_N: Tensor, distortions: Distortions | None, view: int | None) -> None:
        """One batch: distort, predict, step, average."""
        job, params = self._job, self._job.params
        images_N1HW, labels_N = job.digits.batch(index_N)
        if distortions is not None:
            images_N1HW = distort(images_N1HW, distortions[index_N])
        with torch.autocast(job.device.type, dtype=torch.bfloat16, enabled=job.precision == "bfloat16"):
            logits_NK = job.model(normalise(images_N1HW))
        logits_NK = logits_NK.float()
        loss = self._loss(logits_NK, labels_N, index_N, view)
        self._adamw.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(job.model.parameters(), params.gradient_clip)
        self._totals.loss += loss.detach()
        self._totals.correct += (logits_NK.detach().argmax(dim=1) == labels_N).sum()
        self._totals.gradient_norm += norm
        if job.device.type == "cpu":  # elsewhere a look at the sums would make every step wait; see refuse_divergence
            self.refuse_divergence()
        self._adamw.rate = learning_rate(self._step, job.steps, params)
        self._adamw.step()
        self._average.update(job.model, self._step)
        self._step += 1

    def _loss(self, logits_NK: Tensor, labels_N: Tensor, index_N: Tensor, view: int | None) -> Tensor:
        """Cross-entropy against the labels, mixed with that against the teachers' answers where there are any."""
        params, teaching = self._job.params, self._job.teaching
        loss = F.cross_entropy(logits_NK, labels_N, label_smoothing=params.label_smoothing)
        if teaching is None or view is None:
            return loss
        answers_NK = teaching.answers(view, index_N)
        return torch.lerp(loss, F.cross_entropy(logits_NK, answers_NK), params.distillation)

    def refuse_divergence(self) -> None:
        """End here if a loss or a gradient of this epoch was not finite.

        On the CPU every step is checked before it changes the weights. A GPU would have to stop for it, so there it is
        for whoever keeps the state to ask before, and for the end of the epoch.

        Raises:
            DivergedError: one was.
        """
        if not self._totals.are_finite():
            rate = learning_rate(self._step, self._job.steps, self._job.params)
            raise DivergedError(
                f"training diverged: step {self._step + 1} of {self._job.steps}: got a loss or gradient that is "
                f"infinite or no number at learning rate {rate:.3g}, expected finite numbers; try a smaller "
                "train.learning_rate"
            )

    def _row(self) -> EpochRow:
        """The figures of the epoch that the totals were summed over."""
        job, totals = self._job, self._totals
        val_loss, val_accuracy = (None, None)
        if job.validation is not None:
            val_loss, val_accuracy = _validate(self._average.model, job.validation)
            if not math.isfinite(val_loss):
                raise DivergedError(
                    f"training diverged: step {self._step} of {job.steps}: got validation loss {val_loss}, expected a "
                    "finite number; try a smaller train.learning_rate"
                )
        return EpochRow(
            epoch=len(self._history) + 1,
            train_loss=float(totals.loss) / job.steps_per_epoch,
            val_loss=val_loss,
            train_accuracy=float(totals.correct) / (job.steps_per_epoch * job.params.batch_size),
            val_accuracy=val_accuracy,
            lr=learning_rate(self._step - 1, job.steps, job.params),
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
