"""What a stage has read, and the one check that it still stands there when the results are published under its name."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mnist_dvc.codebase import changed_since_begun, code_digest
from mnist_dvc.errors import ChangedError
from mnist_dvc.files import file_sha256, json_bytes, sha256

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from mnist_dvc.params import Params

__all__ = ["Inputs"]

AGAIN = "put it back or start again; what was done so far is kept for the former"


@dataclass(frozen=True, slots=True)
class Inputs:
    """All that decides the results of a stage: params, files, code and machine, as they were when it began.

    A stage reads at its start, works for minutes or hours, and writes at its end, where DVC records the results under
    what then stands in the workspace. To be made before the first file is read, so that no change goes unnoticed.
    """

    stage: str
    """The module of the stage, such as ``mnist_dvc.pipeline.train``: its code is that and all that it imports."""
    params: Params | None
    """None for a stage that reads none."""
    sections: tuple[str, ...]
    """The sections of the params that the stage reads, or single keys, such as ``train.threads``."""
    files: Mapping[Path, str | None]
    """SHA-256 of each file that it reads, by path; None for one that is not there or not to be read."""
    machine: Mapping[str, Any]
    """Versions, device, threads and environment, as far as they decide bits."""

    @classmethod
    def of(
        cls,
        stage: str,
        params: Params | None = None,
        sections: tuple[str, ...] = (),
        files: tuple[Path, ...] = (),
        machine: Mapping[str, Any] | None = None,
    ) -> Inputs:
        """Take note of what stands there now; the arguments are the fields, ``files`` without their digests."""
        return cls(stage, params, sections, {path: file_sha256(path) for path in files}, machine or {})

    @property
    def identity(self) -> dict[str, Any]:
        """The same for every run that must give the same bits, as plain JSON values: what is kept for one bears it.

        Where a file lies decides nothing, so files count by their names and contents.
        """
        return {
            "params": _values(self.params, self.sections),
            "files": [[path.name, digest] for path, digest in self.files.items()],
            "code": code_digest(self.stage),
            "machine": dict(self.machine),
        }

    @property
    def name(self) -> str:
        """The identity as the name of a folder."""
        return sha256(json_bytes(self.identity))[:16]

    @contextlib.contextmanager
    def publishing(self) -> Iterator[None]:
        """Around the writing of the results: the check before it, and once more before the stage may end in success.

        Raises:
            ChangedError: something that the results come from stands there no more.
        """
        self.refuse_changes()
        yield
        self.refuse_changes()

    def refuse_changes(self) -> None:
        """Compare everything with what now stands in its place.

        Raises:
            ChangedError: at the first difference.
        """
        if self.params is not None:
            self._refuse_changed_params(self.params)
        for path, digest in self.files.items():
            if file_sha256(path) != digest:
                raise ChangedError(path, "content", got="another", expected=f"the one that was read; {AGAIN}")
        for path in changed_since_begun(self.stage):
            raise ChangedError(path, "code", got="another", expected=f"the one that ran; {AGAIN}")

    def _refuse_changed_params(self, params: Params) -> None:
        now = _values(params.read_again(), self.sections)
        for key, value in _values(params, self.sections).items():
            if now[key] != value:
                raise ChangedError(params.source, key, got=now[key], expected=f"{value}, as it was read; {AGAIN}")


def _values(params: Params | None, sections: tuple[str, ...]) -> dict[str, Any]:
    """The values of ``sections`` by their dotted keys."""
    whole = {} if params is None else _flat(params.model_dump())
    return {key: value for key, value in whole.items() if any(f"{key}.".startswith(f"{name}.") for name in sections)}


def _flat(section: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in section.items():
        flat |= _flat(value, f"{prefix}{key}.") if isinstance(value, dict) else {f"{prefix}{key}": value}
    return flat
