"""The report of a trained network as one HTML page that asks for nothing outside itself."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from mnist_dvc.description import BUDGET
from mnist_dvc.report.classes import answer_names
from mnist_dvc.report.text import per_cent

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mnist_dvc.description import Description

__all__ = ["TEMPLATES", "Mistake", "Page", "page_bytes"]

FOLDER = Path(__file__).with_name("templates")
TEMPLATES = tuple(FOLDER / name for name in ("report.css", "report.html", "tables.html"))
"""All that the page is made with."""
MNIST = "mnist"
"""The data set that a reader takes for granted; the page warns of any other."""
SAMPLE = "mnist-5k"


@dataclass(frozen=True, slots=True)
class Mistake:
    """A test image that was read wrongly: its position, label and answer, the probability of it, the image as PNG."""

    index: int
    actual: int
    predicted: int
    confidence: float
    png: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    """What the page shows; accuracies and the like are fractions."""

    network: str
    dataset: str
    result: Mapping[str, float]
    """The figures of metrics.json by name."""
    charts: Mapping[str, str]
    """SVG elements by name: loss, accuracy, confusion, reliability."""
    history: Mapping[str, Sequence[float]]
    """The columns of history.csv by name; those of a validation that did not take place are absent."""
    classes: Sequence[tuple[int, float, float, float, int]]
    """Class, precision, recall, F1, images of it."""
    class_names: Sequence[str] = ()
    """None where the classes are digits."""
    bins: Sequence[Any]
    """Of the reliability diagram: ``low``, ``high``, ``images``, ``confidence``, ``accuracy`` and its interval."""
    mistakes: Sequence[Mistake]
    """All of them or the most confident, in the order in which they are shown."""
    description: Description
    recipe: Sequence[tuple[str, object, str]]
    """Dotted key, value, meaning."""
    provenance: Sequence[tuple[str, object]]
    """What is recorded of the training, and its value."""


def page_bytes(page: Page) -> bytes:
    """The page as UTF-8, the same bytes for the same values."""
    environment = Environment(
        loader=FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "per_cent": per_cent,
        "count": lambda number: f"{number:,}",
        "figure": lambda number: f"{number:.4f}",
        "image": lambda png: f"data:image/png;base64,{base64.b64encode(png).decode()}",
        "svg": Markup,  # our own elements, of numbers and of words that stand in the code
        "coded": _coded,
        "shape": lambda shape: " \N{MULTIPLICATION SIGN} ".join(map(str, shape)),
    }
    template = environment.get_template("report.html")
    told = {"budget": BUDGET, "names": answer_names(page.class_names)}
    return template.render(page=page, **told, is_mnist=page.dataset == MNIST, is_sample=page.dataset == SAMPLE).encode()


def _coded(words: str) -> Markup:
    """Escaped, and what stands between backticks as code."""
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", str(escape(words))))  # noqa: S704  (they are escaped)
