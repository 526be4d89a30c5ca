"""One training as the stages run it: params and digits to a job, the job to its last event, its results to bytes."""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.describe import parameter_count
from mnist_dvc.model import NETWORKS, build
from mnist_dvc.model.weights import Card
from mnist_dvc.randomness import generator
from mnist_dvc.report.console import ConsoleReport
from mnist_dvc.running.interruption import Interruption
from mnist_dvc.running.resumable import ResumableTraining
from mnist_dvc.runtime import choose_device, choose_precision, code_digest, provenance, set_up
from mnist_dvc.training.engine import Job, Training
from mnist_dvc.training.events import Finished
from mnist_dvc.training.snapshot import SnapshotFolder
from mnist_dvc.training.teaching import read_teaching

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from pathlib import Path

    from torch import nn

    from mnist_dvc.params import Params
    from mnist_dvc.training.events import Event

    Networks = Mapping[str, Callable[[float], nn.Module]]

__all__ = ["SNAPSHOT_EVERY", "follow", "identity", "job_of", "metrics_of", "trained"]

SNAPSHOT_EVERY = 30.0
"""Seconds; at most so much work is lost with a process that is killed."""


def job_of(
    params: Params,
    prepared: Prepared,
    teaching: Path,
    networks: Networks = NETWORKS,
) -> tuple[Job, Card]:
    """What is to be trained on this machine, and what will be said of it.

    Args:
        params: the whole of a params file; the sections ``model`` and ``train`` are read.
        prepared: the digits.
        teaching: the answers of teachers, read only if ``train.distillation`` asks for them.
        networks: the registry that ``model.name`` is looked up in.

    Raises:
        ParamsError: the network's name is unknown, a batch is larger than the training set, or the answers do not fit.
        DeviceError: the device of ``params`` is absent.
        DataError: the prepared digits are damaged.
        ArtifactError: the answers are missing, damaged or about other digits.
    """
    device = choose_device(params.train.device)
    precision = choose_precision(params.train.precision, device)
    set_up(params.train.threads)
    job = Job(
        model=build(params.model, generator(params.train.seed, "weights"), networks).to(device),
        digits=Digits.on(device, prepared.read("train")),
        validation=Digits.on(device, prepared.read("validation")) if "validation" in prepared else None,
        params=params.train,
        precision=precision,
        teaching=read_teaching(teaching, prepared.digest).to(device) if params.train.distillation else None,
    )
    card = Card(
        network=params.model.name,
        parameters=parameter_count(job.model),
        dataset=prepared.dataset,
        data_digest=prepared.digest,
        provenance=provenance(params.train, device, precision),
    )
    return job, card


def identity(params: Params, job: Job, card: Card) -> dict[str, Any]:
    """All that decides the bits of the result: only a snapshot of the same is gone on from."""
    return {
        "params": {"model": params.model.model_dump(), "train": params.train.model_dump()},
        "data": card.data_digest,
        "teaching": None if job.teaching is None else job.teaching.digest,
        "code": code_digest(),
        "machine": card.provenance,
    }


@dataclass(frozen=True, slots=True)
class Trained:
    """A training that has ended: its last event, what is to be said of the model, and how long it took.

    ``seconds`` are those from opening the digits to the last step, over all the processes that it took.
    """

    finished: Finished
    card: Card
    seconds: float


@contextmanager
def trained(params: Params, prepared: Path, state: Path, *, teaching: Path, networks: Networks) -> Iterator[Trained]:
    """Train in this process, told on the console, with snapshots in ``state``, which the caller holds the lock of.

    The body publishes; the snapshots are forgotten only when it is through.

    Raises:
        as :func:`job_of`; StoppedError: a signal came; DivergedError: a loss or gradient is not finite.
    """
    began = time.perf_counter()
    with Interruption() as interruption:
        job, card = job_of(params, Prepared.open(prepared), teaching, networks)
        snapshots = SnapshotFolder(state / "resume", identity(params, job, card))
        loaded = time.perf_counter() - began
        resumable = ResumableTraining(Training(job), snapshots, interruption, snapshot_every=SNAPSHOT_EVERY)
        resumable.restore()
        with ConsoleReport() as console:
            finished = follow(resumable.events(), console.handle)
        yield Trained(finished, card, loaded + resumable.seconds)
        resumable.finish()


def follow(events: Iterator[Event], *reports: Callable[[Event], None]) -> Finished:
    """Pass every event to the reports and return the last one."""
    for event in events:
        for report in reports:
            report(event)
        if isinstance(event, Finished):
            return event
    raise RuntimeError("the training ended without a Finished event")


def metrics_of(finished: Finished, card: Card) -> dict[str, Any]:
    """The last epoch's figures; nothing that depends on the clock, so that a rerun writes the same bytes."""
    row = finished.history[-1]
    figures: dict[str, Any] = {
        "dataset": card.dataset,
        "network": card.network,
        "parameters": card.parameters,
        "epochs": row.epoch,
        "train_loss": row.train_loss,
        "train_accuracy": row.train_accuracy,
        "val_loss": row.val_loss,
        "val_accuracy": row.val_accuracy,
    }
    return {key: value for key, value in figures.items() if value is not None}
