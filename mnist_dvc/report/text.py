"""Numbers as people read them, and names that a terminal can be trusted with."""

from __future__ import annotations

__all__ = ["duration", "per_cent"]


def per_cent(fraction: float | None) -> str:
    """0.9962 as ``99.62 %``; a dash for None."""
    return "-" if fraction is None else f"{100 * fraction:.2f} %"


def duration(seconds: float) -> str:
    """Seconds as ``3 min 41 s`` or ``7.5 s``."""
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes else f"{seconds:.1f} s"
