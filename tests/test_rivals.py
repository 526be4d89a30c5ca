"""Examples of other frameworks beside ours: what each tells, the table of it, and a rival that cannot run."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import side_by_side
from telling import Telling

from mnist_dvc.errors import ArtifactError
from mnist_dvc.study.shown import RIVALS, read_table

TOLD: dict[str, Any] = {
    "framework": "Some 1.0",
    "example": "mnist",
    "parameters": 1_000,
    "images": 100,
    "epochs": [[2.0, 0.98], [4.0, 0.9951], [5.0, 0.9935]],
}


def rows(told: dict[str, Any]) -> list[dict[str, str]]:
    return read_table(side_by_side.table([side_by_side.row_of(told)]).encode(), Path("rivals.csv"), RIVALS)


def test_row_tells_the_end_and_when_the_goal_was_first_reached() -> None:
    (row,) = rows(TOLD)
    assert (row["epochs"], row["images_per_second"], row["seconds"]) == ("3", "60", "5.0")
    assert (row["accuracy"], row["seconds_to_goal"]) == ("0.9935", "4.0")
    (row,) = rows(TOLD | {"epochs": [[2.0, 0.98]]})
    assert row["seconds_to_goal"] == "never"


def test_wrong_cell_is_refused() -> None:
    table = side_by_side.table([side_by_side.row_of(TOLD) | {"accuracy": "nan"}])
    with pytest.raises(ArtifactError, match="line 2, accuracy: got nan"):
        read_table(table.encode(), Path("rivals.csv"), RIVALS)


def test_clock_stands_still_while_the_test_images_are_read(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    now = [0.0]
    monkeypatch.setattr("telling.time.perf_counter", lambda: now[0])
    telling = Telling("Some 1.0", "mnist", 1_000, 100, _since=0.0)

    def accuracy() -> float:
        now[0] += 100.0
        return 0.5

    for _ in range(2):
        now[0] += 3.0
        telling.scored(accuracy)
    telling.tell()
    assert json.loads(capsys.readouterr().out)["epochs"] == [[3.0, 0.5], [6.0, 0.5]]


def test_rival_that_cannot_run_is_told_and_the_others_are_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "rival_broken.py").write_text("raise SystemExit(3)", encoding="utf-8")
    (tmp_path / "rival_good.py").write_text(f"print('chatter')\nprint({json.dumps(json.dumps(TOLD))})", "utf-8")
    monkeypatch.setattr(side_by_side, "HERE", tmp_path)
    monkeypatch.setattr(side_by_side, "ours", lambda *_: TOLD | {"framework": "ours"})
    monkeypatch.setattr(sys, "argv", ["side_by_side.py", "folder", "--results", str(tmp_path / "rivals.csv")])
    side_by_side.main()
    assert "rival_broken.py: not measured: exit code 3" in capsys.readouterr().out
    found = read_table((tmp_path / "rivals.csv").read_bytes(), tmp_path / "rivals.csv", RIVALS)
    assert [row["framework"] for row in found] == ["ours", "Some 1.0"]
