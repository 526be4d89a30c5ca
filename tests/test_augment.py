from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from helpers import augment_params
from torch import Tensor
from torch.nn import functional

from mnist_dvc.augment import Distortions, distort

if TYPE_CHECKING:
    from mnist_dvc.params import AugmentParams


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def augment(images_N1HW: Tensor, params: AugmentParams, generator: torch.Generator) -> Tensor:
    distortions = Distortions.draw(len(images_N1HW), params, generator)
    assert distortions is not None
    return distort(images_N1HW, distortions)


def dots(n: int = 64) -> Tensor:
    """A 4 x 4 square in the middle of each image."""
    images_N1HW = torch.zeros(n, 1, 28, 28)
    images_N1HW[:, :, 12:16, 12:16] = 1.0
    return images_N1HW


def centres(images_N1HW: Tensor) -> Tensor:
    """Centre of mass (N, 2) as row and column in pixels from the middle."""
    axis = torch.arange(28.0) - 13.5
    mass_N = images_N1HW.sum(dim=(1, 2, 3))
    rows_N = (images_N1HW.sum(dim=(1, 3)) * axis).sum(dim=1) / mass_N
    columns_N = (images_N1HW.sum(dim=(1, 2)) * axis).sum(dim=1) / mass_N
    return torch.stack((rows_N, columns_N), dim=1)


def test_no_distortion_is_none_and_draws_nothing() -> None:
    generator = seeded()
    before = generator.get_state()
    assert Distortions.draw(64, augment_params(), generator) is None
    assert torch.equal(generator.get_state(), before)


def test_a_batch_gets_the_distortions_of_its_own_images() -> None:
    images_N1HW = dots()
    distortions = Distortions.draw(64, augment_params(shift=3.0, elastic=0.5), seeded())
    assert distortions is not None
    index_M = torch.tensor([40, 3, 3, 17])
    expected_N1HW = distort(images_N1HW, distortions)[index_M]
    torch.testing.assert_close(distort(images_N1HW[index_M], distortions[index_M]), expected_N1HW)


@pytest.mark.parametrize("kind", ["rotation", "shift", "scale", "shear", "elastic"])
def test_each_distortion_changes_images_and_keeps_their_form(kind: str) -> None:
    size = 20.0 if kind == "rotation" else 0.5
    images_N1HW = dots()
    changed_N1HW = augment(images_N1HW, augment_params(**{kind: size}), seeded())
    assert changed_N1HW.shape == images_N1HW.shape
    assert changed_N1HW.dtype == torch.float32
    assert not torch.allclose(changed_N1HW, images_N1HW)
    assert float(changed_N1HW.min()) >= 0.0
    assert float(changed_N1HW.max()) <= 1.0 + 1e-6


def test_shift_is_in_pixels_and_bounded() -> None:
    centres_N2 = centres(augment(dots(500), augment_params(shift=3.0), seeded()))
    assert float(centres_N2.abs().max()) <= 3.0 + 1e-4
    assert float(centres_N2.abs().max()) > 2.9
    torch.testing.assert_close(centres_N2.mean(dim=0), torch.zeros(2), atol=0.3, rtol=0.0)


def test_scale_changes_the_area_within_its_bounds() -> None:
    area_N = augment(dots(500), augment_params(scale=0.2), seeded()).sum(dim=(1, 2, 3))
    assert 16 / 1.2**2 * 0.9 < float(area_N.min()) < 16 * 0.8
    assert 16 * 1.2 < float(area_N.max()) < 16 / 0.8**2 * 1.1


def test_rotation_is_in_degrees() -> None:
    bar_N1HW = torch.zeros(500, 1, 28, 28)
    bar_N1HW[:, :, 13:15, 4:24] = 1.0
    turned_N1HW = augment(bar_N1HW, augment_params(rotation=30.0), seeded())
    axis = torch.arange(28.0) - 13.5
    right_N = turned_N1HW[:, 0, :, 14:].sum(dim=2)  # mass per row of the right half
    rise_N = (right_N * axis).sum(dim=1) / right_N.sum(dim=1)
    angle_N = torch.rad2deg(torch.atan2(rise_N, torch.tensor(5.0)))
    assert 26.0 < float(angle_N.max()) < 33.0
    assert -33.0 < float(angle_N.min()) < -26.0


def test_each_image_gets_its_own_distortion() -> None:
    changed_N1HW = augment(dots(2), augment_params(shift=3.0), seeded())
    assert not torch.equal(changed_N1HW[0], changed_N1HW[1])


@pytest.mark.parametrize("elastic", [0.0, 0.7])
def test_maps_are_those_of_torch(elastic: float) -> None:
    """Its own grid of the same affine maps, which is slower; the field has the same points as control points do."""
    images_N1HW = torch.rand(16, 1, 28, 28, generator=seeded(1))
    distortions = Distortions.draw(16, augment_params(rotation=20.0, shift=3.0, scale=0.2, elastic=elastic), seeded())
    assert distortions is not None
    grid_NHW2 = functional.affine_grid(distortions.affine_N23, [16, 1, 28, 28], align_corners=False)
    if distortions.elastic_N2GG is not None:
        field_N2HW = functional.interpolate(distortions.elastic_N2GG, (28, 28), mode="bicubic", align_corners=True)
        assert float(field_N2HW.abs().max()) > 0.01
        grid_NHW2 += field_N2HW.permute(0, 2, 3, 1)
    expected = functional.grid_sample(images_N1HW, grid_NHW2, align_corners=False)
    assert torch.allclose(distort(images_N1HW, distortions), expected, atol=1e-4)
    turned = Distortions(distortions.affine_N23.flip(1), distortions.elastic_N2GG)
    assert not torch.allclose(distort(images_N1HW, turned), expected, atol=0.1)


def test_generator_decides_alone() -> None:
    params = augment_params(rotation=10.0, shift=2.0, scale=0.1, shear=0.1, elastic=0.5)
    first, again, other = (augment(dots(), params, seeded(seed)) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
