"""What every rival is given and has to tell: the digits of a folder, and seconds and test accuracy after each epoch."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mnist_dvc.data.sources import read_folder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray


@dataclass(frozen=True)
class Split:
    """``images_NHW`` from 0 to 1, float32, and ``labels_N``, int64."""

    images_NHW: NDArray[np.float32]
    labels_N: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.labels_N)


def mnist(folder: str) -> tuple[Split, Split]:
    """All of MNIST: the training images and the test images."""
    found = read_folder(Path(folder))
    if found.test is None:
        raise ValueError(f"{folder}: got no test images, expected those of MNIST")
    train, test = (
        Split((digits.images_NHW / 255.0).astype(np.float32), digits.labels_N.astype(np.int64))
        for digits in (found.pool, found.test)
    )
    return train, test


@dataclass
class Telling:
    """A clock that stands still while the test images are read, and what is to be printed at the end."""

    framework: str
    example: str
    parameters: int
    images: int
    """That one epoch trains on."""
    epochs: list[tuple[float, float]] = field(default_factory=list)
    _seconds: float = 0.0
    _since: float = field(default_factory=time.perf_counter)

    def scored(self, accuracy: Callable[[], float]) -> None:
        """Note the seconds of training so far, and the accuracy that the network has come to."""
        self._seconds += time.perf_counter() - self._since
        self.epochs.append((round(self._seconds, 3), round(accuracy(), 6)))
        self._since = time.perf_counter()

    def tell(self) -> None:
        """Print one line of JSON, the last of the process."""
        told = {"framework": self.framework, "example": self.example, "parameters": self.parameters}
        print(json.dumps(told | {"images": self.images, "epochs": self.epochs}))
