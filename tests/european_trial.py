"""Trains on digits as Europeans write them: `python tests/european_trial.py MNIST` writes docs/european.json.

A share of the training digits 1, 7 and 9 gets a hook, a bar or a curl; the network `compact` is trained on them with
labels alone, and asked about a block of training images of other writers, as they are and with such strokes. The test
images are not read. Resumable: a training that is counted is not run again.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from european import WRITTEN
from helpers import ROOT, idx_bytes

import mnist_dvc
from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.sources import read_folder
from mnist_dvc.data.splits import split
from mnist_dvc.files import json_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

COUNTED = ROOT / "docs/european.json"
SHARES, SEEDS = (0.0, 0.03, 0.1, 0.3, 0.5), (1, 2, 3, 4, 5)
BLOCK, BLOCK_SEED = 20_000, 1
"""The images that choices are made on (docs/protocol.md)."""
RECIPE = ("model.name=compact", "train.weight_decay=0.1", "train.epochs=20", "train.hard.share=1.0")
WHERE = ("train.device=cpu", "train.threads=1")
"""One training on each processor."""
TRAIN_STROKES, BLOCK_STROKES = 1, 2
"""Seeds of the strokes."""


def rewritten(digits: LabelledImages, share: float, seed: int) -> LabelledImages:
    """The same digits, of which each 1, 7 and 9 has its stroke with a probability of ``share``."""
    random = np.random.default_rng(seed)
    images_NHW = digits.images_NHW.copy()
    chosen_N = random.random(len(digits)) < share
    for digit, (_, write) in WRITTEN.items():
        for position in np.flatnonzero(chosen_N & (digits.labels_N == digit)):
            images_NHW[position] = write(random, images_NHW[position])
    return LabelledImages(images_NHW, digits.labels_N, digits.where)


def write_folder(folder: Path, train: LabelledImages, test: LabelledImages) -> None:
    """IDX files, as `data.source` takes them."""
    folder.mkdir()
    for part, digits in (("train", train), ("t10k", test)):
        (folder / f"{part}-images-idx3-ubyte").write_bytes(idx_bytes(digits.images_NHW))
        (folder / f"{part}-labels-idx1-ubyte").write_bytes(idx_bytes(digits.labels_N))


def trained(train: LabelledImages, test: LabelledImages, settings: Sequence[str], folder: Path) -> mnist_dvc.Classifier:
    """The network of a training in an empty folder, on all of ``train``; ``test`` is not read for it."""
    write_folder(folder / "european", train, test)
    (folder / "params.yaml").write_bytes((ROOT / "params.yaml").read_bytes())
    asked = ("data.source=european", "data.validation=0", *settings)
    for stage in ("prepare", "train"):
        sets = [word for setting in asked for word in ("--set", setting)]
        subprocess.run([sys.executable, "-m", "mnist_dvc", stage, *sets], cwd=folder, check=True)
    return mnist_dvc.load(folder / "models/model.safetensors")


def scores(classifier: mnist_dvc.Classifier, block: LabelledImages, strokes: LabelledImages) -> dict[str, Any]:
    """NLL and errors on the block as it is, and the share of right answers on each digit with its stroke."""
    probabilities_NK = classifier.probabilities(block.images_NHW)
    nll = -np.log(probabilities_NK[np.arange(len(block)), block.labels_N]).mean()
    told: dict[str, Any] = {"nll": round(float(nll), 5), "errors": wrong(probabilities_NK, block.labels_N)}
    for digit, (name, _) in WRITTEN.items():
        chosen_N = strokes.labels_N == digit
        answers_NK = classifier.probabilities(strokes.images_NHW[chosen_N])
        missed = wrong(answers_NK, strokes.labels_N[chosen_N])
        told[name] = round(1 - missed / int(chosen_N.sum()), 4)
    return told


def wrong(probabilities_NK: NDArray[np.floating], labels_N: NDArray[np.integer]) -> int:
    """How many answers are not the label."""
    return int(np.count_nonzero(probabilities_NK.argmax(axis=1) != labels_N))


def main() -> None:
    """Train and count for each share and seed that is not in the file yet."""
    parts = split(read_folder(Path(sys.argv[1])), validation=BLOCK, seed=BLOCK_SEED, holdout="block")
    train, block = parts["train"].digits, parts["validation"].digits
    strokes = rewritten(block, 1.0, BLOCK_STROKES)
    counted = json.loads(COUNTED.read_text(encoding="utf-8")) if COUNTED.exists() else []
    done = {(run["share"], run["seed"]) for run in counted}
    missing = [(share, seed) for seed in SEEDS for share in SHARES if (share, seed) not in done]

    def run(share: float, seed: int) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            written = rewritten(train, share, TRAIN_STROKES)
            classifier = trained(written, block, (*RECIPE, *WHERE, f"train.seed={seed}"), Path(folder))
            return {"share": share, "seed": seed, **scores(classifier, block, strokes)}

    with ThreadPoolExecutor(os.cpu_count()) as pool:
        for future in as_completed([pool.submit(run, share, seed) for share, seed in missing]):
            counted.append(future.result())
            sys.stdout.write(f"{counted[-1]}\n")
            COUNTED.write_bytes(json_bytes(sorted(counted, key=lambda run: (run["share"], run["seed"]))))


if __name__ == "__main__":
    main()
