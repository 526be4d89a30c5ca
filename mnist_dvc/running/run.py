"""One training, whoever asks for it: params and digits to a job, snapshots on the way, reports of it, its results."""

from __future__ import annotations

import sys
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, Self

import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.describe import parameter_count
from mnist_dvc.errors import DivergedError
from mnist_dvc.files import check_writable
from mnist_dvc.inference import logits_of
from mnist_dvc.model import NETWORKS, build
from mnist_dvc.model.weights import Card
from mnist_dvc.randomness import generator
from mnist_dvc.running.inputs import Inputs
from mnist_dvc.running.interruption import Interruption
from mnist_dvc.running.measuring import measured
from mnist_dvc.running.resumable import ResumableTraining
from mnist_dvc.runtime import choose_device, choose_precision, provenance, set_up
from mnist_dvc.training.answers import read_answers
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import Finished
from mnist_dvc.training.snapshot import SnapshotFolder

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from pathlib import Path

    from torch import nn

    from mnist_dvc.params import Params
    from mnist_dvc.training.events import Event

    Networks = Mapping[str, Callable[[float], nn.Module]]

__all__ = ["SNAPSHOT_EVERY", "Beginning", "Report", "Trained", "last_epoch", "trained", "warn"]

SNAPSHOT_EVERY = 30.0
"""Seconds; at most so much work is lost with a process that is killed."""
PROBE = 250
"""Training images that the result must have an answer to."""


class Report(Protocol):
    """Something that a training is told on: a context manager that receives its events."""

    def __enter__(self) -> Self: ...
    def __exit__(self, *_: object) -> None: ...
    def handle(self, event: Event) -> None:
        """Take note of ``event``."""


