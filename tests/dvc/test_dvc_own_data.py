"""A folder of pictures of one's own under DVC, as docs/data.md shows it, word for word."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest
from consoles import run_section
from PIL import Image
from repository import Repository

from mnist_dvc.data.sources import read_sample

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.pipeline

PAGE, HEADING = "docs/data.md", "Pictures by class"


def draw(folder: Path, digits: tuple[int, ...], count: int) -> None:
    """Real digits as people keep them: dark on light, a file each, in the folder of their class."""
    sample = read_sample().pool
    for digit in digits:
        (folder / f"{digit}").mkdir(parents=True)
        for number, image_HW in enumerate(sample.images_NHW[sample.labels_N == digit][:count]):
            Image.fromarray(255 - image_HW).resize((84, 84)).save(folder / f"{digit}/{number:03d}.png")


def test_pictures_by_class_are_learned_as_the_page_says(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "mnist_dvc", warm=True)
    repository.set_params(model_name="sprint", train_threads=1, evaluate_threads=1, train_batch_size=50)
    draw(repository.folder / "mine", (0, 1, 7), 70)
    repository.commit("pictures")
    told = run_section(PAGE, HEADING, repository.folder, repository.environment, {})
    assert "Prepared mine: 140 train, 40 validation, 30 test" in told[0]
    assert re.search(r"reports/metrics.json +0\.\d+ +mine ", told[0])
    manifest = json.loads((repository.folder / "data/prepared/manifest.json").read_text())
    assert manifest["splits"]["test"]["per_class"] == [10, 10, 0, 0, 0, 0, 0, 10, 0, 0]
    metrics = repository.metrics()
    assert (metrics["dataset"], metrics["images"]) == ("mine", 30)
    assert metrics["accuracy"] > 0.5
    assert "Running stage 'prepare'" in told[1]
    assert "Stage 'train' didn't change, skipping" in told[1]
