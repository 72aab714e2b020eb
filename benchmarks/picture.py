"""Take the picture of a report's first screen that the README shows: `make picture`.

It needs a Chromium on this machine and the package playwright, which `make` installs for the tests.
"""

import argparse
import io
import os
import shutil
import sys
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


def first_screen(page: Path, width: int, height: int) -> bytes:
    """Return a page's first screen as PNG.

    Raises:
        FileNotFoundError: there is no such page, or no browser.
    """
    if not page.is_file():
        raise FileNotFoundError(f"{page} is not there; `make repro` writes it")
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise FileNotFoundError(f"no browser is installed: none of {', '.join(BROWSERS)} is on the PATH")
    rights = ["--no-sandbox"] if os.geteuid() == 0 else []  # root has no sandbox
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=browser, args=rights)
        opened = chromium.new_page(viewport={"width": width, "height": height}, color_scheme="light")
        opened.goto(page.resolve().as_uri())
        picture: bytes = opened.screenshot()
        chromium.close()
    return picture


def write_picture(screen: bytes, out: Path) -> None:
    """Write a screen as a small PNG without an alpha channel and without loss."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with Image.open(io.BytesIO(screen)) as image:
        image.convert("RGB").save(out, optimize=True)


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--report", type=Path, default=Path("reports/index.html"))
    parser.add_argument("--out", type=Path, default=Path("docs/images/report.png"))
    parser.add_argument("--width", type=int, default=1440)
    parser.add_argument("--height", type=int, default=900)
    chosen = parser.parse_args()
    try:
        write_picture(first_screen(chosen.report, chosen.width, chosen.height), chosen.out)
    except FileNotFoundError as error:
        sys.exit(str(error))
    print(f"{chosen.out}: {chosen.out.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
