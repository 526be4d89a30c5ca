"""What docs/protocol.md says of the order of MNIST's training file."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import ROOT

from mnist_dvc.data.sources import SHARED, read_folder

MNIST = ROOT / SHARED


def steps_of_one(labels_N: np.ndarray) -> float:
    """How often the next label is this one plus one, counted around."""
    return float((np.diff(labels_N.astype(int)) % 10 == 1).mean())


@pytest.mark.real_data
@pytest.mark.skipif(not MNIST.exists(), reason="the MNIST files are not beside the repository")
def test_every_second_label_follows_the_form_that_was_filled_in() -> None:
    labels_N = read_folder(MNIST).pool.labels_N
    assert 0.28 < steps_of_one(labels_N[1::2]) < 0.38
    shuffled_N = np.random.default_rng(0).permutation(labels_N)
    assert 0.08 < steps_of_one(shuffled_N[1::2]) < 0.12
