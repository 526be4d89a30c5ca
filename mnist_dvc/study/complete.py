"""A study as a whole: the trials that it must have, each once, each beside its own model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, sha256
from mnist_dvc.study.defined import defined_trials, refuse_other_md5
from mnist_dvc.study.records import METRICS, SUMMARY, Summary, Trial, read_record

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["MODEL", "read_summary", "refuse_other_trials"]

MODEL = "model.safetensors"
LARGEST = 2**20
"""Bytes of a model file, as :mod:`mnist_dvc.model.weights` reads it."""
EXPECTED = "what `study trial` writes"


def refuse_other_trials(root: Path) -> None:
    """See that the trials in ``root`` are those of its dvc.yaml, none missing, none left over, none there twice.

    A mean over some of the seeds is none of the study, and one over more has chosen them. Without a dvc.yaml, all
    folders of ``trials/*/*`` count.

    Raises:
        ArtifactError: one is missing or one too many, or a record or model is damaged, of another trial, or a copy.
    """
    found, defined = _folders(root), defined_trials(root)
    for folder in found if defined is None else defined:
        if not (folder / METRICS).exists():
            expected = f"{EXPECTED}; run `dvc repro`" if defined else f"{EXPECTED}; wait for it, or remove the folder"
            raise ArtifactError(folder / METRICS, "file", got="nothing", expected=expected)
    for folder in found:
        if defined is not None and folder not in defined:
            expected = f"those of the matrix in {root / 'dvc.yaml'}; add its seed there, or remove the folder"
            raise ArtifactError(folder, "trial", got="one more", expected=expected)
    told: dict[object, Path] = {}
    for folder in found:
        trial = read_record(folder / METRICS, Trial, EXPECTED)
        figures = (trial.network, trial.train_loss, trial.nll, trial.brier)
        for what, key in (("figures", figures), ("model", _model(root, folder / MODEL))):
            if key is not None and key in told:
                got, expected = f"those of {told[key]}" if what == "figures" else f"that of {told[key]}", "its own"
                raise ArtifactError(folder, what, got=got, expected=expected)
            told[key] = folder


def _folders(root: Path) -> list[Path]:
    return sorted(path for path in (root / "trials").glob("*/*") if path.is_dir())


def _model(root: Path, path: Path) -> str | None:
    """SHA-256 of a trial's model, which is not in git: None where it was not fetched."""
    if not path.exists():
        return None
    content = read_regular(path, LARGEST, ArtifactError, EXPECTED)
    refuse_other_md5(root, path, content)
    return sha256(content)


def read_summary(root: Path, expected: str) -> Summary:
    """The summary of the study in ``root``, which must be of the trials that its dvc.yaml defines.

    Raises:
        ArtifactError: it is missing, damaged, at odds with itself, or of other trials.
    """
    summary, defined = read_record(root / SUMMARY, Summary, expected), defined_trials(root)
    if defined is not None:
        told = {(point.network, str(seed)) for point in summary.of_each for seed in point.seeds}
        other = told ^ {(folder.parent.name, folder.name) for folder in defined}
        if other:
            network, seed = min(other)
            got = "a trial more" if (network, seed) in told else "a trial less"
            wanted = f"those of {root / 'dvc.yaml'}; run `dvc repro`"
            raise ArtifactError(root / SUMMARY, f"{network}, seed {seed}", got=got, expected=wanted)
    return summary
