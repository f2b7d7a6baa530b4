"""A real Chromium without a window, with a profile and a network of its own, and pages to show in it."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.utils import is_url_connectable

from rigdeploy.report.html import page

MADE = datetime(2026, 11, 21, 13, 5, tzinfo=UTC)
_SWITCHES = (
    "--headless=new",
    "--no-sandbox",  # root can have none
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-background-networking",
    "--disable-component-update",
    "--no-first-run",
    "--hide-scrollbars",
    "--remote-debugging-pipe",  # no port of localhost, for the reason below
    "--host-resolver-rules=MAP * ~NOTFOUND",
)


class _Service(Service):
    """chromedriver by its address: a machine without /etc/hosts knows no ``localhost``."""

    @property
    def service_url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def is_connectable(self) -> bool:
        return is_url_connectable(self.port, "127.0.0.1")


class Browser:
    """Chromium with what the tests ask of it; one page at a time."""

    def __init__(self, driver, directory: Path) -> None:
        self.driver = driver
        self._directory = directory
        self._numbers = itertools.count()

    def show(self, results, *, width: int = 1440, theme: str = "light", made: datetime = MADE) -> str:
        """Load the page of these results, unfolded to its whole height; its address."""
        file = self._directory / f"{next(self._numbers)}.html"
        file.write_text(page(results, made), encoding="utf-8")
        self.command("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": theme}])
        self._size(width, 900)
        for kind in ("browser", "performance"):
            self.driver.get_log(kind)
        self.driver.get(file.as_uri())
        self._size(width, self.run("return document.documentElement.scrollHeight"))
        return file.as_uri()

    def run(self, script: str, *arguments):
        return self.driver.execute_script(script, *arguments)

    def command(self, name: str, **parameters):
        return self.driver.execute_cdp_cmd(name, parameters)

    def complaints(self) -> list[str]:
        """What the console says since the page was loaded."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def requests(self) -> list[str]:
        """Every address that was asked for since then, the page's own too."""
        events = [json.loads(entry["message"])["message"] for entry in self.driver.get_log("performance")]
        return [e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"]

    def pdf(self) -> bytes:
        options = {"preferCSSPageSize": True, "printBackground": True}
        return base64.b64decode(self.command("Page.printToPDF", **options)["data"])

    def picture(self, height: int, scale: float = 1) -> bytes:
        """The page's upper part as PNG."""
        width = self.run("return document.documentElement.clientWidth")
        clip = {"x": 0, "y": 0, "width": width, "height": height, "scale": scale}
        return base64.b64decode(self.command("Page.captureScreenshot", clip=clip, captureBeyondViewport=True)["data"])

    def _size(self, width: int, height: int) -> None:
        self.command(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False
        )


def start(directory: Path) -> Browser:
    """Start Chromium with everything of its own below a directory; ``quit`` its driver to end it."""
    # Beside its profile it writes crash reports and settings wherever HOME and XDG's variables (empty: below HOME) say.
    own = {**os.environ, "HOME": str(directory), "XDG_CACHE_HOME": "", "XDG_CONFIG_HOME": ""}
    options = webdriver.ChromeOptions()
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    for switch in (*_SWITCHES, f"--user-data-dir={directory / 'profile'}"):
        options.add_argument(switch)
    service = _Service(shutil.which("chromedriver"), env=own)
    return Browser(webdriver.Chrome(options=options, service=service), directory)
