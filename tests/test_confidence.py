"""What docs/predict.md says of confidence is what was counted, and what is called unsure is where it says."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from helpers import ROOT, params, prepared_workspace

from mnist_dvc.classifier import SURE, load
from mnist_dvc.data.prepared import Prepared
from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from pathlib import Path

SCRIPT = ROOT / "docs/confidence.py"
COUNTED: dict[str, dict[str, Any]] = json.loads((ROOT / "docs/confidence.json").read_text(encoding="utf-8"))
PAGE = (ROOT / "docs/predict.md").read_text(encoding="utf-8")


def rows(counted: dict[str, Any]) -> tuple[str, str]:
    """What the two tables say of a network, after its name and what it was trained without."""
    answers, wrong = counted["answers"], counted["wrong"]
    below = counted["edges"].index(SURE) + 1
    images, unsure, missed = sum(answers), sum(answers[:below]), sum(wrong[:below])
    sure, left = images - unsure, sum(wrong) - missed
    summed = (
        f"{sum(wrong)} ({sum(wrong) / images:.2%})",
        f"{unsure} ({unsure / images:.1%})",
        f"{missed} ({missed / unsure:.0%})",
        f"{left} of {sure:,} ({left / sure:.2%})",
    )
    ranges = (f"{bad} of {of:,}" for bad, of in zip(wrong, answers, strict=True))
    return tuple(f"| {' | '.join(cells)} |".replace("%", " %") for cells in (summed, ranges))  # type: ignore[return-value]


@pytest.mark.parametrize("network", COUNTED)
def test_page_tells_what_was_counted(network: str) -> None:
    for row in rows(COUNTED[network]):
        assert row in PAGE


def test_other_counts_would_not_stand_there() -> None:
    other = COUNTED["reference"] | {"wrong": [13, 7, 5, 1, 1, 2]}
    assert not [row for row in rows(other) if row in PAGE]


def test_script_counts_what_the_model_answers(tmp_path: Path) -> None:
    paths = prepared_workspace(tmp_path)
    train(params(epochs=4, batch_size=20), paths)
    (paths.root / "docs").mkdir()
    shutil.copy(SCRIPT, paths.root / "docs")
    command = ["python", "docs/confidence.py", "reference", "models/model.safetensors", "data/prepared"]
    subprocess.run([sys.executable, *command[1:]], cwd=paths.root, check=True)
    (counted,) = json.loads((paths.root / "docs/confidence.json").read_text(encoding="utf-8")).values()
    validation = Prepared.open(paths.prepared).read("validation")
    probabilities_NK = load(paths.model).probabilities(validation.images_NHW)
    wrong_N = probabilities_NK.argmax(axis=1) != validation.labels_N
    unsure_N = probabilities_NK.max(axis=1) < SURE
    assert sum(counted["answers"]) == len(wrong_N)
    assert sum(counted["wrong"]) == np.count_nonzero(wrong_N)
    below = counted["edges"].index(SURE) + 1
    assert (sum(counted["answers"][:below]), sum(counted["wrong"][:below])) == (
        unsure_N.sum(),
        (wrong_N & unsure_N).sum(),
    )
