"""What DVC's files say of a study: which trials there are to be, and which bytes each record came out as."""

from __future__ import annotations

import functools
import hashlib
import itertools
from typing import TYPE_CHECKING, Any

from mnist_dvc.errors import ArtifactError, ParamsError
from mnist_dvc.files import read_regular
from mnist_dvc.yaml import parse_yaml

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["defined_trials", "refuse_other_md5"]

PIPELINE, LOCK = "dvc.yaml", "dvc.lock"
LARGEST = 256 * 2**10
"""Bytes; the longest, of 15 trials, has 42,000."""
MOST_TRIALS = 10_000
EXPECTED = "what DVC reads and writes"


def defined_trials(root: Path) -> list[Path] | None:
    """The folders of the trials that the study in ``root`` consists of: its stage ``trial``, for each of its matrix.

    None where no dvc.yaml with such a stage says so; then any trials make a study.

    Raises:
        ArtifactError: the file is damaged, or its stage is no matrix of trials.
    """
    path = root / PIPELINE
    stage = _stages(_read(path), path).get("trial") if path.exists() else None
    if stage is None:
        return None
    try:
        axes = {str(name): list(map(str, values)) for name, values in stage["matrix"].items()}
        (output,) = [name for out in stage["outs"] for name in out if name.endswith("/metrics.json")]
        items = list(itertools.islice(itertools.product(*axes.values()), MOST_TRIALS))
        return [(root / _filled(output, dict(zip(axes, item, strict=True)))).parent for item in items]
    except (AttributeError, LookupError, TypeError, ValueError) as error:
        got, expected = f"{type(error).__name__} ({error})", "a matrix, and a metrics.json of each trial as an output"
        raise ArtifactError(path, "stage trial", got=got, expected=expected) from error


def _filled(template: str, item: dict[str, str]) -> str:
    for name, value in item.items():
        template = template.replace(f"${{item.{name}}}", value)
    return template


def refuse_other_md5(root: Path, path: Path, content: bytes) -> None:
    """Compare an output of the study in ``root`` with what DVC recorded when it was made, where DVC made it.

    Args:
        root: folder of the study, with its dvc.lock.
        path: the output.
        content: what was read of it.

    Raises:
        ArtifactError: they differ, or DVC recorded other outputs and not this one.
    """
    lock = root / LOCK
    if not lock.exists():
        return
    name, found = path.relative_to(root).as_posix(), hashlib.md5(content, usedforsecurity=False).hexdigest()
    recorded = _outputs(_read(lock), lock).get(name)
    if recorded is None:
        expected = "its MD5; `dvc repro` makes and records it, `dvc commit` records it as it is"
        raise ArtifactError(lock, name, got="nothing", expected=expected)
    if recorded != found:
        raise ArtifactError(path, "MD5", got=found, expected=f"{recorded}, as in {lock}; run `dvc repro` again")


@functools.lru_cache(maxsize=8)
def _outputs(content: bytes, where: Path) -> dict[str, str]:
    """MD5 by name of every output that a dvc.lock of these bytes tells of; parsed once for all records of a study."""
    try:
        outs = [out for stage in _stages(content, where).values() for out in stage.get("outs", [])]
        return {str(out["path"]): str(out["md5"]) for out in outs}
    except (AttributeError, LookupError, TypeError) as error:
        got = f"damage ({type(error).__name__}: {error})"
        raise ArtifactError(where, "content", got=got, expected=EXPECTED) from error


def _read(path: Path) -> bytes:
    return read_regular(path, LARGEST, ArtifactError, EXPECTED)


def _stages(content: bytes, where: Path) -> dict[str, Any]:
    """The stages of a dvc.yaml or dvc.lock by name.

    Raises:
        ArtifactError: the file is no YAML, or has no stages by name.
    """
    try:
        plain = parse_yaml(content, where)
    except ParamsError as error:
        raise ArtifactError(where, "content", got=error.problems[0], expected=EXPECTED) from error
    stages = plain.get("stages") if isinstance(plain, dict) else None
    if not isinstance(stages, dict):
        raise ArtifactError(where, "stages", got=type(stages).__name__, expected=f"their names; {EXPECTED}")
    return stages
