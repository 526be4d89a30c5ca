from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from mnist_dvc.report.console import ConsoleReport
from mnist_dvc.report.text import duration, per_cent
from mnist_dvc.training.events import EpochEnded, EpochRow, Started, Stepped

STARTED = Started(
    epochs=2,
    steps=428,
    device="cpu",
    precision="bfloat16",
    train_images=55_000,
    validation_images=5_000,
    step=0,
    history=(),
)
ROW = EpochRow(epoch=1, train_loss=0.4, val_loss=0.07, train_accuracy=0.87, val_accuracy=0.9768, lr=0.02)
ENDED = EpochEnded(row=ROW, images_per_second=5789.0, gradient_norm=1.0)
EMPTY = EpochEnded(
    row=EpochRow(epoch=1, train_loss=0.4, val_loss=None, train_accuracy=0.87, val_accuracy=None, lr=0.02),
    images_per_second=5789.0,
    gradient_norm=1.0,
)


def shown(*, terminal: bool, ended: EpochEnded = ENDED, width: int = 100) -> str:
    stream = io.StringIO()
    console = Console(file=stream, force_terminal=terminal, width=width, highlight=False, color_system=None)
    with ConsoleReport(console) as report:
        for event in (STARTED, Stepped(step=214), ended):
            report.handle(event)
    return stream.getvalue()


def test_pipe_gets_one_plain_line_per_epoch() -> None:
    text = shown(terminal=False)
    assert "\x1b" not in text
    lines = text.splitlines()
    assert lines[0].startswith("Training on 55,000 images (5,000 for validation): 2 epochs, 428 steps, cpu, bfloat16")
    assert lines[1].split() == ["epoch", "train", "loss", "val", "loss", "train", "acc", "val", "acc", "lr", "images/s"]
    assert lines[2].split() == ["1", "0.4000", "0.0700", "87.00", "%", "97.68", "%", "2.00e-02", "5,789"]
    assert len(lines) == 3


def test_terminal_gets_the_rows_a_bar_and_the_time_left() -> None:
    text = shown(terminal=True)
    for part in ("train loss", "97.68 %", "214/428", "elapsed,", "left", "━"):
        assert part in text
    assert text.endswith("\x1b[?25h")  # the cursor is back


LONGEST = EpochEnded(
    row=EpochRow(epoch=10_000, train_loss=12.3456, val_loss=0.07, train_accuracy=1.0, val_accuracy=1.0, lr=0.02),
    images_per_second=99_999.0,
    gradient_norm=1.0,
)


def rows(width: int, *, terminal: bool = True) -> list[str]:
    """The head of the columns and a row of the longest figures, without what moves the cursor."""
    text = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown(terminal=terminal, ended=LONGEST, width=width))
    return [line for line in re.split(r"[\r\n]+", text) if re.match(r" *(epoch|10000) ", line)]


@pytest.mark.parametrize(
    ("width", "last", "figure"),
    [(100, "images/s", "99,999"), (82, "images/s", "99,999"), (80, "images/s", "99,999"), (60, "lr", "2.00e-02"),
     (40, "train acc", "100.00 %"), (4, "", "")],
)  # fmt: skip
def test_row_is_no_wider_than_the_terminal_and_drops_what_comes_last(width: int, last: str, figure: str) -> None:
    lines = rows(width)
    assert all(len(line) <= width for line in lines)
    assert [line.endswith(end) for line, end in zip(lines, (last, figure), strict=False)] == [True] * len(lines)
    assert len({len(line) for line in lines}) <= 1
    assert len(lines) == (2 if last else 0)


def test_row_in_a_pipe_is_whole_however_narrow() -> None:
    """The twin: it is wider than what a terminal of that width would show."""
    assert [len(line) for line in rows(60, terminal=False)] == [82, 82]


def test_without_validation_the_cells_are_dashes() -> None:
    cells = shown(terminal=False, ended=EMPTY).splitlines()[2].split()
    assert cells == ["1", "0.4000", "-", "87.00", "%", "-", "2.00e-02", "5,789"]


@pytest.mark.parametrize(("fraction", "text"), [(0.9962, "99.62 %"), (1.0, "100.00 %"), (None, "-")])
def test_per_cent(fraction: float | None, text: str) -> None:
    assert per_cent(fraction) == text


@pytest.mark.parametrize(
    ("seconds", "text"), [(7.46, "7.5 s"), (59.4, "59.4 s"), (221.2, "3 min 41 s"), (60, "1 min 00 s")]
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
