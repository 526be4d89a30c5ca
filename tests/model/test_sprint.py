from __future__ import annotations

import torch

from mnist_dvc.describe import parameter_count
from mnist_dvc.model import NETWORKS
from mnist_dvc.model.sprint import Crop


def logits_with_ink_at(row: int, column: int) -> torch.Tensor:
    torch.manual_seed(0)
    model = NETWORKS["sprint"](0.0).eval()
    image_11HW = torch.zeros(1, 1, 28, 28)
    image_11HW[0, 0, row, column] = 1.0
    logits_1K: torch.Tensor = model(image_11HW)
    return logits_1K


def test_sprint_has_exactly_its_parameters() -> None:
    assert parameter_count(NETWORKS["sprint"](0.0)) == 19_514


def test_outer_two_pixels_are_not_looked_at_and_the_third_is() -> None:
    edges = [logits_with_ink_at(*place) for place in ((0, 0), (1, 14), (14, 1), (26, 14), (14, 26), (27, 27))]
    assert all(torch.equal(logits, edges[0]) for logits in edges)
    inner = [logits_with_ink_at(*place) for place in ((2, 14), (14, 2), (25, 14), (14, 25))]
    assert not any(torch.equal(logits, edges[0]) for logits in inner)


def test_crop_leaves_the_middle_as_it_is() -> None:
    images_N1HW = torch.arange(2 * 28 * 28.0).reshape(2, 1, 28, 28)
    assert torch.equal(Crop()(images_N1HW), images_N1HW[:, :, 2:26, 2:26])
