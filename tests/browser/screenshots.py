"""Writes the pictures of the page into docs/img: `make screenshots`.

They show simulated boards: logs, and a run of `bench`. The pages of logs depend on nothing but the
fonts; `bench` measures some times on this computer.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Browser

from stm32up.cli.main import run
from stm32up.host import log_files
from stm32up.report import log_report
from tests.browser import chromium, field_logs

IMAGES = Path(__file__).parents[2] / "docs" / "img"
PICTURES = (  # file, theme, width, height, where it begins
    ("logs-report-light.png", "light", 1100, 2000, "body"),
    ("logs-report-dark.png", "dark", 1100, 2000, "body"),
    ("logs-report-phone.png", "light", 390, 1700, "h2:has-text('Board')"),
)
BENCH = ("bench-report.png", "light", 1000, 1500, "body")
CYCLES = ["--port", "sim", "bench", "--cycles", "40", "--cut-target", "--cut-host", "--seed", "1"]


def main() -> int:
    if chromium.PROGRAM is None:
        print("error: there is no chromium; apt-get install chromium", file=sys.stderr)
        return 1
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as name, chromium.started() as browser:
        log, html = Path(name, "log.jsonl"), Path(name, "report.html")
        field_logs.write(log)
        page, _ = log_report.page(log_files.read([log]))
        page.write(html)
        for picture in PICTURES:
            _take(browser, html, *picture)
        status = run([*CYCLES, "--state", str(Path(name, "bench.jsonl")), "--report", str(html)])
        _take(browser, html, *BENCH)
    return status


def _take(
    browser: Browser, html: Path, picture: str, theme: str, width: int, height: int, begin: str
) -> None:
    with chromium.shown(browser, html, theme, width) as (shown, _):
        shown.set_viewport_size({"width": width, "height": height})
        shown.locator(begin).first.evaluate("(place) => place.scrollIntoView()")
        shown.screenshot(path=IMAGES / picture)
        print(f"docs/img/{picture}")


if __name__ == "__main__":
    sys.exit(main())
