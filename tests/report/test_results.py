from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from helpers import ROOT
from PIL import Image

from mnist_dvc.report.results import benchmark_table, headline_table, machine_line, seed_table, with_block
from mnist_dvc.study.results import STUDIES, rendered

if TYPE_CHECKING:
    from pathlib import Path

SUMMARY: dict[str, Any] = {
    "study": "fast",
    "network": "sprint",
    "parameters": 19_514,
    "epochs": 4,
    "seeds": [1, 2],
    "accuracies": [0.9941, 0.9945],
    "accuracy_mean": 0.9943,
    "accuracy_sd": 0.00028284,
    "accuracy_mean_low": 0.99176,
    "accuracy_mean_high": 0.99684,
    "nll_mean": 0.01834,
    "ece_mean": 0.00123,
    "train_seconds_mean": 7.94,
    "threads": 2,
    "machine": {"processor": "P", "cpus": 2},
    "versions": {"python": "3.11", "torch": "2.15"},
}


def test_headline_shows_mean_interval_and_time() -> None:
    row = headline_table({"fast": SUMMARY}).splitlines()[-1]
    assert row == (
        "| [`fast`](studies/fast/dvc.yaml) | `sprint` | 19,514 | 2 | **99.430 %** | 99.176 to 99.684 % | 0.028 "
        "| 0.0183 | 7.9 s, 2 threads |"
    )


def test_every_seed_is_shown() -> None:
    row = seed_table(SUMMARY).splitlines()[-1]
    assert "| 99.41 99.45 | 99.430 |" in row


def test_every_network_of_a_study_has_a_row() -> None:
    points = [SUMMARY | {"network": "compact-1k", "parameters": 886}, SUMMARY]
    rows = seed_table(SUMMARY | {"points": points}).splitlines()[2:]
    assert [row.split("|")[1].strip() for row in rows] == ["`compact-1k`", "`sprint`"]


def test_one_seed_shows_dashes() -> None:
    lone = SUMMARY | {"accuracy_sd": None, "accuracy_mean_low": None, "accuracy_mean_high": None}
    assert "| - | - |" in headline_table({"fast": lone})


def test_machine_is_told_or_that_there_were_several() -> None:
    assert machine_line(SUMMARY) == "P, 2 logical CPUs, 2 threads a training; python 3.11, torch 2.15."
    assert "several machines" in machine_line(SUMMARY | {"machine": [{}, {}]})


def test_benchmarks_have_a_column_for_every_figure_and_leave_out_the_machine() -> None:
    figures = [
        {"benchmark": "a", "group": "g", "cpus": 2, "x_usual": 9.5},
        {"benchmark": "b", "group": "g", "share": 0.1},
    ]
    assert benchmark_table(figures).splitlines() == [
        "| benchmark | x usual | share |",
        "|---|---|---|",
        "| a | 9.5 |  |",
        "| b |  | 0.1 |",
    ]


def test_block_is_replaced_and_the_rest_kept() -> None:
    text = "before\n<!-- t: begin -->\nold\n<!-- t: end -->\nafter\n"
    assert with_block(text, "t", "new") == "before\n<!-- t: begin -->\nnew\n<!-- t: end -->\nafter\n"
    assert with_block(with_block(text, "t", "new"), "t", "old") == text


@pytest.mark.parametrize(
    "text", ["", "<!-- t: begin -->", "<!-- t: end --><!-- t: begin -->", "<!-- t: begin --><!-- t: end -->" * 2]
)
def test_page_without_its_block_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected one block"):
        with_block(text, "t", "new")


def committed_figure(path: Path) -> str:
    with Image.open(path) as picture:
        return str(picture.info["Description"])


def test_pages_and_figures_are_those_of_the_committed_summaries() -> None:
    """A picture is told by what it was drawn from, since another matplotlib draws other bytes."""
    for path, content in rendered(ROOT).items():
        if path.suffix == ".png":
            assert f"Description\0{committed_figure(path)}".encode() in content, f"{path} is stale"
        else:
            assert path.read_bytes() == content, f"run `mnist-dvc study results`: {path} is stale"


def test_a_number_typed_by_hand_would_be_found(tmp_path: Path) -> None:
    for name in STUDIES:
        folder = tmp_path / "studies" / name
        folder.mkdir(parents=True)
        content = json.loads((ROOT / f"studies/{name}/summary.json").read_text(encoding="utf-8"))
        (folder / "summary.json").write_text(
            json.dumps(content | {"accuracy_mean": 0.99999, "accuracy_mean_high": 1.0})
        )
    (tmp_path / "docs").mkdir()
    for file in (
        "README.md",
        "docs/results.md",
        "docs/benchmarks.json",
        "docs/choices.csv",
        "studies/frontier/published.csv",
    ):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    page = rendered(tmp_path)[tmp_path / "README.md"].decode()
    assert page.count("**99.999 %**") == len(STUDIES) - 1
    assert page != (ROOT / "README.md").read_text(encoding="utf-8")
