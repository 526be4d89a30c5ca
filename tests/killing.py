"""Kill a real training at random moments, start it again until it ends, and look at what is on the disk each time."""

from __future__ import annotations

import json
import os
import select
import shutil
import signal
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Self

import numpy as np
from helpers import params

from mnist_dvc.files import sha256
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.train import train

ZYGOTE = Path(__file__).with_name("zygote.py")
TRAIN = ("train", "--snapshot-every", "0")
MOST_KILLS = 200


class Zygote:
    """Forks processes of our command that cost no import; a context manager."""

    def __init__(self) -> None:
        process = subprocess.Popen(
            [sys.executable, str(ZYGOTE)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        if process.stdin is None or process.stdout is None:
            raise RuntimeError("no pipes")
        self._process, self._questions, self._answers = process, process.stdin, process.stdout
        self.sabotage = "nothing"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._questions.close()
        self._process.wait(30)
        self._answers.close()

    def start(self, folder: Path, *arguments: str) -> int:
        """Start a process and return its number."""
        self._questions.write((json.dumps([str(folder), self.sabotage, list(arguments)]) + "\n").encode())
        return self._answer()

    def wait(self, seconds: float | None = None) -> int | None:
        """The exit status of the process that was started last, or None if it still runs after ``seconds``."""
        ready, _, _ = select.select([self._answers], [], [], seconds)
        return self._answer() if ready else None

    def run(self, folder: Path, *arguments: str) -> int | None:
        """Start a process and wait for its end."""
        self.start(folder, *arguments)
        return self.wait()

    def _answer(self) -> int:
        return int(self._answers.readline())


@dataclass
class Report:
    """What became of one training: where the kills fell, and what was wrong on the disk after any of them."""

    kills: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)

    def __iadd__(self, other: Report) -> Self:
        self.kills += other.kills
        self.wrong += other.wrong
        return self


def tracked(paths: Paths) -> dict[str, bytes]:
    """The tracked outputs of the training that are there."""
    return {path.name: path.read_bytes() for path in paths.of_training if path.is_file()}


def published(paths: Paths) -> dict[str, bytes]:
    """Those of them that appear at the end alone: all but the history, which grows."""
    return {name: content for name, content in tracked(paths).items() if name != paths.history.name}


def golden(paths: Paths) -> dict[str, bytes]:
    """What a training leaves that nothing interrupted; removed again."""
    train(params(), paths)
    outputs = tracked(paths)
    for path in paths.of_training:
        path.unlink()
    return outputs


def kill_until_done(
    zygote: Zygote, template: Paths, folder: Path, golden: dict[str, bytes], *, seed: int, longest: float
) -> Report:
    """Train in a copy of ``template`` with a kill after 0 to ``longest`` seconds, again and again, to the end.

    Each attempt may take 2 % longer than the one before, so that a machine that has become slower gets there, too.
    """
    draw, report = np.random.default_rng(seed), Report()
    shutil.copytree(template.root, folder)
    paths, newest = Paths(folder), -1
    for kills in range(MOST_KILLS):
        process = zygote.start(folder, *TRAIN)
        status = zygote.wait(draw.uniform(0, longest * 1.02**kills))
        if status is None:
            os.kill(process, signal.SIGKILL)
            status = zygote.wait()
        if status == 0:
            break
        if status != -signal.SIGKILL:
            report.wrong.append(f"seed {seed}: exit status {status}: {(folder / 'log').read_text()[-300:]}")
            break
        newest = _inspect(paths, golden, newest, report)
    if tracked(paths) != golden:
        report.wrong.append(f"seed {seed}: other bytes at the end")
    report.wrong += [f"seed {seed}: left behind {path}" for path in folder.rglob("*.tmp")]
    return report


def _inspect(paths: Paths, golden: dict[str, bytes], newest: int, report: Report) -> int:
    """Note where a kill fell and what it broke; returns the newest step that is safe on the disk."""
    strays = list(paths.root.rglob(".*.tmp"))
    published = tracked(paths)
    if not golden[paths.history.name].startswith(published.pop(paths.history.name, b"")):  # it grows by an epoch
        report.wrong.append("the history is half-written")
    for name, content in published.items():
        if content != golden[name]:
            report.wrong.append(f"{name} is half-written")
    steps = _whole_snapshots(paths, report)
    if published and not steps:
        report.kills["after publishing"] += 1
        return -1
    if max(steps, default=-1) < newest:
        report.wrong.append(f"step {newest} was safe and is lost")
    where = "publishing" if published else "training" if steps else "before the first snapshot"
    report.kills[f"{where}, in a save" if strays else where] += 1
    return max(steps, default=-1)


def _whole_snapshots(paths: Paths, report: Report) -> list[int]:
    """The steps of the snapshots that verify; one that does not is an error, since each save is atomic."""
    steps = []
    for path in (paths.state / "resume").glob("*/step-*.snapshot"):
        line, _, payload = path.read_bytes().partition(b"\n")
        if line.endswith(sha256(payload).encode()):
            steps.append(int(path.stem.removeprefix("step-")))
        else:
            report.wrong.append(f"{path.name} is damaged")
    return steps
