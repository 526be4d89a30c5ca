"""Every number of the pages comes from the summaries; a missing or damaged file is refused before any is written."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from mnist_dvc.errors import ArtifactError
from mnist_dvc.files import json_bytes
from mnist_dvc.study.results import STUDIES, rendered, results

if TYPE_CHECKING:
    from pathlib import Path

HOST = {"processor": "P", "cpus": 2, "accelerator": None, "system": "Linux"}
POINT: dict[str, Any] = {
    "network": "compact-1k",
    "dataset": "mnist",
    "parameters": 886,
    "epochs": 4,
    "seeds": [1, 2],
    "accuracies": [0.9841, 0.9845],
    "accuracy_mean": 0.9843,
    "accuracy_sd": 0.00028284,
    "accuracy_mean_low": 0.98175876,
    "accuracy_mean_high": 0.98684124,
    "nll_mean": 0.05834,
    "brier_mean": 0.02,
    "ece_mean": 0.00123,
    "train_seconds": [7.5, 8.38],
    "train_seconds_mean": 7.94,
    "threads": 2,
    "machine": HOST,
    "versions": {"torch": "2.15"},
}
LARGEST: dict[str, Any] = POINT | {
    "network": "compact",
    "parameters": 19_706,
    "accuracies": [0.9859, 0.9863],
    "accuracy_mean": 0.9861,
    "accuracy_mean_low": 0.98355876,
    "accuracy_mean_high": 0.98864124,
}
BLOCKS = [*(f"study {name}" for name in STUDIES), "bench profile", "rivals", "speed", "choice shape"]
MACHINE = HOST | {"versions": {"torch": "2.15"}}
FILES = {
    "README.md": "Ours.\n<!-- results: begin -->\n99.999 %\n<!-- results: end -->\nEnd.\n",
    "docs/results.md": "".join(f"<!-- {name}: begin -->\n99.999 %\n<!-- {name}: end -->\n" for name in BLOCKS),
    "docs/benchmarks/old.json": json_bytes(
        {"machine": MACHINE, "figures": [{"benchmark": "a step", "group": "training", "cpus": 2, "seconds": 0.0095}]}
    ).decode(),
    "docs/choices.csv": "question,network,seed,recipe,images,errors,nll\nshape,5x5,1,12 epochs,5000,24,0.01505\n",
    "docs/rivals.csv": (
        "framework,example,parameters,epochs,images_per_second,seconds,accuracy,seconds_to_goal,machine\n"
        "Other 1.0,mnist,34826,15,9000,90.1,0.9912,never,some; 2 logical CPUs\n"
    ),
    "studies/frontier/published.csv": "parameters,accuracy,how,source\n697,0.9903,one run,somebody\n",
}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with summaries of all studies, and pages in which every number is wrong."""
    for name in STUDIES:
        summary = {"study": name} | LARGEST | ({"points": [POINT, LARGEST]} if name == "frontier" else {})
        write(tmp_path / f"studies/{name}/summary.json", json_bytes(summary).decode())
    for name, text in FILES.items():
        write(tmp_path / name, text)
    return tmp_path


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def everything(root: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in root.rglob("*") if path.is_file()}


def test_pages_and_figures_are_written_and_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = everything(root)
    results(root)
    changed = {path for path, content in everything(root).items() if before.get(path) != content}
    expected = {root / name for name in ("README.md", "docs/results.md", "docs/frontier.png", "docs/seeds.png")}
    assert changed == expected == {root / line.strip() for line in capsys.readouterr().out.splitlines()}


def test_no_number_of_a_page_stays_as_it_was_typed(root: Path) -> None:
    results(root)
    readme, page = (root / "README.md").read_text(), (root / "docs/results.md").read_text()
    assert "99.999" not in readme + page
    assert readme.startswith("Ours.\n")
    assert readme.endswith("End.\n")
    assert readme.count("**98.610 %**") == len(STUDIES) - 1  # the frontier is a figure there
    assert "| `compact-1k` | 886 | 4 | 98.41 98.45 |" in page
    assert "### CPU: `old`" in page
    assert "| a step | 9.5 ms |" in page
    assert page.count("Not measured yet.") == 2  # where the seconds of `fast` go, and on a GPU
    assert "| 5x5 | 1 | 12 epochs | 5000 | 24 | 0.01505 |" in page
    assert "| Other 1.0 | mnist | 34,826 | 15 | 9,000 | 90.1 | 99.12 % | never |\n\nsome; 2 logical CPUs." in page


def test_any_machines_may_have_been_measured_and_none(root: Path) -> None:
    old = root / "docs/benchmarks/old.json"
    gpu = json.loads(old.read_text()) | {"machine": MACHINE | {"device": "cuda", "accelerator": "G"}}
    write(old.with_name("new.json"), json_bytes(gpu).decode())
    results(root)
    both = (root / "docs/results.md").read_text()
    assert both.index("### CPU: `old`") < both.index("### GPU: `new`")
    for path in old.parent.iterdir():
        path.unlink()
    results(root)
    none = (root / "docs/results.md").read_text()
    assert "### CPU" not in none
    assert none.count("Not measured yet.") == 2


def test_second_run_changes_nothing(root: Path) -> None:
    results(root)
    assert {path: path.read_bytes() for path in rendered(root)} == rendered(root)


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("studies/frontier/summary.json", "2.15", "2.16", "docs/frontier.png"),
        ("studies/frontier/published.csv", "somebody", "somebody else", "docs/frontier.png"),
        ("studies/record/summary.json", '"brier_mean": 0.02', '"brier_mean": 0.03', "docs/seeds.png"),
    ],
)
def test_figure_tells_what_it_was_drawn_from(root: Path, file: str, old: str, new: str, changed: str) -> None:
    """Even where the picture stays the same."""
    before = rendered(root)
    (root / file).write_text((root / file).read_text().replace(old, new))
    after = rendered(root)
    assert root / changed in {path for path in before if before[path] != after[path]}


@pytest.mark.parametrize(
    ("file", "text", "message"),
    [
        ("studies/fast/summary.json", None, "file: got nothing, expected a file of this repository"),
        ("studies/fast/summary.json", "{", "content: got no JSON"),
        ("docs/benchmarks/old.json", "figures", "content: got no JSON"),
        ("docs/choices.csv", None, "file: got nothing"),
        ("docs/rivals.csv", None, "file: got nothing"),
        ("studies/frontier/published.csv", None, "file: got nothing"),
        ("README.md", "no block", "block results: got none"),
        ("docs/results.md", FILES["docs/results.md"].replace("study fast", "study slow"), "block study fast: got none"),
    ],
)
def test_missing_or_damaged_file_is_refused_and_nothing_is_written(
    root: Path, file: str, text: str | None, message: str
) -> None:
    (root / file).unlink()
    if text is not None:
        (root / file).write_text(text)
    before = everything(root)
    with pytest.raises(ArtifactError, match=f"{file}: {message}"):
        results(root)
    assert everything(root) == before
