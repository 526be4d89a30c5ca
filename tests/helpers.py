"""What several test files need: small learnable digits, IDX files made by hand, a child process of our own command."""

from __future__ import annotations

import csv
import gzip
import hashlib
import os
import re
import shutil
import struct
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import warm
from ruamel.yaml import YAML

from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.prepared import DIGITS, write_prepared
from mnist_dvc.data.sources import IdxFile
from mnist_dvc.data.splits import RawDigits, split
from mnist_dvc.files import SUMS, sha256
from mnist_dvc.params import (
    AugmentParams,
    DataParams,
    EvaluateParams,
    ExportParams,
    HardParams,
    ModelParams,
    Params,
    TrainParams,
)
from mnist_dvc.paths import Paths
from mnist_dvc.records import Result, record_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from mnist_dvc.errors import ImageError

posix = pytest.mark.skipif(os.name == "nt", reason="signals, forks and full devices are POSIX")
ROOT = Path(__file__).resolve().parents[1]


def committed(key: str) -> str:
    """The line of the root's params.yaml that sets ``key``, up to the blank after its value: ``epochs: 3 ``."""
    found: list[str] = re.findall(rf"\b{key}: \S+ ", (ROOT / "params.yaml").read_text(encoding="utf-8"))
    return found[0]


NETWORK = "compact-1k"
"""What the tests train, where any network will do: of the shape of `compact`, with fewer channels."""
PARAMETERS = 886
"""Those of it."""
FIXTURES = ROOT / "tests/fixtures"
"""Files as earlier versions wrote them; they stay for ever, and are read or refused in words."""


def blobs(per_class: int, seed: int = 0) -> LabelledImages:
    """Ten noisy prototypes, ``per_class`` images of each, mixed: learnable in seconds, unlike noise."""
    random = np.random.default_rng(0)
    prototypes_K77 = random.integers(0, 256, (10, 7, 7))
    random = np.random.default_rng(seed)
    labels_N = np.tile(np.arange(10, dtype=np.uint8), per_class)
    images_NHW = prototypes_K77[labels_N].repeat(4, axis=1).repeat(4, axis=2) * 0.7
    noisy_NHW = images_NHW + random.integers(0, 77, images_NHW.shape)
    return LabelledImages(noisy_NHW.astype(np.uint8), labels_N, "blobs")


def raw_digits(train: int = 40, test: int = 10, dataset: str = "mnist") -> RawDigits:
    """A source of blobs with ``train`` and ``test`` images per class."""
    return RawDigits(dataset, {"made": "by hand"}, blobs(train, seed=1), blobs(test, seed=2))


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    """``array`` as an IDX file."""
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_folder(folder: Path, *, packed: bool = False) -> tuple[IdxFile, IdxFile, IdxFile, IdxFile]:
    """Write four small IDX files under MNIST's names, plain or gzipped, and return what they must be."""
    folder.mkdir(parents=True, exist_ok=True)
    train, test = blobs(3, seed=1), blobs(2, seed=2)
    arrays = {
        "train-images-idx3-ubyte": train.images_NHW,
        "train-labels-idx1-ubyte": train.labels_N,
        "t10k-images-idx3-ubyte": test.images_NHW,
        "t10k-labels-idx1-ubyte": test.labels_N,
    }
    files = []
    for name, array in arrays.items():
        content = idx_bytes(array)
        if packed:
            (folder / f"{name}.gz").write_bytes(gzip.compress(content, mtime=0))
        else:
            (folder / name).write_bytes(content)
        files.append(IdxFile(name, array.ndim, len(array), hashlib.sha256(content).hexdigest()))
    return files[0], files[1], files[2], files[3]


def prepared_workspace(folder: Path, train: int = 40) -> Paths:
    """``folder`` with prepared blobs, ``train`` of each class in the training files: 100 to validate, 100 to test."""
    paths, raw, chosen = Paths(folder), raw_digits(train), params().data
    parts = split(raw, validation=chosen.validation, seed=chosen.seed)
    write_prepared(paths.prepared, raw, parts, validation=chosen.validation, seed=chosen.seed)
    return paths


def copy_of(template: Paths, folder: Path) -> Paths:
    """Another workspace in ``folder``, as ``template`` is: what every test of a file begins with is made once."""
    shutil.copytree(template.root, folder, dirs_exist_ok=True)
    return Paths(folder)


def no_pictures(paths: Sequence[Path]) -> Iterator[NDArray[np.uint8] | ImageError]:
    """A reader for sources that hold no picture files."""
    if paths:
        raise RuntimeError("got pictures, expected none")
    return iter(())


