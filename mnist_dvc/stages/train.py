"""Stage ``train``: prepared digits and params to a published model, its history and its checkpoint."""

from __future__ import annotations

import contextlib
import time
from dataclasses import asdict, astuple
from datetime import datetime
from typing import TYPE_CHECKING, Any

from rich.console import Console

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.files import csv_bytes, json_bytes, write_atomically
from mnist_dvc.model import build
from mnist_dvc.model.describe import parameter_count
from mnist_dvc.model.weights import Card, weights_bytes
from mnist_dvc.randomness import generator
from mnist_dvc.report.console import ConsoleReport
from mnist_dvc.report.tensorboard import TensorBoardReport
from mnist_dvc.report.text import duration, per_cent
from mnist_dvc.runtime import choose_device, choose_precision, provenance, set_up
from mnist_dvc.training.checkpoint import checkpoint_bytes
from mnist_dvc.training.engine import Job
from mnist_dvc.training.engine import train as train_events
from mnist_dvc.training.events import HISTORY_COLUMNS, EpochRow, Event, Finished

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.stages.paths import Paths

__all__ = ["train"]


def train(params: Params, paths: Paths) -> None:
    """Train the network of ``params``, show how it goes, and write every output of the stage.

    Raises:
        ParamsError: the network's name is unknown or a batch is larger than the training set.
        DeviceError: the device of ``params`` is absent.
        DataError: the prepared digits are missing or damaged.
        DivergedError: a loss or gradient is not finite; nothing is written.
        OSError: an output cannot be written.
    """
    began = datetime.now().astimezone()
    clock = time.perf_counter()
    device = choose_device(params.train.device)
    precision = choose_precision(params.train.precision, device)
    set_up(params.train.threads)
    model = build(params.model, generator(params.train.seed, "weights")).to(device)
    prepared = Prepared.open(paths.prepared)
    run = paths.runs / f"{began:%Y%m%d_%H%M%S}_{params.model.name}"
    job = Job(
        model=model,
        digits=Digits.on(device, prepared.read("train")),
        validation=Digits.on(device, prepared.read("validation")) if "validation" in prepared else None,
        params=params.train,
        precision=precision,
    )
    finished = _follow(train_events(job), run)
    card = Card(
        network=params.model.name,
        parameters=parameter_count(model),
        dataset=prepared.dataset,
        data_digest=prepared.digest,
        provenance=provenance(params.train, device, precision),
    )
    written = _publish(finished, params, card, paths, began)
    _say_done(finished, time.perf_counter() - clock, [*written, run])


def _follow(events: Iterator[Event], run: Path) -> Finished:
    """Pass every event to the reports and return the last one."""
    with contextlib.ExitStack() as stack:
        reports: list[ConsoleReport | TensorBoardReport] = [ConsoleReport(), TensorBoardReport(run)]
        for report in reports:
            stack.enter_context(report)
        for event in events:
            for report in reports:
                report.handle(event)
            if isinstance(event, Finished):
                return event
    raise RuntimeError("the training ended without a Finished event")


def _publish(finished: Finished, params: Params, card: Card, paths: Paths, began: datetime) -> list[Path]:
    """Write all outputs, the tracked ones first; returns their paths."""
    last = finished.history[-1]
    state = finished.model.state_dict()
    checkpoint = checkpoint_bytes(
        model_state=state,
        raw_model_state=finished.raw_model_state,
        optimizer_state=finished.optimizer_state,
        history=finished.history,
        about=asdict(card) | {"params": params.model_dump()},
    )
    dated = f"mnist_model_{began:%Y%m%d_%H%M%S}_acc{_accuracy_in_name(last)}.pth"
    outputs = {
        paths.model: weights_bytes(state, card),
        paths.checkpoint: checkpoint,
        paths.train_report / "history.csv": csv_bytes(HISTORY_COLUMNS, map(astuple, finished.history)),
        paths.train_report / "metrics.json": json_bytes(_metrics(finished, card)),
        paths.dated_checkpoints / dated: checkpoint,
    }
    for path, content in outputs.items():
        write_atomically(path, content)
    return list(outputs)


def _accuracy_in_name(row: EpochRow) -> str:
    """The validation accuracy in per cent, ``99.62``; ``none`` where no image was held out to measure it on."""
    return "none" if row.val_accuracy is None else f"{100 * row.val_accuracy:.2f}"


def _metrics(finished: Finished, card: Card) -> dict[str, Any]:
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


def _say_done(finished: Finished, seconds: float, written: list[Path]) -> None:
    console = Console(highlight=False)
    accuracy = finished.history[-1].val_accuracy
    result = "No validation images." if accuracy is None else f"Validation accuracy: {per_cent(accuracy)}"
    console.print(f"Training completed. {result}  ({duration(seconds)})")
    for path in written:
        console.print(f"  {path}", soft_wrap=True)
