"""What is in the source archive and the wheel of `nox -s wheel`, which runs this; each check has a twin that fails."""

from __future__ import annotations

import hashlib
import os
import subprocess
import tarfile
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
DIST = Path(os.environ.get("MNIST_DVC_DIST", ROOT / "dist"))
PRETRAINED = "mnist_dvc/pretrained/"
BESIDE = {
    "CHANGELOG.md",
    "LICENSE",
    "PKG-INFO",
    "README.md",
    "SECURITY.md",
    "pyproject.toml",
    "dvc.yaml",
    "params.yaml",
}
"""What the source archive holds beside the package; `.gitignore` is what hatchling itself reads there."""


def ours() -> set[str]:
    """The files of the package that git has, or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "mnist_dvc"]
    listed = subprocess.check_output(command, cwd=ROOT, text=True).split("\0")
    return {name for name in listed if name and (ROOT / name).is_file()}


def of_wheel() -> dict[str, bytes]:
    """The wheel's files with their content."""
    (path,) = DIST.glob("*.whl")
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def of_source() -> dict[str, bytes]:
    """The source archive's files with their content, without the folder that all are in."""
    (path,) = DIST.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        files = {member.name.partition("/")[2]: archive.extractfile(member) for member in archive if member.isfile()}
        return {name: file.read() for name, file in files.items() if file is not None}


def other_names(found: set[str], expected: set[str]) -> list[str]:
    """Files that are missing, and files that nobody asked for."""
    return [f"missing: {name}" for name in sorted(expected - found)] + [
        f"new: {name}" for name in sorted(found - expected)
    ]


def paths_of_this_machine(members: dict[str, bytes]) -> list[str]:
    """Files that name the folder that they come from, or the home of who built them."""
    places = [str(place).encode() for place in (ROOT, Path.home()) if len(place.parts) > 1]
    return [name for name, content in members.items() if any(place + b"/" in content for place in places)]


def broken_weights(members: dict[str, bytes]) -> list[str]:
    """Released files that are not what the digests beside them say, and digests of nothing."""
    listed = members.get(f"{PRETRAINED}SHA256SUMS", b"").decode().splitlines()
    digests = {name: digest for digest, name in (line.split() for line in listed)}
    bad = [
        name
        for name, digest in digests.items()
        if hashlib.sha256(members.get(PRETRAINED + name, b"")).hexdigest() != digest
    ]
    return bad + [name for name in ("compact.onnx", "reference.onnx") if name not in digests]


def test_the_wheel_holds_the_package_and_nothing_else() -> None:
    inside = {name for name in of_wheel() if ".dist-info/" not in name}
    assert other_names(inside, ours()) == []
    assert f"{PRETRAINED}compact.onnx" in inside
    assert "mnist_dvc/py.typed" in inside


def test_the_wheel_carries_its_licence_and_what_it_is() -> None:
    metadata = {name.partition(".dist-info/")[2]: content for name, content in of_wheel().items()}
    assert metadata["licenses/LICENSE"] == (ROOT / "LICENSE").read_bytes()
    assert b"mnist-dvc = mnist_dvc.program:main" in metadata["entry_points.txt"]
    assert b"\nLicense-Expression: Apache-2.0\n" in metadata["METADATA"]


def test_the_source_archive_holds_what_the_wheel_is_made_of() -> None:
    assert other_names(set(of_source()) - {".gitignore"}, ours() | BESIDE) == []


@pytest.mark.parametrize("archive", [of_wheel, of_source])
def test_weights_are_whole_and_no_file_names_this_machine(archive: object) -> None:
    members = of_wheel() if archive is of_wheel else of_source()
    assert broken_weights(members) == []
    assert paths_of_this_machine(members) == []


def test_each_check_can_fail() -> None:
    assert other_names({"a", "tests/b"}, {"a", "py.typed"}) == ["missing: py.typed", "new: tests/b"]
    assert paths_of_this_machine({"a": f"in {ROOT}/b".encode(), "c": b"in /usr/lib"}) == ["a"]
    members = of_wheel()
    assert broken_weights(members | {f"{PRETRAINED}compact.onnx": b"other"}) == ["compact.onnx"]
    assert broken_weights({name: content for name, content in members.items() if "SUMS" not in name}) != []
