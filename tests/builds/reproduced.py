"""The pipeline in two clean clones, every tracked byte compared; `nox -s reproduce` runs this.

The committed params, but for `data.source`, so that every machine has the digits, and fewer epochs, to save time. What
must not matter differs: the folder, the hash seed of Python, the time zone, the width of the terminal.
"""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import pytest
from repository import Repository

if TYPE_CHECKING:
    from pathlib import Path

EPOCHS = 3


class Clone(Repository):
    """A clean clone with surroundings of its own."""

    def __init__(self, folder: Path, **surroundings: str) -> None:
        self.surroundings = surroundings
        super().__init__(folder)

    @property
    def environment(self) -> dict[str, str]:
        return super().environment | self.surroundings

    def reproduced(self) -> dict[str, bytes]:
        """All files that git tracks after `dvc repro`, and all outputs, by name."""
        self.set_params(data_source="sample", train_epochs=EPOCHS)
        self.dvc("repro")
        self.git("add", "--all")
        tracked = [name for name in self.git("ls-files", "-z").split("\0") if name]
        return {name: (self.folder / name).read_bytes() for name in tracked} | self.outputs()


def differing(one: dict[str, bytes], other: dict[str, bytes]) -> list[str]:
    """Names of the files that are not the same, or not there, in both."""
    return sorted(name for name in one.keys() | other.keys() if one.get(name) != other.get(name))


@pytest.fixture(scope="module")
def clones(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, bytes]]:
    folder = tmp_path_factory.mktemp("clones")
    one = Clone(folder / "one", PYTHONHASHSEED="1", TZ="UTC", COLUMNS="80")
    first = one.reproduced()
    shutil.rmtree(one.folder)
    other = Clone(folder / "a longer name", PYTHONHASHSEED="2", TZ="Pacific/Kiritimati", COLUMNS="200")
    return [first, other.reproduced()]


def test_both_clones_end_with_the_same_bytes(clones: list[dict[str, bytes]]) -> None:
    one, other = clones
    print(f"{len(one)} files compared, {sum(map(len, one.values()))} bytes")  # noqa: T201  (figures to quote)
    assert {"dvc.lock", "models/model.safetensors", "models/model.onnx", "reports/test/metrics.json"} <= set(one)
    assert differing(one, other) == []


def test_a_file_that_differs_or_is_missing_would_be_named(clones: list[dict[str, bytes]]) -> None:
    one, other = clones
    broken = {name: content for name, content in other.items() if name != "reports/test/curves.png"}
    broken["models/model.onnx"] = broken["models/model.onnx"][:-1] + b"\0"
    broken["dvc.lock"] += b"\n"
    assert differing(one, broken) == ["dvc.lock", "models/model.onnx", "reports/test/curves.png"]
