"""Every path that the pipeline reads or writes, in one place, relative to the folder it runs in."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Paths"]


@dataclass(frozen=True, slots=True)
class Paths:
    """The layout of the working folder ``root``; the names are the ones in dvc.yaml."""

    root: Path = Path()

    @property
    def prepared(self) -> Path:
        """Folder of the prepared digits and their manifest."""
        return self.root / "data/prepared"

    @property
    def model(self) -> Path:
        """The trained weights, averaged, as safetensors."""
        return self.root / "models/model.safetensors"

    @property
    def checkpoint(self) -> Path:
        """The full training checkpoint, a PyTorch file."""
        return self.root / "models/checkpoint.pth"

    @property
    def dated_checkpoints(self) -> Path:
        """Folder of the copies of the checkpoint under dated names."""
        return self.root / "checkpoints"

    @property
    def runs(self) -> Path:
        """Folder of the TensorBoard runs."""
        return self.root / "runs"

    @property
    def train_report(self) -> Path:
        """Folder of the training history and metrics."""
        return self.root / "reports/train"

    @property
    def test_report(self) -> Path:
        """Folder of the test metrics, predictions and figures."""
        return self.root / "reports/test"
