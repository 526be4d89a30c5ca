"""Train MNIST as the authors of other frameworks do in their examples, and as studies/fast does, one after the other.

    python tests/rivals/side_by_side.py FOLDER [--results FILE] [--epochs N]

Each is a process of its own with all processors. FOLDER has MNIST's files; `--epochs` is to try this script, no more.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from mnist_dvc.params import load_params
from mnist_dvc.paths import Paths
from mnist_dvc.runtime import machine
from mnist_dvc.study.shown import RIVALS
from mnist_dvc.training.selection import Schedule

HERE = Path(__file__).parent
FAST = HERE.parents[1] / "studies/fast/params.yaml"
SEED, TRAINING_IMAGES = 1, 60_000
"""The first seed of the study, whatever it comes to."""
GOAL = 0.994


def ours(folder: str, epochs: int | None) -> dict[str, Any]:
    """What studies/fast does, in a folder of its own."""
    program, changes = [sys.executable, "-m", "mnist_dvc"], [] if epochs is None else ["-S", f"train.epochs={epochs}"]
    with tempfile.TemporaryDirectory() as made:
        paths = Paths(Path(made))
        (paths.root / "params.yaml").write_text(FAST.read_text(encoding="utf-8"), encoding="utf-8")
        surroundings = os.environ | {"MNIST_DVC_DATA": str(Path(folder).resolve())}
        for command in (["prepare"], ["study", "trial", "--seed", str(SEED), *changes]):
            subprocess.run([*program, *command], cwd=made, env=surroundings, check=True, stdout=subprocess.DEVNULL)
        params = load_params(paths.root / "params.yaml")
        trial = paths.trial(params.model.name, SEED)
        scored, timed = (json.loads((trial / f"{name}.json").read_text("utf-8")) for name in ("metrics", "timing"))
    train = params.train if epochs is None else params.train.model_copy(update={"epochs": epochs})
    return {
        "framework": f"mnist_dvc {machine()['versions']['mnist_dvc']}, torch {machine()['versions']['torch']}",
        "example": "studies/fast",
        "parameters": scored["parameters"],
        "images": Schedule(TRAINING_IMAGES, train).steps * train.batch_size / train.epochs,
        "epochs": [(0.0, 0.0)] * (train.epochs - 1) + [(timed["train_seconds"], scored["accuracy"])],
    }


def rival(script: Path, folder: str, epochs: int | None) -> dict[str, Any]:
    """What the process of ``script`` tells in its last line."""
    asked = [sys.executable, str(script), folder, *([] if epochs is None else [str(epochs)])]
    told: dict[str, Any] = json.loads(subprocess.check_output(asked, text=True).splitlines()[-1])
    return told


def row_of(told: dict[str, Any]) -> dict[str, str]:
    """A row of the table: the end of the training, and when the test images were first read well enough."""
    seconds, accuracy = told["epochs"][-1]
    reached = next((f"{at:.1f}" for at, accuracy in told["epochs"] if accuracy >= GOAL), "never")
    here = machine()
    return {
        "framework": told["framework"],
        "example": told["example"],
        "parameters": str(told["parameters"]),
        "epochs": str(len(told["epochs"])),
        "images_per_second": f"{told['images'] * len(told['epochs']) / seconds:.0f}",
        "seconds": f"{seconds:.1f}",
        "accuracy": f"{accuracy:.4f}",
        "seconds_to_goal": reached,
        "machine": f"{here['processor']}; {here['cpus']} logical CPUs; Python {here['versions']['python']}",
    }


def table(rows: list[dict[str, str]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(RIVALS), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def tell(rows: list[dict[str, str]], results: Path | None) -> None:
    """Print the newest row and write all that there are: the next may take long, or be interrupted."""
    print(rows[-1], flush=True)
    if results:
        results.write_text(table(rows), encoding="utf-8")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", metavar="FOLDER")
    parser.add_argument("--results", metavar="FILE", type=Path)
    parser.add_argument("--epochs", metavar="N", type=int)
    asked = parser.parse_args()
    rows = [row_of(ours(asked.folder, asked.epochs))]
    for script in sorted(HERE.glob("rival_*.py")):
        tell(rows, asked.results)
        try:
            rows.append(row_of(rival(script, asked.folder, asked.epochs)))
        except subprocess.CalledProcessError as error:
            print(f"{script.name}: not measured: exit code {error.returncode}", flush=True)
    tell(rows, asked.results)


if __name__ == "__main__":
    main()
