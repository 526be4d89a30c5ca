"""The report as a browser shows it: by day and by night, on a phone and a desk, on paper, and under the mouse."""

from __future__ import annotations

import base64
import json
from typing import TYPE_CHECKING, Any

import pytest
from browsing import console_errors, requests_of, resize, screenshot
from helpers import params
from pages import evaluated

from mnist_dvc.pipeline.report import report

if TYPE_CHECKING:
    from pathlib import Path

    from selenium.webdriver import Chrome

    from mnist_dvc.paths import Paths

pytestmark = pytest.mark.browser

RECIPE: dict[str, Any] = {"epochs": 3, "learning_rate": 0.002}
SIZES = [390, 1280]

LEAST_CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
const rgba = colour => {
  canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
  return canvas.getImageData(0, 0, 1, 1).data;
};
const luminance = c => [0.2126, 0.7152, 0.0722].reduce((sum, weight, i) => {
  const v = c[i] / 255; return sum + weight * (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
}, 0);
const ground = element => {
  for (let e = element; e; e = e.parentElement) {
    const c = rgba(getComputedStyle(e).backgroundColor); if (c[3] === 255) return c;
  }
  return [255, 255, 255];
};
let least = [Infinity, ''];
const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walker.nextNode()) {
  const element = walker.currentNode.parentElement;
  if (!walker.currentNode.data.trim() || !element.checkVisibility() || element.tagName === 'title') continue;
  const style = getComputedStyle(element);
  const text = luminance(rgba(element.namespaceURI.endsWith('svg') ? style.fill : style.color));
  const under = luminance(ground(element));
  const ratio = (Math.max(text, under) + 0.05) / (Math.min(text, under) + 0.05);
  if (ratio < least[0]) least = [ratio, walker.currentNode.data.trim().slice(0, 60)];
}
return least;
"""
"""The text on the page that stands out least from what it stands on, and by how much, from 1 to 21."""

TOO_WIDE = """
return [...document.querySelectorAll('body *')].filter(e => !e.closest('.scroll, pre, svg, details:not([open])')
  && e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5).map(e => e.outerHTML.slice(0, 100));
"""
"""What reaches beyond the right edge of the window, but for what scrolls by itself."""

UNDER_THE_MOUSE = """
const words = part => part?.querySelector('title').textContent;
const part = [...document.querySelectorAll('svg .told')].find(e => words(e) === arguments[0]);
part.scrollIntoView({block: 'center'});
const box = part.getBoundingClientRect();
const there = document.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2);
return words(there.closest('.told'));
"""
"""What the mouse is told in the middle of the part that should tell it ``arguments[0]``."""


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    paths = evaluated(tmp_path_factory.mktemp("made"), **RECIPE)
    report(params(**RECIPE), paths)
    return paths


@pytest.fixture
def shown(browser: Chrome, made: Paths) -> Chrome:
    """The browser with the report in it."""
    browser.get(made.report_page.as_uri())
    return browser


def theme(browser: Chrome, name: str) -> None:
    features = [{"name": "prefers-color-scheme", "value": name}]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def test_page_asks_for_itself_alone_and_has_no_complaints(shown: Chrome, made: Paths) -> None:
    resize(shown, 1280, 900)
    asked = requests_of(shown)
    outside = {address: outcome for address, outcome in asked.items() if not address.startswith("data:")}
    assert outside == {made.report_page.as_uri(): "200"}
    assert set(asked.values()) == {"200"}
    assert console_errors(shown) == []


def test_requests_and_complaints_are_seen(browser: Chrome, tmp_path: Path) -> None:
    """The twin: what the page above does not do."""
    bad = "<img src='gone.png'><img src='http://example.com/x.png'><script>nothing()</script>"
    (tmp_path / "bad.html").write_text(bad, encoding="utf-8")
    browser.get((tmp_path / "bad.html").as_uri())
    asked = requests_of(browser)
    assert asked[(tmp_path / "gone.png").as_uri()] == "net::ERR_FILE_NOT_FOUND"
    assert asked["http://example.com/x.png"] == "net::ERR_NAME_NOT_RESOLVED"
    assert any("nothing is not defined" in words for words in console_errors(browser))


def test_gallery_shows_the_errors_of_the_metrics(shown: Chrome, made: Paths) -> None:
    errors = json.loads((made.test_report / "metrics.json").read_text())["errors"]
    sizes = shown.execute_script("return [...document.querySelectorAll('.gallery img')].map(i => i.naturalWidth)")
    assert sizes == [28] * errors
    assert errors > 2


@pytest.mark.parametrize("width", SIZES)
@pytest.mark.parametrize("name", ["light", "dark"])
def test_page_fits_and_is_readable(shown: Chrome, name: str, width: int) -> None:
    theme(shown, name)
    picture = screenshot(shown, f"report-{name}", width)
    assert picture.stat().st_size > 10_000
    assert shown.execute_script("return [innerWidth, document.documentElement.scrollWidth]") == [width, width]
    assert shown.execute_script(TOO_WIDE) == []
    ratio, words = shown.execute_script(LEAST_CONTRAST)
    assert ratio >= 4.5, words
    ground = shown.execute_script("return getComputedStyle(document.body).backgroundColor")
    assert (ground == "rgb(255, 255, 255)") == (name == "light")


def test_what_does_not_fit_or_is_not_readable_is_seen(shown: Chrome) -> None:
    resize(shown, 390, 900)
    pale = "<p style='width: 500px; color: #999999; background: #ffffff'>pale</p>"
    shown.execute_script("document.body.insertAdjacentHTML('beforeend', arguments[0])", pale)
    assert shown.execute_script(TOO_WIDE) == [pale.replace("'", '"')]
    ratio, words = shown.execute_script(LEAST_CONTRAST)
    assert (words, ratio) == ("pale", pytest.approx(2.85, abs=0.01))


@pytest.mark.parametrize("width", SIZES)
def test_charts_answer_the_mouse(shown: Chrome, width: int) -> None:
    resize(shown, width, 900)
    titles = shown.execute_script("return [...document.querySelectorAll('svg .told > title')].map(t => t.textContent)")
    assert sum(title.startswith("epoch ") for title in titles) == 2 * RECIPE["epochs"]
    assert sum(title.startswith("actual ") for title in titles) == 100
    for title in titles:
        assert shown.execute_script(UNDER_THE_MOUSE, title) == title


def test_page_prints_in_ink_on_paper(shown: Chrome) -> None:
    """Also where the screen is dark; navigation and what is folded stay away."""
    media: dict[str, Any] = {"media": "print", "features": [{"name": "prefers-color-scheme", "value": "dark"}]}
    shown.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    screenshot(shown, "report-print", 718)
    assert shown.execute_script("return getComputedStyle(document.body).backgroundColor") == "rgb(255, 255, 255)"
    assert shown.execute_script("return document.querySelector('nav').checkVisibility()") is False
    assert shown.execute_script("return document.documentElement.scrollWidth") == 718
    assert shown.execute_script(TOO_WIDE) == []
    pdf = base64.b64decode(shown.execute_cdp_cmd("Page.printToPDF", {})["data"])
    assert pdf.startswith(b"%PDF-")
