"""Every path that the pipeline reads or writes, in one place, relative to the folder it runs in."""

from __future__ import annotations

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
        return self.root / "checkpoints"

    @property
    def of_training(self) -> tuple[Path, ...]:
        """The tracked outputs of ``train``."""
        return (self.model, self.checkpoint, self.sums, self.history, self.train_metrics)

    @property
    def runs(self) -> Path:
        """Folder of the TensorBoard runs."""
        return self.root / "runs"

    @property
    def history(self) -> Path:
        """The training history, a row per epoch."""
        return self.root / "reports/train/history.csv"

    @property
    def train_metrics(self) -> Path:
        """The last epoch's figures."""
        return self.root / "reports/train/metrics.json"

    @property
    def test_report(self) -> Path:
        """Folder of the test metrics, predictions and figures."""
        return self.root / "reports/test"

    @property
    def report_page(self) -> Path:
        """The report for the browser, one file that needs no other."""
        return self.root / "reports/report.html"

    @property
    def state(self) -> Path:
        """Folder of what must outlive a killed process: the lock and the snapshots of unfinished trainings."""
        return self.root / ".mnist_dvc"