def params(**train: Any) -> Params:
    """Params of a training that takes a second; keyword arguments replace keys of the train section."""
    values: dict[str, Any] = {
        "seed": 1,
        "epochs": 2,
        "batch_size": 40,
        "learning_rate": 0.02,
        "schedule": "onecycle",
        "warmup": 0.2,
        "weight_decay": 0.01,
        "label_smoothing": 0.0,
        "distillation": 0.0,
        "clean_epochs": 0,
        "gradient_clip": 10.0,
        "ema_decay": 0.9,
        "device": "cpu",
        "precision": "float32",
        "threads": 1,
        "hard": hard_params(),
        "augment": augment_params(rotation=5.0, shift=1.0),
    }
    return Params(
        data=DataParams(source="auto", validation=100, holdout="random", seed=0),
        model=ModelParams(name=NETWORK, dropout=0.1),
        train=TrainParams(**(values | train)),
        evaluate=EvaluateParams(batch_size=64, threads=1, mistakes=9),
        export=ExportParams(opset=18, tolerance=1e-4),
    )


def params_of(network: str, **train: Any) -> Params:
    """``params(**train)`` of another network."""
    whole = params(**train)
    return whole.model_copy(update={"model": whole.model.model_copy(update={"name": network})})


def write_params(folder: Path, sections: dict[str, dict[str, Any]] | None = None, **train: Any) -> None:
    """``params(**train)`` as the params file of ``folder``, with the values of ``sections`` in place of theirs."""
    values = params(**train).model_dump()
    for name, changes in (sections or {}).items():
        values[name] |= changes
    with (folder / "params.yaml").open("w", encoding="utf-8") as file:
        YAML(typ="safe", pure=True).dump(values, file)


def hard_params(*, share: float = 1.0, random: float = 0.0, plain_epochs: int = 1) -> HardParams:
    """Every epoch takes all images, but for what is given."""
    return HardParams(share=share, random=random, plain_epochs=plain_epochs)


def augment_params(**changes: float) -> AugmentParams:
    """No distortion but for those given."""
    return AugmentParams(**({"rotation": 0.0, "shift": 0.0, "scale": 0.0, "shear": 0.0, "elastic": 0.0} | changes))


def write_scores(paths: Paths, parameters: int, dataset: str = "mnist") -> None:
    """Metrics as ``evaluate`` writes them, of the published model with so many ``parameters``."""
    # With it comes scikit-learn: two seconds, which children that need no scores of this file would spend, too.
    from mnist_dvc.running.evaluated import result_sums  # noqa: PLC0415

    told = {"dataset": dataset} | SCORES | {"parameters": parameters}
    paths.test_metrics.parent.mkdir(parents=True, exist_ok=True)
    content = record_bytes(Result, told)
    paths.test_metrics.write_bytes(content)
    sums = result_sums(paths, {paths.test_metrics.name: content}, sha256(paths.model.read_bytes()))
    (paths.test_report / SUMS).write_bytes(sums)


SCORES: dict[str, Any] = {
    "accuracy": 0.97,
    "errors": 3,
    "images": 100,
    "accuracy_low": 0.9148239470257197,
    "accuracy_high": 0.9937700284616938,
    "nll": 0.1,
    "brier": 0.05,
    "ece": 0.01,
}
"""Figures that agree with each other."""


def remove_split(folder: Path, name: str) -> None:
    """Take the arrays of one split out of the prepared digits in ``folder``."""
    path = folder / DIGITS
    with np.load(path) as archive:
        kept = {key: archive[key] for key in archive.files if not key.startswith(f"{name}_")}
    with path.open("wb") as file:
        np.savez(file, **kept)


NO_FILES: dict[str, Callable[[Path], None]] = {
    "pipe": os.mkfifo,
    "folder": os.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "dangling link": lambda path: path.symlink_to(path.parent / "gone"),
    "circle": lambda path: path.symlink_to(path),
}
"""What may stand under the name of a file and is none: each must be refused, and none must be waited for."""


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a CSV file under its header."""
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def command(
    *arguments: str, cwd: Path, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Run ``python -m mnist_dvc`` as a user would, and return what it printed and its exit code.

    In the environment of the tests a forked process will do, which takes a tenth of the time.
    """
    if environment is None and warm.HERE:
        return warm.command(cwd, *arguments)
    return subprocess.run(
        [sys.executable, "-m", "mnist_dvc", *arguments],
        cwd=cwd,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def redirected(folder: Path, redirection: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run Python as a shell does with ``redirection`` at the end of the line."""
    return subprocess.run(
        ["sh", "-c", f'exec "$0" "$@" {redirection}', sys.executable, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )
