"""Random distortions of a whole batch at once, on the device the batch lives on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from mnist_dvc.params import AugmentParams

__all__ = ["augment"]

ELASTIC_GRID = 5
"""Control points per side of the elastic field: about one per stroke width, so strokes bend and do not tear."""


def augment(images_N1HW: Tensor, params: AugmentParams, generator: torch.Generator) -> Tensor:
    """Distort each image by its own random affine map and, if asked for, its own elastic field.

    Args:
        images_N1HW: float32 images whose background is 0.
        params: half-widths of the uniform distributions; a half-width of 0 switches that distortion off.
        generator: the only source of randomness, on the device of the images.

    Returns:
        Images of the same shape, dtype and device; pixels drawn from outside the image are 0.
    """
    if not any((params.rotation, params.shift, params.scale, params.shear, params.elastic)):
        return images_N1HW
    n, _, height, width = images_N1HW.shape
    affine_N23 = _affine(n, params, generator, half_side=width / 2)
    grid_NHW2 = F.affine_grid(affine_N23, [n, 1, height, width], align_corners=False)
    if params.elastic:
        grid_NHW2 = grid_NHW2 + _elastic(n, height, width, params.elastic, generator)
    return F.grid_sample(images_N1HW, grid_NHW2, mode="bilinear", padding_mode="zeros", align_corners=False)


def _affine(n: int, params: AugmentParams, generator: torch.Generator, *, half_side: float) -> Tensor:
    """(n, 2, 3) maps from output to input coordinates in [-1, 1]: rotation times shear times scale, then shift."""
    unit_6N = torch.rand((6, n), generator=generator, device=generator.device) * 2.0 - 1.0
    angle_N = unit_6N[0] * math.radians(params.rotation)
    shear_N = unit_6N[1] * params.shear
    scale_x_N, scale_y_N = 1.0 + unit_6N[2] * params.scale, 1.0 + unit_6N[3] * params.scale
    cos_N, sin_N = torch.cos(angle_N), torch.sin(angle_N)
    shift_2N = unit_6N[4:] * (params.shift / half_side)
    row_x = (cos_N * scale_x_N, (cos_N * shear_N - sin_N) * scale_y_N, shift_2N[0])
    row_y = (sin_N * scale_x_N, (sin_N * shear_N + cos_N) * scale_y_N, shift_2N[1])
    return torch.stack((*row_x, *row_y), dim=1).view(n, 2, 3)


def _elastic(n: int, height: int, width: int, sigma: float, generator: torch.Generator) -> Tensor:
    """(n, height, width, 2) smooth displacements in [-1, 1] units; control points have deviation ``sigma`` pixels.

    Source: Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document
    Analysis, ICDAR 2003, section 2; a coarse grid with bicubic interpolation takes the place of their Gaussian filter.
    """
    shape = (n, 2, ELASTIC_GRID, ELASTIC_GRID)
    coarse = torch.randn(shape, generator=generator, device=generator.device) * (2.0 * sigma / width)
    field_N2HW = F.interpolate(coarse, size=(height, width), mode="bicubic", align_corners=True)
    return field_N2HW.permute(0, 2, 3, 1)
