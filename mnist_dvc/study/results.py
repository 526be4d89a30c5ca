"""The summaries of all studies and the benchmarks of all machines to README.md, docs/results.md and its figures."""

from __future__ import annotations

import csv
import io
import json
from typing import TYPE_CHECKING, Any

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, sha256, write_atomically
from mnist_dvc.report.results import (
    choices_table,
    headline_table,
    machine_line,
    parts_table,
    seed_table,
    speed_section,
    with_block,
)
from mnist_dvc.report.study_figures import frontier_figure, seeds_figure

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["STUDIES", "rendered", "results"]

STUDIES = ("record", "default", "fast", "frontier")
"""In the order in which they are shown."""
BENCHMARKS = "docs/benchmarks"
"""A file of each machine and device that `nox -s bench -- --results` was run on, and of none that it was not."""
LARGEST = 2**20


def results(root: Path) -> None:
    """Write what :func:`rendered` gives.

    Raises:
        ArtifactError: a summary, a file of benchmarks or a page with its markers is missing or damaged.
        OSError: a file cannot be written.
    """
    for path, content in rendered(root).items():
        write_atomically(path, content)
        print(f"  {path}")


def rendered(root: Path) -> dict[Path, bytes]:
    """Every generated file of the repository ``root`` as it should be.

    Raises:
        ArtifactError: a summary, a file of benchmarks or a page with its markers is missing or damaged.
    """
    contents = {name: _content(root / "studies" / name / "summary.json") for name in STUDIES}
    summaries = {name: _parsed(content, root / "studies" / name / "summary.json") for name, content in contents.items()}
    published = _content(root / "studies/frontier/published.csv")
    benchmarks = {path.stem: _parsed(_content(path), path) for path in sorted((root / BENCHMARKS).glob("*.json"))}
    blocks = {f"study {name}": f"{seed_table(s)}\n\n{machine_line(s)}" for name, s in summaries.items()}
    blocks |= {"bench profile": parts_table(benchmarks), "speed": speed_section(benchmarks)}
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
