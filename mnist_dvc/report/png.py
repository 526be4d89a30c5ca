"""A matplotlib figure as PNG bytes, the same bytes for the same picture."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["png_bytes"]

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
