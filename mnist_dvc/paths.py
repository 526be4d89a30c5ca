"""Every path that the pipeline reads or writes, in one place, relative to the folder it runs in."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from mnist_dvc.files import SUMS

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
    def teaching(self) -> Path:
        """What teachers say of the training images, where a study has asked them."""
        return self.root / "data/teaching.safetensors"

    def candidate(self, question: str, recipe: str, seed: int) -> Path:
        """The folder of what a candidate for a recipe came to, in a study that compares some."""
        return self.root / "candidates" / question / recipe / str(seed)

    def trial(self, network: str, seed: int) -> Path:
        """Folder of what the training of ``network`` with ``seed`` came to in a study."""
        return self.root / "trials" / network / str(seed)

    @property
    def model(self) -> Path:
        """The trained weights, averaged, as safetensors."""
        return self.root / "models/model.safetensors"

    @property
    def onnx(self) -> Path:
        """The trained model as an ONNX file."""
        return self.root / "models/model.onnx"

    @property
    def model_card(self) -> Path:
        """What the model files are, for people and for model hubs."""
        return self.root / "models/README.md"

    @property
    def checkpoint(self) -> Path:
        """The full training checkpoint, a PyTorch file."""
        return self.root / "models/checkpoint.pth"

    @property
    def sums(self) -> Path:
        """SHA-256 of all that ``train`` writes, in git, so that what was changed since is noticed."""
        return self.model.with_name(SUMS)

    @property
    def dated_checkpoints(self) -> Path:
        """Folder of the copies of the checkpoint under dated names."""
        return self._lasting / "checkpoints"

    @property
    def _lasting(self) -> Path:
        """What no tracked output is goes where DVC was called: it runs queued experiments in copies that it removes."""
        called_in = Path(os.environ.get("DVC_ROOT", self.root))
        return called_in if called_in.is_dir() and called_in.resolve() != self.root.resolve() else self.root

    @property
    def of_training(self) -> tuple[Path, ...]:
        """The tracked outputs of ``train``."""
        return (self.model, self.checkpoint, self.sums, self.history, self.train_metrics)

    @property
    def runs(self) -> Path:
        """Folder of the TensorBoard runs."""
        return self._lasting / "runs"

    @property
    def history(self) -> Path:
        """The training history, a row per epoch."""
        return self.root / "reports/train/history.csv"

    @property
    def train_metrics(self) -> Path:
        """The last epoch's figures."""
        return self.root / "reports/train/metrics.json"

    @property
    def metrics(self) -> Path:
        """The figures that runs are compared by: few, so that DVC's tables have room for what made them differ."""
        return self.root / "reports/metrics.json"

    @property
    def test_report(self) -> Path:
        """Folder of the test metrics, predictions and figures."""
        return self.root / "reports/test"

    @property
    def test_metrics(self) -> Path:
        """The scores on the test images."""
        return self.test_report / "metrics.json"

    @property
    def export_metrics(self) -> Path:
        """How close the ONNX file comes to the model."""
        return self.root / "reports/export/metrics.json"

    @property
    def report_page(self) -> Path:
        """The report for the browser, one file that needs no other."""
        return self.root / "reports/report.html"

    @property
    def state(self) -> Path:
        """Folder of what must outlive a killed process: the lock and the snapshots of unfinished trainings."""
        return self.root / ".mnist_dvc"
