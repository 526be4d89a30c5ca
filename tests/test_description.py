from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from mnist_dvc.describe import describe
from mnist_dvc.description import description_json, read_description
from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import json_bytes, own_sums, sha256sums
from mnist_dvc.model import NETWORKS

if TYPE_CHECKING:
    from pathlib import Path

DESCRIPTION = describe("reference", NETWORKS["reference"](0.0))


def test_json_holds_the_same_numbers() -> None:
    told = description_json(DESCRIPTION)
    assert (told["network"], told["total"], told["budget"], told["budget_left"]) == ("reference", 19_392, 20_000, 607)
    assert told["parameters"][0] == {"name": "convblock1.0.weight", "shape": (16, 1, 3, 3), "count": 144}


def test_what_was_written_is_read_back(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    path.write_bytes(json_bytes(description_json(DESCRIPTION)))
    assert read_description(path) == DESCRIPTION


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (None, "file: got nothing, expected the description of a network"),
        ("{", "content: got damage"),
        (json.dumps({"network": "reference"}), "content: got damage"),
        (json.dumps({**description_json(DESCRIPTION), "total": "many"}), "content: got damage"),
    ],
    ids=["missing", "no JSON", "incomplete", "a word for a number"],
)
def test_missing_or_damaged_description_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "reference.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(ArtifactError, match=message):
        read_description(path)


def test_another_description_than_the_one_on_record_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "reference.json"
    content = json_bytes(description_json(DESCRIPTION))
    own_sums(path).write_bytes(sha256sums({path.name: content}))
    path.write_bytes(content.replace(b"19392", b"19393"))
    with pytest.raises(ArtifactError, match="SHA-256: got .*, as in reference.json.sha256 beside it"):
        read_description(path)
