"""A browser, and rigs whose pages are shown in it."""

from __future__ import annotations

import shutil

import pytest

from tests.browser.chromium import start
from tests.unit.report.sample import Sample


@pytest.fixture
def sample(catalogue):
    def make(*arguments, **changes):
        return Sample(catalogue, *arguments, **changes)

    return make


@pytest.fixture(scope="session")
def browser(tmp_path_factory):
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        pytest.skip("chromium and chromedriver are not installed: apt-get install chromium chromium-driver")
    made = start(tmp_path_factory.mktemp("chromium"))
    yield made
    made.driver.quit()
