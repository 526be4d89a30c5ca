"""digits.npz and manifest.json: the prepared splits as deterministic bytes, verified on the way back in."""

from __future__ import annotations

import io
import json
import zipfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mnist_dvc.data.arrays import LabelledImages
from mnist_dvc.data.splits import SPLITS, Part, RawDigits
from mnist_dvc.errors import DataError
from mnist_dvc.files import json_bytes, sha256, write_atomically

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

__all__ = ["DIGITS", "MANIFEST", "Prepared", "write_prepared"]

DIGITS = "digits.npz"
MANIFEST = "manifest.json"
SCHEMA = 1
ARRAYS = ("images", "labels", "index")


def write_prepared(
    folder: Path, raw: RawDigits, parts: Mapping[str, Part], *, validation: int, seed: int
) -> dict[str, Any]:
    """Write both files, the manifest last, and return the manifest.

    Raises:
        OSError: the system refused; whatever stood there before is whole.
    """
    arrays = {f"{name}_{key}": value for name in SPLITS if name in parts for key, value in _arrays(parts[name])}
    manifest = {
        "schema": SCHEMA,
        "dataset": raw.dataset,
        "origin": raw.origin,
        "validation": validation,
        "seed": seed,
        "splits": {name: _summary(parts[name]) for name in SPLITS if name in parts},
    }
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)  # type: ignore[arg-type]  # numpy types **kwds as its own flag, too
    write_atomically(folder / DIGITS, content.getvalue())
    write_atomically(folder / MANIFEST, json_bytes(manifest))
    return manifest


def _arrays(part: Part) -> list[tuple[str, NDArray[Any]]]:
    return list(zip(ARRAYS, (part.digits.images_NHW, part.digits.labels_N, part.index_N), strict=True))


def _summary(part: Part) -> dict[str, Any]:
    return {
        "images": len(part.digits),
        "per_class": np.bincount(part.digits.labels_N).tolist(),
        "sha256": {key: sha256(np.ascontiguousarray(value).data) for key, value in _arrays(part)},
    }


@dataclass(frozen=True, slots=True)
class Prepared:
    """A folder that ``prepare`` wrote. Opening it reads the manifest; a split is read and verified when asked for."""

    folder: Path
    manifest: dict[str, Any]

    @classmethod
    def open(cls, folder: Path) -> Prepared:
        """Read the manifest of ``folder``.

        Raises:
            DataError: it is missing or not a manifest of this schema.
        """
        path = folder / MANIFEST
        try:
            manifest = json.loads(path.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise DataError(path, "file", got="nothing", expected="the manifest that `prepare` writes") from error
        except ValueError as error:
            raise DataError(path, "content", got="no JSON", expected="a manifest") from error
        schema = manifest.get("schema") if isinstance(manifest, dict) else None
        if schema != SCHEMA:
            raise DataError(path, "schema", got=schema, expected=SCHEMA)
        return cls(folder, manifest)

    @property
    def dataset(self) -> str:
        """Name of the data set: mnist or mnist-5k."""
        return str(self.manifest["dataset"])

    @property
    def digest(self) -> str:
        """SHA-256 over the manifest, and with it over every array."""
        return sha256(json_bytes(self.manifest))

    def __contains__(self, name: str) -> bool:
        """Whether there is a split ``name``."""
        return name in self.manifest["splits"]

    def read(self, name: str) -> LabelledImages:
        """The images and labels of one split; the others are not touched.

        Raises:
            DataError: ``digits.npz`` is missing, damaged, or does not hold what the manifest says.
        """
        images_NHW = self._array(name, "images")
        return LabelledImages(images_NHW, self._array(name, "labels"), f"{self.folder / DIGITS}, {name}")

    def index(self, name: str) -> NDArray[np.int32]:
        """Positions of the images of split ``name`` in the file or pool that they were taken from.

        Raises:
            DataError: as :meth:`read`.
        """
        return self._array(name, "index")

    def _array(self, name: str, key: str) -> NDArray[Any]:
        path = self.folder / DIGITS
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
                array: NDArray[Any] = archive[f"{name}_{key}"]
        except FileNotFoundError as error:
            raise DataError(path, "file", got="nothing", expected="the digits that `prepare` writes") from error
        except (ValueError, KeyError, EOFError, zipfile.BadZipFile, zlib.error) as error:
            raise DataError(path, f"array {name}_{key}", got=f"damage ({error})", expected="a whole array") from error
        digest = sha256(np.ascontiguousarray(array).data)
        expected = self.manifest["splits"][name]["sha256"][key]
        if digest != expected:
            raise DataError(path, f"SHA-256 of {name}_{key}", got=digest, expected=expected)
        return array
