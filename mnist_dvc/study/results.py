"""The summaries of all studies and the committed benchmarks to README.md, docs/results.md and its figures."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, sha256, write_atomically
from mnist_dvc.report.results import (
    benchmark_table,
    choices_table,
    headline_table,
    machine_line,
    seed_table,
    with_block,
)
from mnist_dvc.report.study_figures import frontier_figure, seeds_figure

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STUDIES", "rendered", "results"]

STUDIES = ("record", "default", "fast", "frontier")
"""In the order in which they are shown."""
LARGEST = 2**20


def results(root: Path) -> None:
    """Write what :func:`rendered` gives.

    Raises:
        ArtifactError: a summary, the benchmarks or a page with its markers is missing or damaged.
        OSError: a file cannot be written.
    """
    for path, content in rendered(root).items():
        write_atomically(path, content)
        print(f"  {path}")


def rendered(root: Path) -> dict[Path, bytes]:
    """Every generated file of the repository ``root`` as it should be.

    Raises:
        ArtifactError: a summary, the benchmarks or a page with its markers is missing or damaged.
    """
    contents = {name: _content(root / "studies" / name / "summary.json") for name in STUDIES}
    summaries = {name: _parsed(content, root / "studies" / name / "summary.json") for name, content in contents.items()}
    published = _content(root / "studies/frontier/published.csv")
    benchmarks = _parsed(_content(root / "docs/benchmarks.json"), root / "docs/benchmarks.json")
    blocks = {f"study {name}": f"{seed_table(s)}\n\n{machine_line(s)}" for name, s in summaries.items()}
    for group in dict.fromkeys(figure["group"] for figure in benchmarks["figures"]):
        blocks[f"bench {group}"] = benchmark_table([f for f in benchmarks["figures"] if f["group"] == group])
    choices = _rows(_content(root / "docs/choices.csv"))
    for question in dict.fromkeys(row["question"] for row in choices):
        blocks[f"choice {question}"] = choices_table(choices, question)
    frontier = summaries["frontier"]
    drawn_from = sha256(contents["frontier"] + published)
    seeds = {name: summary for name, summary in summaries.items() if name != "frontier"}
    return {
        root / "README.md": _page(root / "README.md", {"results": headline_table(seeds)}),
        root / "docs/results.md": _page(root / "docs/results.md", blocks),
        root / "docs/frontier.png": frontier_figure(frontier.get("points", [frontier]), _rows(published), drawn_from),
        root / "docs/seeds.png": seeds_figure(seeds, sha256(b"".join(contents[name] for name in seeds))),
    }


def _rows(content: bytes) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(content.decode("utf-8"))))


def _content(path: Path) -> bytes:
    return read_regular(path, LARGEST, ArtifactError, "a file of this repository")


def _parsed(content: bytes, path: Path) -> dict[str, Any]:
    try:
        parsed: dict[str, Any] = json.loads(content)
    except ValueError as error:
        raise ArtifactError(path, "content", got=error, expected="JSON") from error
    return parsed


def _page(path: Path, blocks: dict[str, str]) -> bytes:
    text = _content(path).decode("utf-8")
    for name, content in blocks.items():
        try:
            text = with_block(text, name, content)
        except ValueError as error:
            raise ArtifactError(path, f"block {name}", got="none", expected=error) from error
    return text.encode("utf-8")
