"""A real browser for the tests of the page: Debian's chromium, driven by Selenium, started once."""

import json
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.webdriver.support.wait import WebDriverWait

PROGRAMS = ("chromium", "chromedriver")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--hide-scrollbars")
DRAWN = "return document.getElementById('charts').dataset.drawn"
PATIENCE_S = 60.0


class Browser:
    """A window with what tests of the page ask of it."""

    def __init__(self, driver: webdriver.Chrome) -> None:
        self.driver = driver

    def open(self, page: Path, view: str = "", *, width: int = 1280) -> None:
        """Load a page anew, in a window so wide, and wait until all of it is drawn."""
        self.driver.execute_cdp_cmd(
            "Emulation.setDeviceMetricsOverride",
            {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500},
        )
        self.driver.get("about:blank")
        self.logs()
        self.driver.get(f"{page.as_uri()}{view}")
        self.wait(DRAWN)

    def run(self, script: str, *arguments: Any) -> Any:
        """Run statements in the page and return what they return."""
        return self.driver.execute_script(script, *arguments)

    def wait(self, script: str) -> None:
        """Wait until statements return something true."""
        WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.02).until(lambda _: self.run(script))

    def find(self, selector: str) -> Any:
        return self.driver.find_element("css selector", selector)

    def texts(self, selector: str) -> list[str]:
        """Return the texts of all elements that a selector finds, shown or not."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll(arguments[0])].map((one) => one.textContent)", selector
        )
        return found

    def click(self, selector: str) -> None:
        self.run("document.querySelector(arguments[0]).scrollIntoView({block: 'center'})", selector)
        self.find(selector).click()

    def press(self, *keys: str) -> None:
        """Press keys where the focus is."""
        webdriver.ActionChains(self.driver).send_keys(*keys).perform()

    def logs(self) -> tuple[list[str], list[str]]:
        """Return what the console said since the last call, and the addresses that were asked for."""
        said = [entry["message"] for entry in self.driver.get_log("browser")]
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        asked = [
            event["params"]["request"]["url"] for event in events if event["method"] == "Network.requestWillBeSent"
        ]
        return said, asked


def find_browser() -> tuple[str, str]:
    """Return where chromium and its driver are. Raises FileNotFoundError if they are not installed."""
    chromium, driver = map(shutil.which, PROGRAMS)
    if chromium is None or driver is None:
        raise FileNotFoundError(
            "the page is looked at in a real browser, which is not here: `apt-get install chromium chromium-driver`"
        )
    return chromium, driver


@contextmanager
def start_browser() -> Iterator[Browser]:
    """Start the browser and end it. Raises FileNotFoundError if it is not installed."""
    options = webdriver.ChromeOptions()
    options.binary_location, driver = find_browser()
    for flag in FLAGS:
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    window = webdriver.Chrome(options=options, service=webdriver.ChromeService(driver))
    try:
        yield Browser(window)
    finally:
        window.quit()
