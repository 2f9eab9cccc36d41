"""The picture of the review page: `python docs/pictures/review.py PAGE.html OUT.png`.

PAGE is what `mrunfold view … --no-open` wrote; Chromium and chromedriver draw it at 1280×800.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "tests" / "review"))

from browser import chromium


def main(page: Path, out: Path) -> None:
    """Load the page, show the uncertainty over the reconstruction, and keep a screenshot."""
    with tempfile.TemporaryDirectory() as folder, chromium(Path(folder)) as browser:
        browser.open(page.absolute(), "not for diagnosis", seconds=300)
        if browser.run("return !document.getElementById('overlay-controls').hidden"):
            browser.press("u", "T", "T")
        browser.settle()
        browser.screenshot(out)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
