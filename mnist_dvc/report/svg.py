"""A matplotlib figure as SVG inside a page: in the page's colours and font, each part with words of its own."""

from __future__ import annotations

import io
import re
import xml.etree.ElementTree as ET
from typing import TYPE_CHECKING, Any

import matplotlib as mpl

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matplotlib.figure import Figure

__all__ = ["INK", "LINE", "MUTED", "RIGHT", "STYLE", "TRAINING", "VALIDATION", "WRONG", "svg_text"]

INK, MUTED, LINE, TRAINING, VALIDATION, RIGHT, WRONG = (f"#00000{number}" for number in range(1, 8))
"""Stand for what the page calls so, which is one colour by day and another by night; matplotlib wants a number."""
_VARIABLES = {
    INK: "var(--ink)",
    MUTED: "var(--muted)",
    LINE: "var(--line)",
    TRAINING: "var(--training)",
    VALIDATION: "var(--validation)",
    RIGHT: "var(--right)",
    WRONG: "var(--wrong)",
}
STYLE: dict[Any, Any] = {
    "font.size": 10,
    "axes.titlesize": 10,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.titlecolor": INK,
    "axes.edgecolor": MUTED,
    "axes.facecolor": "none",
    "axes.axisbelow": True,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "figure.facecolor": "none",
    "grid.color": LINE,
    "xtick.color": MUTED,
    "xtick.labelcolor": INK,
    "ytick.color": MUTED,
    "ytick.labelcolor": INK,
    "legend.frameon": False,
    "lines.markersize": 3,
}
"""What a figure is to be made with."""
_FAMILY = re.compile(r"(font-family:|font: [^;']*px) [^;]*")
"""Earlier releases of matplotlib write the one in the other."""
_REFERENCE = re.compile(r"url\(#([^)]+)\)|^#(.+)$")
_SIZE = ("width", "height", "version")


def svg_text(figure: Figure, name: str, about: str, told: Mapping[str, str]) -> str:
    """``figure`` as an ``svg`` element, the same text for the same picture.

    Args:
        figure: made under ``STYLE``.
        name: of the chart, no other on the page; its ids begin with it.
        about: what the picture shows, for those who do not see it.
        told: what a mouse is told over a part, by the ``gid`` of the part.
    """
    buffer = io.BytesIO()
    with mpl.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None}, transparent=True)
    root = ET.fromstring(buffer.getvalue())  # noqa: S314  (matplotlib's own)
    for parent in list(root.iter()):
        for child in list(parent):
            if _plain(child.tag) in ("metadata", "style"):  # the latter would hold for the whole page
                parent.remove(child)
    _tell(root, told)
    _rename(root, name)
    for key in _SIZE:
        root.attrib.pop(key, None)
    root.attrib |= {"role": "img", "aria-label": about}
    return ET.tostring(root, encoding="unicode")


def _plain(name: str) -> str:
    """A tag or attribute without its namespace, which HTML knows by itself."""
    return name.rpartition("}")[2]


def _tell(root: ET.Element, told: Mapping[str, str]) -> None:
    for element in root.iter():
        words = told.get(element.get("id", ""))
        if words is not None:
            title = ET.Element("title")
            title.text = words
            element.insert(0, title)
            element.set("class", "told")


def _rename(root: ET.Element, name: str) -> None:
    """Leave the ids that something refers to, under names of this chart; take colours and fonts from the page."""
    values = [value for element in root.iter() for value in element.attrib.values()]
    uses = {one or other for value in values for one, other in _REFERENCE.findall(value)}
    for element in root.iter():
        element.tag, element.tail = _plain(element.tag), None
        element.text = element.text if element.tag in ("text", "title") else None
        attributes = {_plain(key): value for key, value in element.attrib.items()}
        if attributes.get("id") not in uses:
            attributes.pop("id", None)
        element.attrib.clear()
        for key, value in attributes.items():
            element.set(key, _of_page(key, value, name))


def _of_page(key: str, value: str, name: str) -> str:
    if key == "id":
        return f"{name}-{value}"
    if key == "href" or "url(#" in value:
        return value.replace("#", f"#{name}-")
    if key == "style":
        for colour, variable in _VARIABLES.items():
            value = value.replace(colour, variable)
        return _FAMILY.sub(r"\1 var(--font)", value)
    return value
