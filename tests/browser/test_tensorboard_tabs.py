"""TensorBoard in a browser: each tab that a training and its evaluation fill is opened and has its content."""

from __future__ import annotations

import contextlib
import functools
import re
import subprocess
import sys
from typing import TYPE_CHECKING

import browsing
import pytest
from helpers import params
from selenium.common import TimeoutException
from selenium.webdriver.support.ui import WebDriverWait

from mnist_dvc.pipeline.evaluate import evaluate
from mnist_dvc.pipeline.train import train

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium.webdriver import Chrome

    from mnist_dvc.paths import Paths

pytestmark = pytest.mark.browser
PATIENCE = 60

SEEN = """
const words = [];
const pictures = [];
function look(node) {
  if (node.nodeType === Node.TEXT_NODE) words.push(node.textContent);
  if (["SCRIPT", "STYLE", "TEMPLATE"].includes(node.nodeName)) return;
  if (node.nodeName === "IMG" && node.naturalWidth > 1) pictures.push(node.src);
  if (node.shadowRoot) look(node.shadowRoot);
  if (node.nodeName === "IFRAME" && node.contentDocument) look(node.contentDocument.body);
  node.childNodes.forEach(look);
}
look(document.body);
return [words.join("").replace(/\\s+/g, ""), pictures.length];
"""
"""The text of the page without its spaces and the number of its pictures, shadow trees and frames included."""

TABS = {
    "timeseries": ["accuracy/train", "fed/distorted"],
    "scalars": ["accuracy", "grad_norm", "step", "test"],
    "custom_scalars": ["training against validation"],
    "hparams": ["train.learning_rate", "test/accuracy", "model.name"],
    "images": ["fed/distorted", "test/confusion", "test/mistakes"],
    "graphs": ["CompactNet"],
    "histograms": ["weights", "gradients"],
    "distributions": ["weights", "gradients"],
    "pr_curves": ["test/digit_0"],
    "projector": ["Points:", "Dimension:", "1 tensor found"],
    "text": ["card", "the same again", "dvc repro"],
}
PICTURES = {"images": 3}


@pytest.fixture
def address(workspace: Paths) -> Iterator[str]:
    """Of a TensorBoard that shows one run, trained and evaluated."""
    train(params(epochs=3), workspace)
    evaluate(params(), workspace)
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(workspace.runs), "--port", "0"]
    with subprocess.Popen([*command, "--host", "127.0.0.1"], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        told = (re.search(r"http://127\.0\.0\.1:\d+/", line) for line in process.stderr)
        yield next(found[0] for found in told if found)
        process.terminate()


def missing(browser: Chrome, tab: str) -> list[str]:
    text, pictures = browser.execute_script(SEEN)
    absent = [word for word in TABS[tab] if word.replace(" ", "") not in text]
    return absent if pictures >= PICTURES.get(tab, 0) else [*absent, f"{pictures} pictures"]


def complete(tab: str, browser: Chrome) -> bool:
    return not missing(browser, tab)


def test_every_tab_has_its_content(browser: Chrome, address: str) -> None:
    wrong: dict[str, list[str]] = {}
    for tab in TABS:
        browsing.resize(browser, 1280, 900)
        browser.get("about:blank")
        browser.get(f"{address}#{tab}")
        with contextlib.suppress(TimeoutException):
            WebDriverWait(browser, PATIENCE).until(functools.partial(complete, tab))
        if absent := missing(browser, tab):
            wrong[tab] = absent
        browsing.screenshot(browser, f"tensorboard-{tab}", 1280, 900)
    assert wrong == {}
    foreign = [
        url for url in browsing.requests_of(browser) if not url.startswith((address, "data:", "blob:", "about:"))
    ]
    assert foreign == []
