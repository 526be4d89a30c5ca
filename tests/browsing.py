"""A headless Chromium that calls nobody, and questions to it: its requests, its complaints, what it shows."""

from __future__ import annotations

import base64
import json
import os
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from selenium.webdriver import Chrome

__all__ = ["SCREENSHOTS", "console_errors", "find", "requests_of", "resize", "screenshot", "started"]

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "chrome")
DRIVER = ("chromedriver",)
SCREENSHOTS = "MNIST_DVC_SCREENSHOTS"
"""Environment variable: the folder that screenshots are kept in, to be looked at; without it they go with the test."""
PHONE = 600
"""Pixels; a narrower window is taken for that of a phone, whose viewport the page itself decides."""
ARGUMENTS = (
    "--headless=new",
    "--no-sandbox",  # it needs a kernel's leave that containers lack, and the pages are our own
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-default-apps",
    "--disable-sync",
    "--no-first-run",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1, EXCLUDE localhost",
)


def find(names: tuple[str, ...]) -> str | None:
    """The first of these programs that is on PATH."""
    return next((found for name in names if (found := shutil.which(name))), None)


def started(profile: Path) -> Chrome:
    """A new browser whose cookies and caches lie in ``profile``, with its logs of requests and of the console kept.

    Raises:
        LookupError: there is no Chromium or no driver for it on PATH.
        ModuleNotFoundError: there is no selenium.
    """
    from selenium.webdriver import Chrome, ChromeOptions, ChromeService  # noqa: PLC0415

    chromium, driver = find(CHROMIUM), find(DRIVER)
    if chromium is None or driver is None:
        raise LookupError("no Chromium and chromedriver on PATH")
    options = ChromeOptions()
    options.binary_location = chromium
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    browser = Chrome(options=options, service=ChromeService(driver))
    browser.get("about:blank")  # its own start page asks for a hundred things
    requests_of(browser)
    console_errors(browser)
    return browser


def requests_of(browser: Chrome) -> dict[str, str]:
    """What has become of each request since the last question, by its address.

    The status of the answer, such as ``200``; ``net::ERR_...`` where it failed; an empty text while there is neither.
    """
    addresses: dict[str, str] = {}
    outcomes: dict[str, str] = {}
    for entry in browser.get_log("performance"):  # type: ignore[no-untyped-call]
        message = json.loads(entry["message"])["message"]
        told: dict[str, Any] = message["params"]
        match message["method"]:
            case "Network.requestWillBeSent":
                addresses[told["requestId"]] = told["request"]["url"]
            case "Network.responseReceived":
                outcomes[told["requestId"]] = str(told["response"]["status"])
            case "Network.loadingFailed":
                outcomes[told["requestId"]] = told["errorText"]
    return {address: outcomes.get(number, "") for number, address in addresses.items()}


def console_errors(browser: Chrome) -> list[str]:
    """What the console was told of as an error since the last question."""
    log = browser.get_log("browser")  # type: ignore[no-untyped-call]
    return [entry["message"] for entry in log if entry["level"] == "SEVERE"]


def resize(browser: Chrome, width: int, height: int) -> None:
    """Give the page a viewport of so many pixels; a window of its own could not be as narrow as a phone."""
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < PHONE}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def screenshot(browser: Chrome, name: str, width: int, height: int | None = None) -> Path:
    """What the page looks like at that size, as ``NAME-WIDTH.png`` in the folder that ``MNIST_DVC_SCREENSHOTS`` names.

    ``height`` None takes the whole page.
    """
    resize(browser, width, height or 900)
    whole: dict[str, Any] = {"captureBeyondViewport": height is None}
    if height is None:
        size = browser.execute_cdp_cmd("Page.getLayoutMetrics", {})["cssContentSize"]
        whole["clip"] = {"x": 0, "y": 0, "width": width, "height": size["height"], "scale": 1}
    picture = browser.execute_cdp_cmd("Page.captureScreenshot", {"format": "png", **whole})
    path = Path(os.environ[SCREENSHOTS]) / f"{name}-{width}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(base64.b64decode(picture["data"]))
    return path
