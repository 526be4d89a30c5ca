"""The summaries of all studies and the benchmarks of all machines to README.md, docs/results.md and its figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import read_regular, sha256, write_atomically
from mnist_dvc.records import parsed
from mnist_dvc.report.results import (
    choices_table,
    headline_table,
    machine_line,
    parts_table,
    rivals_table,
    seed_table,
    speed_section,
    with_block,
)
from mnist_dvc.report.study_figures import frontier_figure, seeds_figure
from mnist_dvc.study.complete import read_summary
from mnist_dvc.study.records import SUMMARY, Candidate
from mnist_dvc.study.shown import CHOICES, PUBLISHED, RIVALS, Benchmarks, read_table

if TYPE_CHECKING:
    from pathlib import Path

    from pydantic import BaseModel

__all__ = ["COMPARED", "STUDIES", "rendered", "results"]

STUDIES = ("record", "default", "fast", "frontier")
"""In the order in which they are shown."""
COMPARED = ("choices", "taught")
"""Those whose candidates recipes were chosen by."""
BENCHMARKS = "docs/benchmarks"
"""A file of each machine and device that `nox -s bench -- --results` was run on, and of none that it was not."""
EXPECTED = "a file of this repository"
RIVALS_FILE = "docs/rivals.csv"
"""What `nox -s rivals -- FOLDER --results` wrote."""
LARGEST = 2**20


def results(root: Path) -> None:
    """Write what :func:`rendered` gives.

    Raises:
        ArtifactError: a summary, a table, a file of benchmarks or a page with its markers is missing, damaged or at
            odds with itself.
        OSError: a file cannot be written.
    """
    for path, content in rendered(root).items():
        write_atomically(path, content)
        print(f"  {path}")


def rendered(root: Path) -> dict[Path, bytes]:
    """Every generated file of the repository ``root`` as it should be.

    Raises:
        ArtifactError: a summary, a table, a file of benchmarks or a page with its markers is missing, damaged or at
            odds with itself.
    """
    folders = {name: root / "studies" / name for name in STUDIES}
    summaries = {name: _told(read_summary(folder, EXPECTED)) for name, folder in folders.items()}
    contents = {name: _content(folder / SUMMARY) for name, folder in folders.items()}
    published = _content(folders["frontier"] / "published.csv")
    others = read_table(published, folders["frontier"] / "published.csv", PUBLISHED)
    benchmarks = {path.stem: _benchmarks(path) for path in sorted((root / BENCHMARKS).glob("*.json"))}
    blocks = {f"study {name}": f"{seed_table(s)}\n\n{machine_line(s)}" for name, s in summaries.items()}
    blocks |= {"bench profile": parts_table(benchmarks), "speed": speed_section(benchmarks)}
    choices = read_table(_content(root / "docs/choices.csv"), root / "docs/choices.csv", CHOICES)
    for study in COMPARED:
        choices += _candidates(root / "studies" / study)
    for question in dict.fromkeys(row["question"] for row in choices):
        blocks[f"choice {question}"] = choices_table(choices, question)
    blocks["rivals"] = rivals_table(read_table(_content(root / RIVALS_FILE), root / RIVALS_FILE, RIVALS))
    frontier = summaries["frontier"]
    drawn_from = sha256(contents["frontier"] + published)
    seeds = {name: summary for name, summary in summaries.items() if name != "frontier"}
    return {
        root / "README.md": _page(root / "README.md", {"results": headline_table(seeds)}),
        root / "docs/results.md": _page(root / "docs/results.md", blocks),
        root / "docs/frontier.png": frontier_figure(frontier.get("points", [frontier]), others, drawn_from),
        root / "docs/seeds.png": seeds_figure(seeds, sha256(b"".join(contents[name] for name in seeds))),
    }


def _candidates(study: Path) -> list[dict[str, str]]:
    """What the candidates came to, as rows of docs/choices.csv, with more columns where there were teachers."""
    rows = []
    for path in sorted((study / "candidates").glob("*/*/*/metrics.json")):
        told = parsed(_content(path), path, Candidate, EXPECTED, ArtifactError)
        fields = told.model_dump(exclude={"fidelity"}) | (told.fidelity.model_dump() if told.fidelity else {})
        rows.append({key: f"{value:.5f}" if isinstance(value, float) else str(value) for key, value in fields.items()})
    return rows


def _content(path: Path) -> bytes:
    return read_regular(path, LARGEST, ArtifactError, EXPECTED)


def _told(record: BaseModel) -> dict[str, Any]:
    """The plain values of the file that ``record`` was read from."""
    return record.model_dump(exclude_unset=True)


def _benchmarks(path: Path) -> dict[str, Any]:
    return _told(parsed(_content(path), path, Benchmarks, EXPECTED, ArtifactError))


def _page(path: Path, blocks: dict[str, str]) -> bytes:
    content = _content(path)
    try:
        text = content.decode("utf-8")
    except ValueError as error:
        raise ArtifactError(path, "content", got=error, expected="UTF-8") from error
    for name, block in blocks.items():
        try:
            text = with_block(text, name, block)
        except ValueError as error:
            raise ArtifactError(path, f"block {name}", got="none", expected=error) from error
    return text.encode("utf-8")