@dataclass(frozen=True, slots=True)
class Beginning:
    """What a report may want to know before the first event.

    ``began`` is when the first process of the training did, in local time; ``step`` and ``epochs_done`` are what
    earlier ones did. What ``job`` holds changes with each step.
    """

    params: Params
    job: Job
    card: Card
    inputs: Inputs
    began: datetime
    step: int
    epochs_done: int

    @property
    def network(self) -> str:
        """The name of what is trained."""
        return self.params.model.name


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that has ended: its last event, what is to be said of the model, and what it came from.

    ``seconds`` are those from opening the digits to the last step, over all the processes that it took. Whoever
    publishes does so within ``inputs.publishing()``.
    """

    finished: Finished
    card: Card
    seconds: float
    began: datetime
    inputs: Inputs
    prepared: Prepared


@contextmanager
def trained(
    stage: str,
    params: Params,
    sections: tuple[str, ...],
    *,
    prepared: Path,
    teaching: Path,
    state: Path,
    outputs: Iterable[Path],
    reports: Callable[[Beginning], Sequence[Report]],
    networks: Networks = NETWORKS,
    validated: bool = True,
    fresh: bool = False,
    snapshot_every: float = SNAPSHOT_EVERY,
) -> Iterator[Trained]:
    """Train in this process, to be used with the lock of ``state`` held; the body publishes.

    An unfinished training of the same inputs is gone on with, to the same bits; its snapshots are forgotten only when
    the body is through.

    Args:
        stage: the module that asks, such as ``mnist_dvc.pipeline.train``.
        params: the whole of a params file.
        sections: those that the stage reads, ``model`` and ``train`` among them.
        prepared: folder of the prepared digits.
        teaching: the answers of teachers, read only if ``train.distillation`` asks for them.
        state: folder of the snapshots.
        outputs: what the body will write; what stands in their way is met before hours of work.
        reports: what the training is told on, each entered before its first event and left after its last.
        networks: the registry that ``model.name`` is looked up in.
        validated: measure the validation images, if some were held out, after each epoch.
        fresh: start anew, whatever snapshots there are.
        snapshot_every: seconds between two snapshots within an epoch; there is one at each epoch's end anyway.

    Raises:
        ParamsError: the network's name is unknown, a batch is larger than the training set, or the answers do not fit.
        DeviceError: the device of ``params`` is absent.
        DataError: the prepared digits are missing or damaged.
        ArtifactError: there are several snapshots and none of them is whole; or the answers are missing, damaged or
            about other digits.
        DivergedError: a loss, a gradient or a weight is not finite, or the result has no answers.
        StoppedError: a signal came; a snapshot was saved.
        OSError: a snapshot cannot be written, or one of ``outputs`` could not.
    """
    with Interruption() as interruption:
        device = choose_device(params.train.device)
        precision = choose_precision(params.train.precision, device)
        threads = set_up(params.train.threads, warn)
        files = (*Prepared.files(prepared), *([teaching] if params.train.distillation else []))
        inputs = Inputs.of(stage, params, sections, files, provenance(threads, device, precision))
        clock = time.perf_counter()
        digits = Prepared.open(prepared)
        job = _job(params, digits, teaching, networks, device, validated=validated)
        for path in outputs:
            check_writable(path)
        snapshots = SnapshotFolder(state / "resume", inputs.identity)
        if fresh:
            snapshots.clear()
        training = Training(job)
        loaded = time.perf_counter() - clock
        resumable = ResumableTraining(training, job, snapshots, interruption, snapshot_every=snapshot_every)
        resumable.restore()
        card = _card(params, job, digits, inputs)
        beginning = Beginning(params, job, card, inputs, resumable.began, training.step, training.epochs_done)
        finished = _follow(measured(resumable.events(), training, job), reports(beginning))
        _refuse_without_answers(finished.model, job.digits)
        yield Trained(finished, card, loaded + resumable.seconds, resumable.began, inputs, digits)
        resumable.finish()


def warn(line: str) -> None:
    """Tell people what a training does in another way than they asked for."""
    print(f"train: {line}", file=sys.stderr)


def _job(
    params: Params, digits: Prepared, teaching: Path, networks: Networks, device: torch.device, *, validated: bool
) -> Job:
    """What is to be trained on this machine."""
    train, answers = digits.read("train"), None
    if params.train.distillation:
        answers = read_answers(teaching, dataset=digits.dataset, data_digest=digits.digest, images=len(train))
    return Job(
        model=build(params.model, generator(params.train.seed, "weights"), networks).to(device),
        digits=Digits.on(device, train),
        validation=Digits.on(device, digits.read("validation")) if validated and "validation" in digits else None,
        params=params.train,
        precision=choose_precision(params.train.precision, device),
        teaching=None if answers is None else answers.to(device),
    )


def _card(params: Params, job: Job, digits: Prepared, inputs: Inputs) -> Card:
    """What will be said of the model."""
    return Card(
        network=params.model.name,
        parameters=parameter_count(job.model),
        dataset=digits.dataset,
        data_digest=digits.digest,
        provenance=dict(inputs.machine),
        classes=digits.classes,
    )


def _follow(events: Iterator[Event], reports: Sequence[Report]) -> Finished:
    """Pass every event to the reports and return the last one."""
    with ExitStack() as stack:
        entered = [stack.enter_context(report) for report in reports]
        for event in events:
            for report in entered:
                report.handle(event)
            if isinstance(event, Finished):
                return event
    raise RuntimeError("the training ended without a Finished event")


def _refuse_without_answers(model: nn.Module, digits: Digits) -> None:
    """Look at the result once, also where no image was held out: finite weights can still overflow on the way.

    Raises:
        DivergedError: a logit is infinite or no number.
    """
    some = Digits(digits.images_N1HW[:PROBE], digits.labels_N[:PROBE])
    if not bool(torch.isfinite(logits_of(model, some, PROBE)).all()):
        raise DivergedError(
            "training diverged: after the last step: got answers that are infinite or no numbers, expected finite "
            "numbers; try a smaller train.learning_rate"
        )


def last_epoch(done: Trained) -> dict[str, Any]:
    """The last epoch's figures; nothing that depends on the clock, so that a rerun writes the same bytes."""
    row = done.finished.history[-1]
    figures: dict[str, Any] = {
        "epochs": row.epoch,
        "train_loss": row.train_loss,
        "train_accuracy": row.train_accuracy,
        "val_loss": row.val_loss,
        "val_accuracy": row.val_accuracy,
    }
    return {key: value for key, value in figures.items() if value is not None}
