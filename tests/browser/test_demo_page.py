"""The demo in a browser: digits drawn with the mouse and answered, what takes them back, and files that are refused."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import browsing
import demos
import pytest
from demos import drawn
from selenium.webdriver import ActionChains, Keys
from selenium.webdriver.common.actions.interaction import POINTER_MOUSE, POINTER_TOUCH
from selenium.webdriver.common.actions.pointer_input import PointerInput
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from mnist_dvc.image import LARGEST_FILE, LARGEST_PIXELS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium.webdriver import Chrome

    Point = tuple[float, float]
    Stroke = list[Point]

pytestmark = pytest.mark.browser
PATIENCE = 60


def arc(centre: Point, radii: Point, start: float, end: float) -> Stroke:
    """Points on an ellipse from one angle to another, clockwise from the right, in degrees."""
    angles = [math.radians(start + (end - start) * step / 12) for step in range(13)]
    return [(centre[0] + radii[0] * math.cos(angle), centre[1] + radii[1] * math.sin(angle)) for angle in angles]


DIGITS: list[list[Stroke]] = [
    [arc((0.5, 0.5), (0.2, 0.32), -90, 270)],
    [[(0.53, 0.18), (0.47, 0.82)]],
    [[*arc((0.5, 0.35), (0.18, 0.17), -170, 30), (0.3, 0.8), (0.72, 0.78)]],
    [[*arc((0.48, 0.34), (0.17, 0.16), -150, 90), *arc((0.48, 0.66), (0.2, 0.17), -90, 150)]],
    [[(0.36, 0.18), (0.3, 0.52), (0.7, 0.5)], [(0.66, 0.18), (0.6, 0.84)]],
    [[(0.38, 0.2), (0.35, 0.48), *arc((0.46, 0.63), (0.2, 0.18), -100, 140)], [(0.38, 0.2), (0.7, 0.19)]],
    [[(0.58, 0.16), (0.4, 0.42), *arc((0.5, 0.66), (0.17, 0.17), 180, -180)]],
    [[(0.3, 0.2), (0.7, 0.2), (0.46, 0.82)]],
    [[*arc((0.5, 0.34), (0.15, 0.16), 90, -270), *arc((0.5, 0.67), (0.18, 0.17), -90, 270)]],
    [[*arc((0.47, 0.36), (0.16, 0.17), 0, -360), (0.62, 0.4), (0.58, 0.84)]],
]
"""The strokes of each digit on the paper, from (0, 0) at its top left to (1, 1)."""


class Page:
    """The demo's page, as people use it."""

    def __init__(self, browser: Chrome, port: int) -> None:
        self.browser = browser
        self.address = f"http://127.0.0.1:{port}/"
        browsing.resize(browser, 1280, 900)
        browser.get(self.address)

    def text(self, name: str) -> str:
        """What the element of that name shows."""
        return self.browser.find_element(By.ID, name).text

    def press(self, *keys: str) -> None:
        """Press the keys together."""
        chain = ActionChains(self.browser, duration=0)
        for key in keys:
            chain.key_down(key)
        for key in reversed(keys):
            chain.key_up(key)
        chain.perform()

    def draw(self, strokes: list[Stroke], kind: str = POINTER_MOUSE) -> None:
        """Draw with the mouse, or another kind of pointer."""
        for stroke in strokes:
            pen = self.pen(kind)
            self.move(pen, stroke[:1]).click_and_hold()
            self.move(pen, stroke[1:]).release().perform()

    def pen(self, kind: str = POINTER_MOUSE) -> ActionChains:
        """What moves a pointer, and no slower than it can."""
        pointer = PointerInput(kind, "pen")  # type: ignore[no-untyped-call]
        return ActionChains(self.browser, duration=0, devices=[pointer])

    def move(self, pen: ActionChains, stroke: Stroke) -> ActionChains:
        """Move the pen along a stroke on the paper."""
        paper = self.browser.find_element(By.ID, "paper")
        side = paper.size["width"]
        for x, y in stroke:
            pen.move_to_element_with_offset(paper, round((x - 0.5) * side), round((y - 0.5) * side))
        return pen

    def choose(self, path: Path) -> None:
        """Choose a file."""
        self.browser.find_element(By.ID, "file").send_keys(str(path))

    def wait(self, until: Callable[[], object]) -> None:
        """Wait until something is so."""
        WebDriverWait(self.browser, PATIENCE, 0.02).until(lambda _: until())

    def settled(self, digit: str) -> float:
        """Wait for the answer ``digit`` to all that is on the paper; its confidence."""
        answer = self.browser.find_element(By.ID, "answer")
        self.wait(lambda: self.text("digit") == digit and answer.get_attribute("aria-busy") == "false")
        return float(self.text("confidence").removesuffix(" %")) / 100

    def ink(self) -> int:
        """How many of the 784 pixels that the network saw hold ink."""
        told: int = self.browser.execute_script(
            "const seen = document.getElementById('seen').getContext('2d').getImageData(0, 0, 28, 28).data;"
            "return seen.filter((value, at) => at % 4 === 0 && value > 0).length"
        )
        return told

    def is_empty(self) -> bool:
        """Whether the page shows neither a drawing nor an answer."""
        hinted = self.browser.find_element(By.ID, "hint").is_displayed()
        return hinted and self.text("confidence") == "nothing drawn yet" and self.ink() == 0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with demos.process(tmp_path_factory.mktemp("demo"), "--model", "compact") as (_, listening):
        yield listening


