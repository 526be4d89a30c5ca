from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
from helpers import ROOT
from PIL import Image

from mnist_dvc.files import json_bytes
from mnist_dvc.report.results import (
    benchmark_table,
    headline_table,
    machine_line,
    parts_table,
    seed_table,
    speed_section,
    with_block,
)
from mnist_dvc.study.results import BENCHMARKS, STUDIES, rendered

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


STEP: dict[str, Any] = {
    "benchmark": "training[sprint-1]",
    "group": "training",
    "network": "sprint",
    "threads": 1,
    "seconds": 0.0548,
    "calibration_seconds": 0.0274,
    "seconds_usual": 0.967,
    "x_usual": 17.65,
    "images_per_second": 23_353,
    "load_before": 1.609375,
    "build": "torch 2.15",
}


def test_benchmark_has_its_figures_in_columns_and_the_rest_in_words() -> None:
    figures = [STEP, {"benchmark": "memory", "group": "processes", "network": "compact", "above_import_torch_mb": 86}]
    assert benchmark_table(figures).splitlines() == [
        "| benchmark | threads | time | GEMMs | others take, times ours | images/s | notes | load |",
        "|---|---|---|---|---|---|---|---|",
        "| training[sprint-1] | 1 | 54.8 ms | 2 | usual 17.6 | 23,353 |  | 1.6 |",
        "| memory |  |  |  |  |  | network compact, above import torch mb 86 |  |",
    ]


def test_column_without_figures_is_left_out() -> None:
    header, _, row = benchmark_table([{"benchmark": "a", "group": "g", "accuracies": [99.4, 99.45]}]).splitlines()
    assert (header, row) == ("| benchmark | notes |", "| a | accuracies 99.4 99.45 |")
    assert benchmark_table([STEP], {"training[sprint-1]": "1.02"}).splitlines()[-1].endswith("| 1.6 | 1.02 |")


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.0008033, "803 µs"), (0.001, "1 ms"), (0.0374, "37.4 ms"), (1.0, "1 s"), (9.34, "9.34 s")]
)
def test_time_has_the_unit_that_suits_it(seconds: float, shown: str) -> None:
    assert (
        benchmark_table([{"benchmark": "a", "group": "g", "seconds": seconds}]).splitlines()[-1] == f"| a | {shown} |"
    )


def on(device: str, *figures: dict[str, Any], **more: Any) -> dict[str, Any]:
    machine = {"processor": "P", "cpus": 2, "accelerator": "G", "system": "Linux", "versions": {"torch": "2.15"}}
    return {"machine": machine | {"device": device} | more, "figures": list(figures)}


def test_each_machine_has_a_heading_and_a_table_of_each_group_gpu_last() -> None:
    told = {
        "a-gpu": on("cuda", STEP, driver="580.95"),
        "b-cpu": on("cpu", STEP, STEP | {"group": "input"}, instructions="AVX2"),
    }
    lines = [line for line in speed_section(told).splitlines() if line.startswith(("#", "device"))]
    assert lines == [
        "### CPU: `b-cpu`",
        "device cpu: P (AVX2), 2 logical CPUs, Linux; torch 2.15.",
        "#### b-cpu: training",
        "#### b-cpu: input",
        "### GPU: `a-gpu`",
        "device cuda: G (driver 580.95) of a machine with P, 2 logical CPUs, Linux; torch 2.15.",
        "#### a-gpu: training",
    ]


def test_file_of_before_devices_were_told_is_about_a_cpu() -> None:
    told = on("cpu", STEP)
    del told["machine"]["device"]
    assert speed_section({"old": told}).startswith("### CPU: `old`\n\ndevice cpu: P, 2 logical CPUs")


@pytest.mark.parametrize("benchmarks", [{}, {"some": on("cpu", STEP)}])
def test_no_gpu_is_said(benchmarks: dict[str, Any]) -> None:
    assert speed_section(benchmarks).endswith("### GPU\n\nNot measured yet.")
    assert "Not measured yet." not in speed_section(benchmarks | {"gpu": on("cuda", STEP)})


def test_parts_of_a_step_are_side_by_side_for_all_machines() -> None:
    part = {"benchmark": "where[1]", "group": "profile", "threads": 1, "steps": 2340, "input_seconds": 1.018}
    told = {"a": on("cpu", STEP, part), "b": on("cuda", part | {"share_busy": 0.25})}
    assert parts_table(told).splitlines() == [
        "| machine | threads | steps | input seconds | share busy |",
        "|---|---|---|---|---|",
        "| `a` | 1 | 2,340 | 1.018 |  |",
        "| `b` | 1 | 2,340 | 1.018 | 0.25 |",
    ]
    assert parts_table({"a": on("cpu", STEP)}) == "Not measured yet."
    assert "where[1]" not in speed_section(told)


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
        typed = {} if name == "frontier" else {"nll_mean": 0.9999}  # which contradicts no other figure of the file
        (folder / "summary.json").write_bytes(json_bytes(content | typed))
    shutil.copytree(ROOT / BENCHMARKS, tmp_path / BENCHMARKS)
    for file in (
        "README.md",
        "docs/results.md",
        "docs/choices.csv",
        "docs/rivals.csv",
        "studies/frontier/published.csv",
    ):
        (tmp_path / file).write_bytes((ROOT / file).read_bytes())
    page = rendered(tmp_path)[tmp_path / "README.md"].decode()
    assert page.count("| 0.9999 |") == len(STUDIES) - 1
    assert page != (ROOT / "README.md").read_text(encoding="utf-8")
