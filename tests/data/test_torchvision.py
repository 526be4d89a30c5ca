"""torchvision that is here and cannot be imported, as where its build is not that of torch."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import pytest
from helpers import no_pictures

from mnist_dvc.data.sources import read_digits
from mnist_dvc.errors import DownloadError

if TYPE_CHECKING:
    from pathlib import Path

NMS = 'raise RuntimeError("operator torchvision::nms does not exist")'
"""What the CUDA build says beside a torch for CPUs (pytorch/vision#9077)."""
BROKEN = {
    "operator": NMS,
    "library": 'raise OSError("libcudart.so.13: cannot open shared object file")',
    "symbol": 'raise ImportError("undefined symbol: _ZN3c104cuda")',
    "package": 'raise ModuleNotFoundError("No module named \'PIL\'", name="PIL")',
}


@pytest.fixture
def torchvision(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file that is imported as torchvision until the test is over."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
        monkeypatch.delitem(sys.modules, name)
    path = tmp_path / "packages/torchvision/__init__.py"
    path.parent.mkdir(parents=True)
    monkeypatch.syspath_prepend(tmp_path / "packages")
    return path


def ask(source: str, root: Path) -> list[str]:
    """What is said while the digits of ``source`` are looked for in the empty folder ``root``."""
    said: list[str] = []
    assert read_digits(source, root, environment={}, say=said.append, pictures=no_pictures).dataset == "mnist-5k"
    return said


@pytest.mark.parametrize("how", BROKEN)
def test_download_says_what_is_wrong_and_how_to_mend_it(torchvision: Path, tmp_path: Path, how: str) -> None:
    torchvision.write_text(f"{BROKEN[how]}\n")
    with pytest.raises(
        DownloadError, match=r"torchvision, .*, cannot be imported \(.*\): .* torch torchvision$"
    ) as told:
        ask("mnist", tmp_path / "here")
    assert BROKEN[how].split("(")[1].split('"')[1] in str(told.value)
    assert "\n" not in str(told.value)
    assert not (tmp_path / "here").exists()


def test_sample_takes_its_place_loudly(torchvision: Path, tmp_path: Path) -> None:
    torchvision.write_text(f"{NMS}\n")
    said = ask("auto", tmp_path / "here")
    assert "operator torchvision::nms does not exist" in said[1]
    assert said[-1].startswith("USING THE 5,000 BUNDLED DIGITS (dataset mnist-5k)")


def test_what_needs_no_download_imports_none(torchvision: Path, tmp_path: Path) -> None:
    torchvision.write_text(f"{NMS}\n")
    assert ask("sample", tmp_path) == []


def test_torchvision_that_is_not_there_is_a_missing_extra(torchvision: Path, tmp_path: Path) -> None:
    torchvision.write_text('raise ModuleNotFoundError("No module named \'torchvision\'", name="torchvision")\n')
    with pytest.raises(ModuleNotFoundError):
        ask("auto", tmp_path / "here")
