from __future__ import annotations

import io
from typing import Any

import pytest
from matplotlib.figure import Figure
from PIL import Image

from mnist_dvc.report.png import png_bytes
from mnist_dvc.report.study_figures import frontier_figure, seeds_figure

PUBLISHED = [
    {"parameters": "697", "accuracy": "0.9903", "how": "one run", "source": "a"},
    {"parameters": "20000", "accuracy": "0.9950", "how": "mean of 30", "source": "b"},
]


def point(parameters: int, accuracy: float, half: float | None = 0.0003) -> dict[str, Any]:
    return {
        "network": "compact",
        "parameters": parameters,
        "accuracies": [accuracy - 0.0005, accuracy + 0.0005],
        "accuracy_mean": accuracy,
        "accuracy_mean_low": None if half is None else accuracy - half,
        "accuracy_mean_high": None if half is None else accuracy + half,
    }


POINTS = [point(886, 0.985), point(19_706, 0.996)]
FIGURES = {
    "frontier": lambda points: frontier_figure(points, PUBLISHED, "digest"),
    "seeds": lambda points: seeds_figure({str(number): one for number, one in enumerate(points)}, "digest"),
}


@pytest.mark.parametrize("name", FIGURES)
def test_figure_is_a_picture_that_tells_what_it_was_drawn_from(name: str) -> None:
    content = FIGURES[name](POINTS)
    assert FIGURES[name](POINTS) == content
    with Image.open(io.BytesIO(content)) as picture:
        assert picture.info["Description"] == "digest"
        assert "Software" not in picture.info
        assert min(picture.size) > 100


@pytest.mark.parametrize("name", FIGURES)
def test_figure_shows_its_numbers(name: str) -> None:
    assert FIGURES[name]([POINTS[0], point(19_706, 0.9961)]) != FIGURES[name](POINTS)


def test_published_networks_are_shown() -> None:
    assert frontier_figure(POINTS, PUBLISHED[:1], "digest") != frontier_figure(POINTS, PUBLISHED, "digest")


@pytest.mark.parametrize("name", FIGURES)
def test_single_seed_without_an_interval_is_shown(name: str) -> None:
    assert FIGURES[name]([POINTS[0], point(19_706, 0.996, None)])


def test_picture_says_nothing_where_nothing_is_to_be_said() -> None:
    with Image.open(io.BytesIO(png_bytes(Figure()))) as picture:
        assert not picture.info.keys() & {"Description", "Software"}
