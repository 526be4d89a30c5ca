"""``init``: a folder in which `dvc repro` runs the installed package, without a clone of the repository."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import exclusive, json_bytes, publish, read_regular, sha256, write_atomically
from mnist_dvc.params import load_params
from mnist_dvc.paths import Paths

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["code", "init"]

PACKAGE = Path(__file__).parents[1]
STARTER = PACKAGE / "starter"
"""The repository's own params.yaml, dvc.yaml and .gitignore, the same to the byte."""
PIPELINE = "pipeline.yaml"
"""The name of dvc.yaml there, lest DVC take it for a pipeline of the repository."""
CODE = "code.json"
HEAD = f"""\
# The pipeline of mnist-dvc as it is installed, written by `mnist-dvc init`. The code is no file of this folder: `code`,
# the one stage that runs every time, writes a digest of what each other stage is made of to {CODE}; where that is
# another, as after an update, the stage runs again.
#
"""
CODE_STAGE = f"""\
stages:
  code:
    desc: Tell what each stage is made of in this installation.
    cmd: mnist-dvc code
    always_changed: true
    outs:
      - {CODE}: {{ cache: false, persist: true }}

"""
DVC_CONFIG = ".dvc/config"
QUIET = "[core]\n    analytics = false\n    check_update = false\n"
WITHOUT_GIT = "    no_scm = true\n"
DVC_IGNORED = "/config.local\n/tmp\n/cache\n"
LARGEST = 64 * 2**10
"""Bytes of a file that may be one of ours."""


def init(folder: Path) -> None:
    """Write what `dvc repro` needs, but what stands there already; a valid params file is the user's, and stays.

    A folder that is in no DVC repository becomes one, by itself or as a part of the git repository around it.

    Args:
        folder: made if absent.

    Raises:
        ArtifactError: another file has the name of one of these; nothing was written.
        ParamsError: there is a params file, and it is wrong; nothing was written.
        BusyError: another process works in the folder.
        OSError: a file cannot be written.
    """
    files = {folder / name: content for name, content in _files(folder).items()}
    _refuse_others(files)
    missing = {path: content for path, content in files.items() if not path.exists()}
    if missing:
        with exclusive(Paths(folder).state, "mnist-dvc init", folder):
            publish(missing, [*missing][-1])
    written = ", ".join(path.relative_to(folder).as_posix() for path in missing)
    print(f"{f'Wrote {written}' if written else 'Nothing to write'}  ->  {folder}")
    print("Next: " + (f"cd {shlex.quote(str(folder))} && " if folder != Path() else "") + "dvc repro")


def code(paths: Paths) -> None:
    """Write a digest of all that each stage is made of in this installation, by the names of the stages.

    Raises:
        BusyError: another process works in this workspace.
        OSError: the file cannot be written.
    """
    with exclusive(paths.state, "mnist-dvc code", paths.root):
        write_atomically(paths.root / CODE, json_bytes({"code": _digests(_text(PIPELINE))}))


def _files(folder: Path) -> dict[str, bytes]:
    """What belongs in ``folder``, by name; dvc.yaml is the last, so that nothing is a pipeline before it is whole."""
    files = {".gitignore": _text("gitignore").partition("\n\n")[0] + "\n"}
    around = (folder.resolve(), *folder.resolve().parents)
    if not any((place / DVC_CONFIG).is_file() for place in around):
        in_git = any((place / ".git").exists() for place in around)
        files |= {".dvc/.gitignore": DVC_IGNORED, DVC_CONFIG: QUIET + ("" if in_git else WITHOUT_GIT)}
    params = folder / "params.yaml"
    if params.exists():
        load_params(params)
    else:
        files[params.name] = _text(params.name)
    files["dvc.yaml"] = _pipeline(_text(PIPELINE))
    return {name: text.encode() for name, text in files.items()}


def _text(name: str) -> str:
    return (STARTER / name).read_text(encoding="utf-8")


def _refuse_others(files: Mapping[Path, bytes]) -> None:
    """Overwrite nothing.

    Raises:
        ArtifactError: there is a file with another content, or something else than a file.
    """
    expected = "none, or the one that `mnist-dvc init` writes; nothing was written"
    for path, content in files.items():
        if (path.exists() or path.is_symlink()) and read_regular(path, LARGEST, ArtifactError, expected) != content:
            raise ArtifactError(path, "file", got="another", expected=expected)


def _pipeline(text: str) -> str:
    """The repository's dvc.yaml with digests of the package in place of its files, and with the installed command."""
    _, _, told = text.partition("\n#\n")
    told = re.sub(r"^      - mnist_dvc/.*\n", "", told, flags=re.MULTILINE)
    told = re.sub(r"^    deps:\n(?!      )", "", told, flags=re.MULTILINE)
    told = re.sub(
        r"^  (\w+):\n((?:    .*\n)*?    params:\n)", rf"  \1:\n\2      - {CODE}: [code.\1]\n", told, flags=re.MULTILINE
    )
    return HEAD + told.replace("python -m mnist_dvc", "mnist-dvc").replace("stages:\n", CODE_STAGE, 1)


def _digests(text: str) -> dict[str, str]:
    """Of each stage, over names and contents of the package's files that dvc.yaml lists: SHA-256, cut."""
    listed = {
        stage: re.findall(r"^      - (mnist_dvc/\S+)", block, re.MULTILINE)
        for stage, block in re.findall(r"^  (\w+):\n((?:    .*\n)+)", text, re.MULTILINE)
    }
    return {stage: _digest(names) for stage, names in listed.items() if names}


def _digest(names: list[str]) -> str:
    files = sorted({path for name in names for path in _files_of(PACKAGE.parent / name)})
    lines = (f"{sha256(path.read_bytes())} {path.relative_to(PACKAGE.parent).as_posix()}" for path in files)
    return sha256("\n".join(lines).encode())[:16]


def _files_of(path: Path) -> Iterator[Path]:
    """``path``, or all that is in that folder but what Python leaves there."""
    inside = path.rglob("*") if path.is_dir() else (path,)
    yield from (file for file in inside if file.is_file() and "__pycache__" not in file.parts)
