"""Links between pages lead to files and headings that are there, on GitHub, where nobody builds a site."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest
from consoles import FENCE, HEADING, pages
from helpers import ROOT

if TYPE_CHECKING:
    from pathlib import Path

LINK = re.compile(r"\]\((?!https?:|mailto:)(?P<file>[^)#\s]*)(?:#(?P<anchor>[^)\s]+))?\)")


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives to the headings of a page."""
    headings = HEADING.findall(FENCE.sub("", page.read_text(encoding="utf-8")))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dangling(page: Path) -> list[str]:
    """Links of a page to files or headings that are not there."""
    found = []
    for match in LINK.finditer(FENCE.sub("", page.read_text(encoding="utf-8"))):
        target = (page.parent / match["file"]).resolve() if match["file"] else page
        if not target.exists() or (match["anchor"] and match["anchor"] not in anchors(target)):
            found.append(match[0])
    return found


@pytest.mark.parametrize("name", pages())
def test_links_of_a_page_lead_somewhere(name: str) -> None:
    assert dangling(ROOT / name) == []


def test_a_link_that_leads_nowhere_is_found(tmp_path: Path) -> None:
    (tmp_path / "one.md").write_text("# One\n## A `heading`, of two: words\n", encoding="utf-8")
    page = tmp_path / "two.md"
    page.write_text(
        "## Here\n[1](one.md) [2](one.md#a-heading-of-two-words) [3](#here) [4](https://example.org/none)\n"
        "[5](none.md) [6](one.md#none) [7](#none) ![8](none.png)\n```\n[9](none.md)\n```\n",
        encoding="utf-8",
    )
    assert dangling(page) == ["](none.md)", "](one.md#none)", "](#none)", "](none.png)"]
