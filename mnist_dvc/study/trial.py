"""A trial of a study: one network trained with one seed, scored once on the test images, and the time that it took."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import torch

from mnist_dvc.data.digits import Digits
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.errors import ArtifactError, DataError
from mnist_dvc.files import exclusive, file_sha256, publish, write_atomically
from mnist_dvc.inference import logits_of
from mnist_dvc.metrics import Predictions, scores
from mnist_dvc.model import NETWORKS, TEACHERS, check_name
from mnist_dvc.model.weights import weights_bytes
from mnist_dvc.records import record_bytes
from mnist_dvc.report.console import ConsoleReport
from mnist_dvc.report.tensorboard import show_scores
from mnist_dvc.report.text import duration, per_cent
from mnist_dvc.running.run import Trained, last_epoch, trained, warn
from mnist_dvc.running.runs import training_run
from mnist_dvc.running.shown import tensorboard_report
from mnist_dvc.runtime import machine
from mnist_dvc.study.ensemble import Ensemble
from mnist_dvc.study.fidelity import fidelity
from mnist_dvc.study.records import METRICS, TIMING, Candidate, Learned, Timing, Trial
from mnist_dvc.training.teaching import read_teaching

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from mnist_dvc.params import Params
    from mnist_dvc.paths import Paths
    from mnist_dvc.running.run import Networks
    from mnist_dvc.training.teaching import Teaching

__all__ = ["candidate", "teacher", "trial"]


def trial(params: Params, paths: Paths, *, teaching: Path | None = None) -> None:
    """Train the network and seed of ``params``, read the test images once, write ``trials/<network>/<seed>/``.

    ``model.safetensors`` are the averaged weights, ``metrics.json`` what they came to, ``timing.json`` how long it took
    and where; the first two are the same bytes whenever the same machine does it again.

    Args:
        params: the recipe.
        paths: the workspace of the study.
        teaching: the answers of teachers, by default those of this study; read if ``train.distillation`` asks for them.

    Raises:
        as :func:`mnist_dvc.pipeline.train.train`, a changed test split included.
        OSError: an output cannot be written.
    """
    folder = paths.trial(params.model.name, params.train.seed)
    with _training(
        params, paths, "trial", ("model", "train", "evaluate"), folder, networks=NETWORKS, teaching=teaching
    ) as done:
        scored = _scores_on(done, "test", params.evaluate.batch_size)
        _publish(folder, params, done, scored)
    run = training_run(paths, done.card.network, params.train.seed, done.began)
    show_scores(run, len(done.finished.history), scored, warn)
    print(
        f"{done.card.network}, seed {params.train.seed}: {per_cent(scored['accuracy'])} on {done.card.dataset} "
        f"({scored['errors']} errors), trained in {duration(done.seconds)}  ->  {folder}"
    )


def teacher(params: Params, paths: Paths) -> None:
    """Train a teacher, which may be larger than the budget and never sees a test image; written as a trial is.

    Raises:
        as :func:`trial`.
    """
    folder = paths.trial(params.model.name, params.train.seed)
    with _training(params, paths, "teacher", ("model", "train"), folder, networks=TEACHERS) as done:
        _publish(folder, params, done, {})
    row = done.finished.history[-1]
    held_out = "none held out" if row.val_accuracy is None else f"{per_cent(row.val_accuracy)} on the validation images"
    print(
        f"{done.card.network}, seed {params.train.seed}: {per_cent(row.train_accuracy)} on its distorted digits, "
        f"{held_out}, trained in {duration(done.seconds)}  ->  {folder}"
    )


def candidate(params: Params, paths: Paths, teachers: list[Path], *, question: str, recipe: str) -> None:
    """Train a candidate for a recipe, score it on the images held out, write ``candidates/.../metrics.json``.

    No test image is read, so any number of candidates may be compared. The file is a row of the comparison; its folder
    is named by question, recipe and seed.

    Args:
        params: of the candidate.
        paths: the workspace of the study, whose prepared digits have images held out.
        teachers: model files of all who gave its answers, to be compared with; none if it is not to be compared.
        question: what is to be chosen, a name that :func:`mnist_dvc.study.records.check_file_name` lets through.
        recipe: what this candidate is called in the answer, another such name.

    Raises:
        ArtifactError: ``teachers`` are missing, damaged, or not all those whose answers these are and no other.
        DataError: no images are held out.
        as :func:`trial`.
    """
    prepared = Prepared.open(paths.prepared)
    if "validation" not in prepared:
        raise DataError(paths.prepared, "images held out", got="none", expected="some; see data.validation")
    asked = _asked(teachers, paths, prepared) if teachers else None
    folder = paths.candidate(question, recipe, params.train.seed)
    with _training(params, paths, "candidate", ("model", "train"), folder, networks=NETWORKS, validated=False) as done:
        scored = _scores_on(done, "validation", params.evaluate.batch_size)
        told = {"question": question, "recipe": recipe, "seed": params.train.seed, "network": done.card.network}
        told |= {key: scored[key] for key in ("images", "errors", "nll")}
        if asked is not None:
            answered_by, teaching = asked
            told["fidelity"] = fidelity(done.finished.model, answered_by, prepared, teaching).model_dump()
        with done.inputs.publishing():
            write_atomically(folder / METRICS, record_bytes(Candidate, told))
    print(f"{recipe}, seed {params.train.seed}: NLL {scored['nll']:.5f}, {scored['errors']} errors  ->  {folder}")


def _asked(teachers: list[Path], paths: Paths, prepared: Prepared) -> tuple[Ensemble, Teaching]:
    """``teachers`` and the answers of this study, once it was seen that these are theirs, of all of them."""
    teaching = read_teaching(paths.teaching, prepared.digest)
    asked = Ensemble.of_teachers(teachers, prepared, torch.device("cpu"), teaching.lesson.precision)
    given = [file_sha256(path) or "" for path in teachers]
    if sorted(given) != sorted(teaching.lesson.teachers):
        got, expected = (", ".join(digest[:12] for digest in digests) for digests in (given, teaching.lesson.teachers))
        raise ArtifactError(paths.teaching, "teachers", got=got, expected=f"{expected}, who gave these answers")
    return asked, teaching


@contextmanager
def _training(
    params: Params,
    paths: Paths,
    command: str,
    sections: tuple[str, ...],
    folder: Path,
    *,
    networks: Networks,
    teaching: Path | None = None,
    validated: bool = True,
) -> Iterator[Trained]:
    """One training told on the console, with a lock and snapshots of its own, so that several can run at a time."""
    check_name(params.model.name, networks)  # before anything is made in a folder of that name
    state = paths.state / folder.relative_to(paths.root)
    with (
        exclusive(state, f"mnist-dvc study {command}", folder),
        trained(
            __name__,
            params,
            sections,
            prepared=paths.prepared,
            teaching=teaching or paths.teaching,
            state=state,
            outputs=[folder / METRICS],
            reports=lambda beginning: [ConsoleReport(), tensorboard_report(paths, beginning, timed=True)],
            networks=networks,
            validated=validated,
        ) as done,
    ):
        yield done


def _publish(folder: Path, params: Params, done: Trained, scored: dict[str, Any]) -> None:
    """Write what a trial leaves behind; without its metrics it is none."""
    about = {"dataset": done.card.dataset, "network": done.card.network, "parameters": done.card.parameters}
    result = {"seed": params.train.seed} | about | last_epoch(done) | scored
    threads = done.card.provenance["threads"]
    timing = {"train_seconds": round(done.seconds, 3), "threads": threads, "machine": machine()}
    outputs = {
        folder / "model.safetensors": weights_bytes(done.finished.model.state_dict(), done.card),
        folder / TIMING: record_bytes(Timing, timing),
        folder / METRICS: record_bytes(Trial if scored else Learned, result),
    }
    with done.inputs.publishing():
        publish(outputs, folder / METRICS)


def _scores_on(done: Trained, split: str, batch_size: int) -> dict[str, Any]:
    """Of another split of the very digits that it was trained on, on the CPU in float32."""
    digits = Digits.on(torch.device("cpu"), done.prepared.read(split))
    logits_NK = logits_of(done.finished.model.cpu(), digits, batch_size)
    return asdict(scores(Predictions.from_logits(logits_NK.numpy(), digits.labels_N.numpy())))
