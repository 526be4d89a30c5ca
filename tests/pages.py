"""A small workspace with mistakes to report, and questions to a page: what it refers to, what it says, its colours."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

from helpers import params, raw_digits

from mnist_dvc.data.prepared import write_prepared
from mnist_dvc.data.splits import split
from mnist_dvc.paths import Paths
from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from pathlib import Path

__all__ = [
    "Element",
    "colours",
    "contrast",
    "elements",
    "evaluated",
    "foreign",
    "mixed",
    "repeated_ids",
    "unnamed",
    "words",
]

VOID = {"meta", "link", "img", "br", "hr", "input"}


def evaluated(root: Path, *, dataset: str = "mnist", validation: int = 100, **recipe: Any) -> Paths:
    """A workspace in ``root`` that ``train`` and ``evaluate`` have been through, with some mistakes."""
    paths, raw = Paths(root), raw_digits(dataset=dataset)
    parts = split(raw, validation=validation, seed=0)
    write_prepared(paths.prepared, raw, parts, validation=validation, seed=0)
    train(params(**recipe), paths)
    evaluate(params(**recipe), paths)
    return paths


@dataclass
class Element:
    """A tag of a page: its attributes, the text in it and in what it holds, the tags that it stands in."""

    tag: str
    attributes: dict[str, str]
    within: tuple[str, ...]
    text: str = ""


@dataclass
class _Reader(HTMLParser):
    found: list[Element] = field(default_factory=list)
    _open: list[Element] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        element = Element(tag, values, tuple(outer.tag for outer in self._open))
        self.found.append(element)
        if tag not in VOID:
            self._open.append(element)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self._open.pop()

    def handle_endtag(self, tag: str) -> None:
        opened = self._open.pop().tag
        if opened != tag:
            raise ValueError(f"</{tag}> closes <{opened}>")

    def handle_data(self, data: str) -> None:
        for element in self._open:
            element.text += data


def elements(page: str) -> list[Element]:
    """Every element of ``page`` in order; fails where one is not closed."""
    reader = _Reader()
    reader.feed(page)
    reader.close()
    if reader._open:
        raise ValueError(f"never closed: {[element.tag for element in reader._open]}")
    return reader.found


def words(page: str) -> str:
    """What a reader sees of the page, with single spaces."""
    body = next(element for element in elements(page) if element.tag == "body")
    return " ".join(body.text.split())


def foreign(page: str) -> list[str]:
    """What a browser would fetch or run: addresses that are neither data nor a place on the page, imports, scripts."""
    found = elements(page)
    here = {f"#{element.attributes['id']}" for element in found if "id" in element.attributes}
    asked = [
        f"{element.tag} {name}={value[:80]}"
        for element in found
        for name, value in element.attributes.items()
        if name in ("src", "srcset", "href", "xlink:href", "action", "data", "poster", "background")
        and not value.startswith("data:")
        and value not in here
    ]
    used = re.findall(r"url\(\s*['\"]?([^)'\"]*)|@import\s*(\S*)", page)
    asked += [f"style {one or other}" for one, other in used if one not in here or other]
    running = ("script", "iframe", "object", "embed", "base")
    return asked + [element.tag for element in found if element.tag in running or "onclick" in element.attributes]


def repeated_ids(page: str) -> list[str]:
    """Ids that stand on the page twice."""
    counts = Counter(element.attributes["id"] for element in elements(page) if "id" in element.attributes)
    return [name for name, count in counts.items() if count > 1]


def unnamed(page: str) -> list[str]:
    """What tells nothing to those who do not see it: pictures without words, tables and columns without a name."""
    bad = []
    found = elements(page)
    for element in found:
        at = element.attributes
        if element.tag == "img" and not at.get("alt"):
            bad.append("img")
        if element.tag == "svg" and not (at.get("role") == "img" and at.get("aria-label")):
            bad.append("svg")
        if element.tag == "th" and "scope" not in at:
            bad.append("th")
    tables, captions = (sum(element.tag == tag for element in found) for tag in ("table", "caption"))
    return bad + ["table"] * (tables - captions)


def colours(page: str) -> dict[str, dict[str, str]]:
    """The colour variables of the page by theme: ``light``, and ``dark`` with what it takes over from light."""
    light, dark = re.findall(r":root \{(.*?)\}", page, re.DOTALL)
    by_day, by_night = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in (light, dark))
    return {"light": by_day, "dark": by_day | by_night}


def contrast(one: str, other: str) -> float:
    """Contrast of two colours, 1 to 21, by WCAG 2.2: https://www.w3.org/TR/WCAG22/#dfn-contrast-ratio."""
    dark, light = sorted((_luminance(one), _luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def _luminance(colour: str) -> float:
    channels = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def mixed(over: str, under: str, strength: float) -> str:
    """The colour ``over``, as opaque as ``strength`` says, on ``under``."""
    pairs = [(int(over[place : place + 2], 16), int(under[place : place + 2], 16)) for place in (1, 3, 5)]
    return "#" + "".join(f"{round(strength * a + (1 - strength) * b):02x}" for a, b in pairs)
