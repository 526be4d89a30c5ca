"""Figures and digits as PNG bytes, the same bytes for the same picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from matplotlib.image import imsave

if TYPE_CHECKING:
    import numpy as np
    from matplotlib.figure import Figure
    from numpy.typing import NDArray

__all__ = ["digit_png", "png_bytes"]

DPI = 120


def png_bytes(figure: Figure, about: str | None = None) -> bytes:
    """PNG without matplotlib's name and version, which ``savefig`` alone would write, so the picture decides the bytes.

    Args:
        figure: what to draw.
        about: kept in the file as its ``Description``, if given.
    """
    buffer = io.BytesIO()
    metadata = {"Software": None} | ({} if about is None else {"Description": about})
    figure.savefig(buffer, format="png", dpi=DPI, metadata=metadata)
    return buffer.getvalue()


def digit_png(image_HW: NDArray[np.uint8]) -> bytes:
    """A digit as ink on paper, a pixel a pixel; ``image_HW`` goes from 0, background, to 255, ink."""
    buffer = io.BytesIO()
    without = {"Software": None}
    imsave(buffer, image_HW, cmap="gray_r", vmin=0, vmax=255, format="png", metadata=without)  # type: ignore[arg-type]
    return buffer.getvalue()
