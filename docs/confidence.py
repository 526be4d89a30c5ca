"""Counts wrong answers by confidence into docs/confidence.json: `python docs/confidence.py NAME MODEL PREPARED`.

They are those of a model for the validation images in a folder of prepared digits; docs/predict.md tells of them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

import mnist_dvc
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.files import file_sha256, json_bytes

COUNTED = Path(__file__).with_name("confidence.json")
EDGES = (0.6, 0.8, 0.9, 0.95, 0.99)
"""Between the ranges that are counted, each with its lower end."""


def counts(model: Path, prepared: Path) -> dict[str, Any]:
    """Answers and wrong answers in each range, from the lowest on."""
    digits = Prepared.open(prepared)
    validation = digits.read("validation")
    probabilities_NK = mnist_dvc.load(model).probabilities(validation.images_NHW)
    range_N = np.searchsorted(EDGES, probabilities_NK.max(axis=1), side="right")
    wrong_N = probabilities_NK.argmax(axis=1) != validation.labels_N
    answers, wrong = (np.bincount(range_N[chosen_N], minlength=len(EDGES) + 1).tolist() for chosen_N in (..., wrong_N))
    told = {"dataset": digits.dataset, "data_digest": digits.digest, "model_sha256": file_sha256(model)}
    return told | {"edges": list(EDGES), "answers": answers, "wrong": wrong}


def main() -> None:
    """Count for the model that the command line names, beside what was counted for others."""
    name, model, prepared = sys.argv[1:]
    counted = json.loads(COUNTED.read_text(encoding="utf-8")) if COUNTED.exists() else {}
    COUNTED.write_bytes(json_bytes(counted | {name: counts(Path(model), Path(prepared))}))


if __name__ == "__main__":
    main()