@pytest.fixture
def page(browser: Chrome, port: int) -> Iterator[Page]:
    """The page, which must have complained of nothing and asked nobody else at the end."""
    opened = Page(browser, port)
    yield opened
    asked = browsing.requests_of(browser)
    assert asked
    assert {address for address in asked if not address.startswith((opened.address, "blob:", "data:"))} == set()


def test_ten_digits_are_drawn_with_the_mouse_and_answered(page: Page) -> None:
    for digit, strokes in enumerate(DIGITS):
        page.draw(strokes)
        confidence = page.settled(str(digit))
        assert confidence > 0.5
        shares = page.text("probabilities").split()
        assert float(shares[shares.index(str(digit)) + 1]) == pytest.approx(100 * confidence)
        browsing.screenshot(page.browser, f"demo-{digit}", 1280)
        page.press(Keys.ESCAPE)
        page.wait(page.is_empty)
    assert browsing.console_errors(page.browser) == []


def test_probabilities_change_while_drawing(page: Page) -> None:
    pen = page.pen()
    page.move(pen, [(0.3, 0.2)]).click_and_hold()
    page.move(pen, [(0.7, 0.2)]).perform()
    page.wait(lambda: page.text("digit").isdecimal() and page.text("digit") != "7")
    seen = page.text("probabilities")
    pen = page.pen()
    page.move(pen, [(0.46, 0.82)]).perform()
    page.wait(lambda: page.text("digit") == "7")
    assert page.text("probabilities") != seen
    answer = page.browser.find_element(By.ID, "answer")
    assert answer.get_attribute("aria-busy") == "true"
    page.pen().release().perform()
    page.settled("7")


def test_keys_and_buttons_take_back_and_clear(page: Page) -> None:
    assert page.is_empty()
    page.draw([*DIGITS[1], [(0.2, 0.5), (0.8, 0.5)]])
    page.wait(lambda: page.ink() > 100)
    page.press(Keys.CONTROL, "z")
    page.settled("1")
    page.press(Keys.CONTROL, "z")
    page.wait(page.is_empty)
    page.press(Keys.CONTROL, "z")
    page.draw(DIGITS[7])
    page.settled("7")
    for clear in (Keys.ESCAPE, Keys.DELETE, Keys.BACKSPACE):
        page.press(clear)
        page.wait(page.is_empty)
        page.press(Keys.CONTROL, "z")
        page.settled("7")  # nothing is lost
    page.browser.find_element(By.ID, "clear").click()
    page.wait(page.is_empty)
    page.browser.find_element(By.ID, "undo").click()
    page.settled("7")
    page.browser.find_element(By.ID, "undo").click()
    page.wait(page.is_empty)
    assert not page.browser.find_element(By.ID, "undo").is_enabled()
    assert browsing.console_errors(page.browser) == []


def test_every_control_is_reached_with_the_keyboard(page: Page) -> None:
    page.draw(DIGITS[7])
    page.settled("7")
    reached = []
    for _ in range(3):
        page.press(Keys.TAB)
        focused = page.browser.switch_to.active_element
        reached.append(focused.get_attribute("id"))
        assert focused.value_of_css_property("outline-style") == "solid"
    assert reached == ["undo", "clear", "choose"]
    page.press(Keys.SHIFT, Keys.TAB)
    page.press(Keys.ENTER)
    page.wait(page.is_empty)


def test_finger_draws_and_scrolls_nothing(page: Page) -> None:
    browsing.resize(page.browser, 390, 600)
    page.draw(DIGITS[7], POINTER_TOUCH)
    page.settled("7")
    assert page.browser.execute_script("return window.scrollY") == 0


