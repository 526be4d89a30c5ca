"""What the TensorBoard run of a training opens with: a card, the params and what the network is fed."""

from __future__ import annotations

import os
import subprocess
from typing import TYPE_CHECKING, Any

from mnist_dvc.augment import Distortions, distort
from mnist_dvc.randomness import generator
from mnist_dvc.report.tensorboard import TensorBoardReport
from mnist_dvc.running.run import warn
from mnist_dvc.running.runs import training_run

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor

    from mnist_dvc.paths import Paths
    from mnist_dvc.running.run import Beginning
    from mnist_dvc.training.engine import Job

__all__ = ["tensorboard_report"]

FED = 64
"""Images in the grid of what the network is fed."""


def tensorboard_report(paths: Paths, beginning: Beginning, *, timed: bool = False) -> TensorBoardReport:
    """What writes the run of a training that begins, or goes on; one that is ``timed`` shows only what costs no time.

    That is curves, params and card: of a training of ten seconds the graph alone would take four per cent.
    """
    job, seed = beginning.job, beginning.params.train.seed
    params = beginning.inputs.identity["params"]
    return TensorBoardReport(
        training_run(paths, beginning.network, seed, beginning.began),
        job.model,
        fed_N1HW=None if timed else _fed(job),
        params=params,
        card=_card(beginning, params, paths.root),
        epochs=job.params.epochs,
        step=beginning.step,
        epochs_done=beginning.epochs_done,
        say=warn,
    )


def _fed(job: Job) -> Tensor:
    """The first training images under distortions as those of the training, drawn from a stream of their own."""
    index_N = job.digits.labels_N.new_tensor(range(min(FED, len(job.digits))))
    images_N1HW, _ = job.digits.batch(index_N)
    draw = generator(job.params.seed, "shown", job.device)
    distortions = Distortions.draw(len(index_N), job.params.augment, draw)
    return (images_N1HW if distortions is None else distort(images_N1HW, distortions)).cpu()


def _card(beginning: Beginning, params: Mapping[str, Any], root: Path) -> str:
    """What is trained, on what, by which code, and how to do it again; Markdown."""
    card, revision = beginning.card, _revision(root)
    experiment = os.environ.get("DVC_EXP_NAME", "")
    again = ["git checkout " + revision.removesuffix("-dirty")] if revision else []
    again += [f"dvc exp apply {experiment}"] if experiment else []
    facts = {
        "network": f"{card.network}, {card.parameters:,} parameters",
        "data": f"{card.dataset}, digest `{card.data_digest}`",
        "code": f"git `{revision or 'no revision'}`, digest `{beginning.inputs.identity['code']}`",
        **{name: f"`{value}`" for name, value in beginning.inputs.machine.items()},
        "the same again": "`" + " && ".join([*again, "dvc repro"]) + "`",
    }
    recipe = {f"`{name}`": f"`{value}`" for name, value in params.items()}
    return f"{_table('what', 'which', facts)}\n\n### Recipe\n\n{_table('param', 'value', recipe)}\n"


def _table(left: str, right: str, rows: Mapping[str, str]) -> str:
    return "\n".join([f"| {left} | {right} |", "|---|---|", *(f"| {name} | {told} |" for name, told in rows.items())])


def _revision(root: Path) -> str:
    """The commit that is checked out, with ``-dirty`` after changes; empty where git knows of none."""
    asked = ["git", "--no-optional-locks", "-C", str(root), "describe", "--always", "--dirty", "--abbrev=40"]
    try:
        told = subprocess.run(  # noqa: S603  (the folder is the workspace, the rest is ours)
            [*asked, "--exclude=*"], capture_output=True, text=True, check=True, timeout=10
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return told.stdout.strip()
