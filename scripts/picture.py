"""Draw docs/images/report.png: the report of a rig with one link that came up narrow and one that makes errors.

Run as ``make picture``. The verdict is a real one, on the observation of such a rig that the tests generate.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from rigdeploy.fleet.catalogue import Catalogue
from tests.browser.chromium import start
from tests.unit.report.sample import Sample

TARGET = Path("docs/images/report.png")
WIDTH = 960
"""Columns of the page and of the picture."""
LIMIT = 200_000
"""Bytes that the picture may have."""


def main() -> None:
    """Judge, draw, write."""
    rig = Sample(Catalogue.load(), "pro-4x3090")
    rig.degrade("PCIE3", 8)
    rig.port("PCIE5")["aer"]["correctable"]["total"] = 2611
    with tempfile.TemporaryDirectory() as directory:
        browser = start(Path(directory))
        try:
            browser.show([rig.result()], width=WIDTH)
            last = "[...document.querySelectorAll('article.wrong')].at(-1)"
            picture = browser.picture(browser.run(f"return {last}.getBoundingClientRect().bottom + 28"))
        finally:
            browser.driver.quit()
    if len(picture) > LIMIT:
        raise SystemExit(f"the picture has {len(picture)} bytes, more than {LIMIT}")
    TARGET.parent.mkdir(parents=True, exist_ok=True)
    TARGET.write_bytes(picture)


if __name__ == "__main__":
    main()
