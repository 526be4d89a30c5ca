"""Strokes that Europeans add are drawn on the digits that have them, and docs/pictures.md tells what was counted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
from european import STROKES, WRITTEN
from european_trial import rewritten, scores, trained
from helpers import ROOT
from pictures_table import european_rows
from scipy import ndimage

import mnist_dvc
from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.sources import read_sample

if TYPE_CHECKING:
    from pathlib import Path

PAGE = (ROOT / "docs/pictures.md").read_text(encoding="utf-8")
COUNTED = json.loads((ROOT / "docs/european.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def digits() -> LabelledImages:
    """40 of each class."""
    pool = read_sample().pool
    chosen_N = np.concatenate([np.flatnonzero(pool.labels_N == digit)[:40] for digit in range(10)])
    return LabelledImages(pool.images_NHW[chosen_N], pool.labels_N[chosen_N], "sample")


def test_no_other_digit_is_changed(digits: LabelledImages) -> None:
    changed_N = (rewritten(digits, 1.0, 1).images_NHW != digits.images_NHW).any(axis=(1, 2))
    assert set(digits.labels_N[changed_N]) == set(WRITTEN)
    assert changed_N[np.isin(digits.labels_N, list(WRITTEN))].mean() > 0.95
    assert not (rewritten(digits, 0.0, 1).images_NHW != digits.images_NHW).any()


def test_share_and_seed_decide(digits: LabelledImages) -> None:
    first = rewritten(digits, 0.3, 1).images_NHW
    assert (first == rewritten(digits, 0.3, 1).images_NHW).all()
    assert (first != rewritten(digits, 0.3, 2).images_NHW).any()
    changed = (first != digits.images_NHW).any(axis=(1, 2)).sum()
    assert 0.15 < changed / np.isin(digits.labels_N, list(WRITTEN)).sum() < 0.45


@pytest.mark.parametrize("digit", WRITTEN)
def test_stroke_hangs_on_the_digit_and_leaves_it_as_mnist_has_them(digits: LabelledImages, digit: int) -> None:
    chosen_N = digits.labels_N == digit
    before_NHW, after_NHW = digits.images_NHW[chosen_N], rewritten(digits, 1.0, 1).images_NHW[chosen_N]
    pieces = [[ndimage.label(image > 64, np.ones((3, 3)))[1] for image in images] for images in (before_NHW, after_NHW)]
    assert np.mean(pieces[1]) <= np.mean(pieces[0])
    for image_HW in after_NHW:
        rows, columns = np.flatnonzero(image_HW.any(axis=1)), np.flatnonzero(image_HW.any(axis=0))
        assert 19 <= max(np.ptp(rows), np.ptp(columns)) + 1 <= 21
        assert np.abs(np.array(ndimage.center_of_mass(image_HW)) - 14).max() <= 0.6


def test_released_network_misses_hooks_more_than_it_misses_ones(digits: LabelledImages) -> None:
    """So it is the stroke that is hard."""
    ones_N = digits.labels_N == 1
    classifier, strokes = mnist_dvc.load(), rewritten(digits, 1.0, 1)
    found = [classifier.probabilities(some.images_NHW[ones_N]).argmax(axis=1) for some in (digits, strokes)]
    assert (found[0] == 1).mean() > 0.95
    assert (found[1] == 1).mean() < 0.8


def test_trial_trains_on_what_it_is_given_and_counts(digits: LabelledImages, tmp_path: Path) -> None:
    settings = ("train.epochs=1", "train.batch_size=50", "model.name=compact-1k")
    told = scores(trained(digits, digits, settings, tmp_path), digits, rewritten(digits, 1.0, 2))
    manifest = json.loads((tmp_path / "data/prepared/manifest.json").read_text(encoding="utf-8"))
    assert manifest["dataset"] == "european"
    assert set(told) == {"nll", "errors", *STROKES}
    assert told["nll"] > 0
    assert 0 < told["errors"] <= len(digits)


def test_page_tells_what_was_counted() -> None:
    assert european_rows(COUNTED) in PAGE


def test_other_counts_would_not_stand_there() -> None:
    assert european_rows([run | {"errors": run["errors"] + 9} for run in COUNTED]) not in PAGE
