"""Random distortions: drawn for all images of an epoch, applied to a batch at once, on the device it lives on."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from mnist_dvc.params import AugmentParams

__all__ = ["Distortions", "distort"]

SIDE = 28
"""Pixels; shifts and displacements are told in them and applied in units of half a side."""
ELASTIC_GRID = 5
"""Control points per side of the elastic field: about one per stroke width, so strokes bend and do not tear."""


@dataclass(frozen=True, slots=True)
class Distortions:
    """Random distortions of N images: an affine map for each and, where asked for, the control points of a field."""

    affine_N23: Tensor
    """Maps from output to input coordinates in [-1, 1]."""
    elastic_N2GG: Tensor | None
    """Displacements in the same units, columns then rows."""

    @classmethod
    def draw(cls, n: int, params: AugmentParams, generator: torch.Generator) -> Distortions | None:
        """Distortions of ``n`` images of the side ``SIDE``, or None if every half-width is 0.

        Args:
            n: number of images.
            params: half-widths of the uniform distributions; a half-width of 0 switches that distortion off.
            generator: the only source of randomness; the distortions live on its device.
        """
        if not any((params.rotation, params.shift, params.scale, params.shear, params.elastic)):
            return None
        affine_N23 = _affine(n, params, generator)
        return cls(affine_N23, _control_points(n, params.elastic, generator) if params.elastic else None)

    def __getitem__(self, images: Tensor | slice) -> Distortions:
        """Those of some images, given by their positions or from one position up to another."""
        elastic_N2GG = None if self.elastic_N2GG is None else _rows(self.elastic_N2GG, images)
        return Distortions(_rows(self.affine_N23, images), elastic_N2GG)


def _rows(tensor: Tensor, rows: Tensor | slice) -> Tensor:
    return tensor[rows] if isinstance(rows, slice) else tensor.index_select(0, rows)  # which is faster on a CPU


def distort(images_N1HW: Tensor, distortions: Distortions) -> Tensor:
    """Distort each image by its own map and field.

    Args:
        images_N1HW: float32 images whose background is 0.
        distortions: of as many images, on the same device.

    Returns:
        Images of the same shape, dtype and device; pixels drawn from outside the image are 0.
    """
    height, width = images_N1HW.shape[2:]
    grid_N2HW = _grid(distortions.affine_N23, height, width)
    if distortions.elastic_N2GG is not None:
        grid_N2HW += _field(distortions.elastic_N2GG, height, width)
    grid_NHW2 = grid_N2HW.permute(0, 2, 3, 1)
    return F.grid_sample(images_N1HW, grid_NHW2, mode="bilinear", padding_mode="zeros", align_corners=False)


def _grid(affine_N23: Tensor, height: int, width: int) -> Tensor:
    """(N, 2, height, width) input coordinates of every output pixel, columns then rows.

    What ``F.affine_grid`` gives as (N, height, width, 2), as a sum of a term for the column and one for the row:
    on a CPU it takes N small matrix products instead, a tenth of the step of the fastest network.
    """
    x_W, y_H = _pixel_centres(width, affine_N23), _pixel_centres(height, affine_N23)
    of_column_N2W = affine_N23[:, :, :1] * x_W
    of_row_N2H = affine_N23[:, :, 1:2] * y_H + affine_N23[:, :, 2:]
    return of_column_N2W[:, :, None, :] + of_row_N2H[:, :, :, None]


def _pixel_centres(n: int, like: Tensor) -> Tensor:
    """Where the centres of ``n`` pixels in a row lie if its ends are -1 and 1."""
    return (torch.arange(n, device=like.device, dtype=like.dtype) * 2.0 + 1.0) / n - 1.0


def _affine(n: int, params: AugmentParams, generator: torch.Generator) -> Tensor:
    """(n, 2, 3) maps from output to input coordinates in [-1, 1]: rotation times shear times scale, then shift."""
    unit_6N = torch.rand((6, n), generator=generator, device=generator.device) * 2.0 - 1.0
    angle_N = unit_6N[0] * math.radians(params.rotation)
    shear_N = unit_6N[1] * params.shear
    scale_x_N, scale_y_N = 1.0 + unit_6N[2] * params.scale, 1.0 + unit_6N[3] * params.scale
    cos_N, sin_N = torch.cos(angle_N), torch.sin(angle_N)
    shift_2N = unit_6N[4:] * (params.shift / (SIDE / 2))
    row_x = (cos_N * scale_x_N, (cos_N * shear_N - sin_N) * scale_y_N, shift_2N[0])
    row_y = (sin_N * scale_x_N, (sin_N * shear_N + cos_N) * scale_y_N, shift_2N[1])
    return torch.stack((*row_x, *row_y), dim=1).view(n, 2, 3)


def _control_points(n: int, sigma: float, generator: torch.Generator) -> Tensor:
    """(n, 2, G, G) displacements in [-1, 1] units, of deviation ``sigma`` pixels."""
    shape = (n, 2, ELASTIC_GRID, ELASTIC_GRID)
    return torch.randn(shape, generator=generator, device=generator.device) * (2.0 * sigma / SIDE)


def _field(elastic_N2GG: Tensor, height: int, width: int) -> Tensor:
    """(N, 2, height, width) smooth displacements through the control points.

    Source: Simard, Steinkraus and Platt, Best Practices for Convolutional Neural Networks Applied to Visual Document
    Analysis, ICDAR 2003, section 2; a coarse grid with bicubic interpolation takes the place of their Gaussian filter.
    """
    return F.interpolate(elastic_N2GG, size=(height, width), mode="bicubic", align_corners=True)
