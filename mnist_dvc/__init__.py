"""Train, prove and ship the best handwritten-digit classifier under 20,000 parameters."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_dvc.version import __version__

if TYPE_CHECKING:
    from mnist_dvc.classifier import Answer, Classifier, load
    from mnist_dvc.registry import build, networks

__all__ = ["Answer", "Classifier", "__version__", "build", "load", "networks"]

CLASSIFYING = ("Answer", "Classifier", "load")
BUILDING = ("build", "networks")


def __getattr__(name: str) -> object:
    """Import what is asked for, and then only: ``import mnist_dvc`` alone stays instant."""
    if name in CLASSIFYING:
        from mnist_dvc import classifier  # noqa: PLC0415

        return getattr(classifier, name)
    if name in BUILDING:
        from mnist_dvc import registry  # noqa: PLC0415

        return getattr(registry, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    """Also what is imported on demand, for who completes names."""
    return sorted({*globals(), *__all__})
