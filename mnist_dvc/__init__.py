"""Train, prove and ship the best handwritten-digit classifier under 20,000 parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_dvc.version import __version__

if TYPE_CHECKING:
    from mnist_dvc.classifier import Answer, Classifier, load

__all__ = ["Answer", "Classifier", "__version__", "load"]


def __getattr__(name: str) -> object:
    """Import the classifier when it is asked for: ``import mnist_dvc`` alone stays instant."""
    if name in ("Answer", "Classifier", "load"):
        from mnist_dvc import classifier  # noqa: PLC0415

        return getattr(classifier, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