def test_photo_is_chosen_dropped_and_pasted(page: Page, tmp_path: Path) -> None:
    path = tmp_path / "seven.jpg"
    drawn(900).rotate(4, fillcolor="white").save(path, quality=80)
    for way in ("choose", "drop", "paste"):
        page.draw(DIGITS[1])
        page.settled("1")
        if way == "choose":
            page.choose(path)
        else:
            page.browser.execute_async_script(GIVE, way, list(path.read_bytes()))
        page.settled("7")
        page.press(Keys.CONTROL, "z")
        page.settled("1")
    page.press(Keys.CONTROL, "z")
    page.choose(path)
    page.settled("7")
    page.draw(DIGITS[1])  # on the photo, which gives way to it
    page.settled("1")
    page.press(Keys.CONTROL, "z")
    page.settled("7")
    assert browsing.console_errors(page.browser) == []


GIVE = """
const [way, bytes, done] = arguments;
const given = new DataTransfer();
given.items.add(new File([new Uint8Array(bytes)], "seven.jpg", {type: "image/jpeg"}));
const init = {bubbles: true, cancelable: true};
document.dispatchEvent(way === "drop" ? new DragEvent("drop", {...init, dataTransfer: given})
                                      : new ClipboardEvent("paste", {...init, clipboardData: given}));
done();
"""

HOSTILE = {
    "text.png": (b"<script>alert(1)</script>", "content: got an unknown or damaged file, expected a PNG, JPEG, BMP"),
    "bomb.png": (demos.BOMB, f"size: got far more, expected at most {LARGEST_PIXELS:,} pixels"),
    "large.png": (bytes(LARGEST_FILE + 1), "size: got more than 16,777,216 bytes, expected a PNG"),
    "<b>.png": (b"", "content: got an unknown or damaged file"),
}


def shows(page: Page, name: str) -> bool:
    return name in page.text("message")


def test_hostile_file_gets_its_line_and_the_drawing_stays(page: Page, tmp_path: Path) -> None:
    page.draw(DIGITS[7])
    confidence = page.settled("7")
    for name, (content, line) in HOSTILE.items():
        (tmp_path / name).write_bytes(content)
        page.choose(tmp_path / name)
        page.wait(partial(shows, page, name))
        assert page.text("message").startswith(f"{name}: {line}")
        browsing.screenshot(page.browser, f"demo-refused-{name[:4]}", 1280)
    assert page.settled("7") == confidence
    page.draw(DIGITS[1])
    page.wait(lambda: page.text("message") == "")
    assert all("status of 4" in line for line in browsing.console_errors(page.browser))


def test_what_is_dropped_without_a_file_is_said_to_be_none(page: Page) -> None:
    page.browser.execute_script(
        "const dataTransfer = new DataTransfer();"
        "document.dispatchEvent(new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer}))"
    )
    page.wait(lambda: page.text("message") == "no picture in that: expected a file, or the content of one")


def test_server_that_has_ended_is_said_to_be_gone(browser: Chrome, tmp_path: Path) -> None:
    with demos.process(tmp_path, "--model", "compact") as (child, listening):
        page = Page(browser, listening)
        child.kill()
        child.wait()
        page.draw(DIGITS[7])
        page.wait(lambda: page.text("message") == "no answer: is `mnist-dvc demo` still running?")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1280])
def test_page_fits_and_is_readable(page: Page, width: int, scheme: str) -> None:
    media = {"features": [{"name": "prefers-color-scheme", "value": scheme}]}
    page.browser.execute_cdp_cmd("Emulation.setEmulatedMedia", media)
    browsing.resize(page.browser, width, 900)
    browsing.screenshot(page.browser, f"demo-empty-{scheme}", width)
    page.draw(DIGITS[3])
    page.settled("3")
    browsing.screenshot(page.browser, f"demo-{scheme}", width)
    wide, pale = page.browser.execute_script(LOOK)
    assert wide <= width
    assert pale == []


LOOK = """
const channels = (colour) => colour.match(/[\\d.]+/g).map(Number);
const luminance = (colour) => channels(colour).slice(0, 3).map((value) => value / 255)
  .map((value) => value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4)
  .reduce((sum, value, at) => sum + value * [0.2126, 0.7152, 0.0722][at], 0);
const ground = (element) => {
  for (; element; element = element.parentElement) {
    const colour = getComputedStyle(element).backgroundColor;
    if (channels(colour)[3] !== 0) return colour;
  }
};
const pale = [...document.querySelectorAll("body *")].filter((element) => {
  const text = [...element.childNodes].some((node) => node.nodeType === 3 && node.data.trim());
  if (!text || !element.checkVisibility() || element.disabled || element.tagName === "NOSCRIPT") return false;
  const [one, other] = [getComputedStyle(element).color, ground(element)].map(luminance);
  return (Math.max(one, other) + 0.05) / (Math.min(one, other) + 0.05) < 4.5;
}).map((element) => element.outerHTML);
return [document.documentElement.scrollWidth, pale];
"""
