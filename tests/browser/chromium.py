"""Headless Chromium, Debian's, driven by Playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

from playwright.sync_api import Browser, Dialog, Page, sync_playwright

PROGRAM = shutil.which("chromium")
WIDTHS = {"phone": 390, "desktop": 1280}
THEMES = ("light", "dark")


@contextlib.contextmanager
def started() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=PROGRAM, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@contextlib.contextmanager
def shown(
    browser: Browser, path: Path, theme: str = "light", width: int = WIDTHS["desktop"]
) -> Iterator[tuple[Page, list[str]]]:
    """The page at `path`, and what it should not do: all that its console says, its errors, its
    dialogs, and its requests for other files."""
    page = browser.new_page(
        viewport={"width": width, "height": 900},
        color_scheme="dark" if theme == "dark" else "light",
    )
    address = path.resolve().as_uri()
    did: list[str] = []

    def dialog(opened: Dialog) -> None:
        did.append(opened.message)
        opened.dismiss()

    page.on("console", lambda message: did.append(message.text))
    page.on("pageerror", lambda error: did.append(str(error)))
    page.on("dialog", dialog)
    page.on("request", lambda request: None if request.url == address else did.append(request.url))
    try:
        page.goto(address)
        yield page, did
    finally:
        page.close()
