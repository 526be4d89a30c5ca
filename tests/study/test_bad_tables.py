"""What the pages show beside the summaries, damaged: refused in a line that names the place."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from damaging import flips_and_cuts, hostile_json, wrong_values
from helpers import ROOT

from mnist_dvc.errors import ArtifactError
from mnist_dvc.records import parsed
from mnist_dvc.study.shown import CHOICES, PUBLISHED, RIVALS, Benchmarks, read_table

BENCHMARK = (ROOT / "docs/benchmarks/epyc-avx2-cpu.json").read_bytes()
TABLES = {"docs/choices.csv": CHOICES, "docs/rivals.csv": RIVALS, "studies/frontier/published.csv": PUBLISHED}
WHERE = Path("file")


def refused(content: bytes, columns: dict[str, str] | None = None) -> str | None:
    try:
        if columns is None:
            parsed(content, WHERE, Benchmarks, "figures", ArtifactError)
        else:
            read_table(content, WHERE, columns)
    except ArtifactError as error:
        assert str(error).isprintable()
        assert str(error).startswith("file: ")
        return str(error)
    return None


def test_damaged_benchmarks_are_refused_in_a_line_or_still_are_some() -> None:
    """Numbers that nothing else tells may differ; git has them. Never anything else than a line, never a NaN."""
    assert refused(BENCHMARK) is None
    assert sum(refused(content) is None for content in flips_and_cuts(BENCHMARK, 300, 50)) < 150
    for what, content in hostile_json(BENCHMARK).items():
        assert refused(content), what
    told = json.loads(BENCHMARK)
    for key, value, content in wrong_values(told):
        assert refused(content) or (key, value) == ("figures", []), (key, value)


@pytest.mark.parametrize("key", ["benchmark", "group", "threads", "seconds", "calibration_seconds", "load_before"])
def test_wrong_figure_of_a_benchmark_is_refused(key: str) -> None:
    told = json.loads(BENCHMARK)
    figure = next(figure for figure in told["figures"] if key in figure)
    right = figure[key]
    for value in (True, [1], {"a": 1}, -1, float("nan"), float("inf"), "a|b"):
        figure[key] = value
        assert refused((json.dumps(told, indent=2, ensure_ascii=False) + "\n").encode()), value
    figure[key] = right
    figure["x_other"] = 0
    assert "x_other 0, not a number above 0" in str(refused((json.dumps(told, indent=2) + "\n").encode()))


@pytest.mark.parametrize("file", TABLES)
def test_damaged_table_is_refused_in_a_line_or_still_is_one(file: str) -> None:
    content, columns = (ROOT / file).read_bytes(), TABLES[file]
    assert refused(content, columns) is None
    passed = sum(refused(bad, columns) is None for bad in flips_and_cuts(content, 300, 50))
    assert passed < 300
    header, first, *_ = content.decode().splitlines()
    bad_tables = [
        b"",
        b"\n",
        b"\0" * 9,
        b"\xff\xfe",
        header.encode()[1:],
        content + b",\n",
        content + b"\n1\n",
        content + b'"',
        content + b"\x1b[31m" * len(columns),
        f"{header}\n{first},more\n".encode(),
        f"{header}\n{',' * (len(columns) - 1)}\n".encode(),
        *(f"{header}\n{','.join(['<b>|'] * len(columns))}\n".encode() for _ in range(1)),
    ]
    for bad in bad_tables:
        assert refused(bad, columns), bad
