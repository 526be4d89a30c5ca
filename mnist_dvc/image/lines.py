"""Lines that span a picture from side to side, as those of tables, forms and ruled paper, taken out of its ink."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import ndimage

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

__all__ = ["without_hairs", "without_lines"]

THICKEST = 0.06
"""Of the shorter side; what is thicker is a bar."""
STEEPEST = 0.15
"""Rise over run."""
COVERED = 0.85
"""Of its length, that a line shows."""
BENT = 0.005
"""Of the picture's longer side: so far may a line be from straight."""
HAIR = 0.4
"""Of the width of strokes."""
THIN = 0.3
"""Share of a line's length that no stroke goes along."""
MOST_ENDS = 64
"""On either side; a picture with more shows noise."""
MOST_LINES = 64
"""Straight ways along ink from side to side; a picture with more shows noise, or a pattern."""


def without_lines(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The mask (H, W) without what runs straight from the left side to the right one, or from top to bottom.

    Strokes that cross a line stay whole.
    """
    lines_HW = _across(mask_HW) | _across(mask_HW.T).T
    return mask_HW & ~lines_HW


def without_hairs(mask_HW: NDArray[np.bool_], strong_HW: NDArray[np.bool_]) -> NDArray[np.bool_] | None:
    """The mask (H, W) without what is much thinner than strokes, whose width the strong ink tells.

    None where they are too thin themselves to tell.
    """
    strong_HW = strong_HW & mask_HW
    edge_HW = strong_HW & ~ndimage.binary_erosion(strong_HW)
    width = 2 * float(strong_HW.sum()) / max(1.0, float(edge_HW.sum()))
    size = round(HAIR * width)
    if size < 2:  # noqa: PLR2004  (an opening by one pixel changes nothing)
        return None
    opened_HW = ndimage.binary_opening(mask_HW, np.ones((size, size), bool))
    bold_HW: NDArray[np.bool_] = mask_HW & ndimage.maximum_filter(opened_HW, 3)
    return bold_HW


def _across(mask_HW: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The lines from left to right."""
    height, width = mask_HW.shape
    lines_HW = np.zeros_like(mask_HW)
    thickest = max(1.0, THICKEST * min(height, width))
    left, right = (_ends(side_H, thickest) for side_H in (mask_HW[:, 0], mask_HW[:, -1]))
    if not (0 < len(left) <= MOST_ENDS and 0 < len(right) <= MOST_ENDS):
        return lines_HW
    slack = max(1, round(BENT * max(height, width)))
    near_HW = ndimage.maximum_filter1d(mask_HW, 2 * slack + 1, axis=0)
    columns_W = np.arange(width)
    inked = [rows_W for rows_W in _paths(left, right, width) if near_HW[rows_W, columns_W].mean() >= COVERED]
    if not 0 < len(inked) <= MOST_LINES:
        return lines_HW
    run_HW = _inked_above(mask_HW) + _inked_above(mask_HW[::-1])[::-1] - 1
    for rows_W in inked:
        lines_HW[_line(mask_HW, run_HW, rows_W, slack, thickest)] = True
    return lines_HW


def _ends(side_H: NDArray[np.bool_], thickest: float) -> list[float]:
    """The middles of runs of ink on a side that are no thicker."""
    edges = np.flatnonzero(np.diff(np.pad(side_H.astype(np.int8), 1)))
    return [(first + end - 1) / 2 for first, end in edges.reshape(-1, 2) if end - first <= thickest]


def _paths(left: list[float], right: list[float], width: int) -> Iterator[NDArray[np.intp]]:
    """The rows (W,) of straight lines between ends that no steep slope separates."""
    for first in left:
        for last in right:
            if abs(last - first) <= max(1, STEEPEST * width):
                yield np.rint(np.linspace(first, last, width)).astype(np.intp)


def _inked_above(mask_HW: NDArray[np.bool_]) -> NDArray[np.int32]:
    """For each pixel, how many without a gap are inked from it upwards, itself included; 0 where it is not."""
    rows_H1 = np.arange(1, len(mask_HW) + 1, dtype=np.int32)[:, None]
    above_HW: NDArray[np.int32] = rows_H1 - np.maximum.accumulate(np.where(mask_HW, 0, rows_H1), axis=0)
    return above_HW


def _line(
    mask_HW: NDArray[np.bool_], run_HW: NDArray[np.int32], rows_W: NDArray[np.intp], slack: int, thickest: float
) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """Rows and columns of the ink of a line along ``rows_W``, but for runs longer than it is thick: strokes across it.

    ``run_HW`` is the length of the vertical run of ink that each pixel is in.
    """
    band_MW, inked_MW = _band(mask_HW, rows_W, slack)
    columns_W = np.arange(len(rows_W))
    thinnest_W = np.where(inked_MW, run_HW[band_MW, columns_W], len(mask_HW)).min(axis=0)
    thickness = 1.5 * float(np.quantile(thinnest_W[inked_MW.any(axis=0)], THIN)) + 1
    if thickness > 2 * thickest:
        return np.empty(0, np.intp), np.empty(0, np.intp)
    band_MW, inked_MW = _band(mask_HW, rows_W, slack + min(int(thickest), int(thickness)))
    thin_MW = inked_MW & (run_HW[band_MW, columns_W] <= thickness)
    return band_MW[thin_MW], np.broadcast_to(columns_W, band_MW.shape)[thin_MW]


def _band(
    mask_HW: NDArray[np.bool_], rows_W: NDArray[np.intp], reach: int
) -> tuple[NDArray[np.intp], NDArray[np.bool_]]:
    """The rows (M, W) up to ``reach`` above and below ``rows_W``, and whether there is ink."""
    band_MW = rows_W + np.arange(-reach, reach + 1)[:, None]
    inside_MW = (band_MW >= 0) & (band_MW < len(mask_HW))
    band_MW = band_MW.clip(0, len(mask_HW) - 1)
    return band_MW, mask_HW[band_MW, np.arange(len(rows_W))] & inside_MW
