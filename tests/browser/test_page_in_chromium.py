"""The HTML page in a real browser: it fits, is readable in light and dark, and runs nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from stm32up.host import log_files
from stm32up.report import log_report
from stm32up.report.page import Cell, Fact, Lines, Page, Section, Table, Text
from tests.browser import field_logs
from tests.host_tools.test_page import HOSTILE, page_of

pytest.importorskip("playwright", reason="playwright is not installed: pip install -e '.[dev]'")
from tests.browser import chromium

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        chromium.PROGRAM is None, reason="there is no chromium: apt-get install chromium"
    ),
]

LEAST_CONTRAST = 4.5  # WCAG 2.2, 1.4.3, of text
LEAST_CONTRAST_OF_A_BAR = 3.0  # 1.4.11

# For each text the contrast with the background that is really behind it.
CONTRASTS = """() => {
  const parts = (text) => text.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const linear = (v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4;
    const [x, y, z] = [r, g, b].map((v) => linear(v / 255));
    return .2126 * x + .7152 * y + .0722 * z;
  };
  const ratio = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
  const behind = (element) => {
    for (; element; element = element.parentElement) {
      const colour = parts(getComputedStyle(element).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return light(colour);
    }
    return 1;
  };
  const found = [];
  for (const element of document.querySelectorAll('body *')) {
    const style = getComputedStyle(element);
    const shape = element.matches('rect[class^=c], .mark');
    const text = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!shape && (!text || element.closest('title'))) continue;
    const colour = element instanceof SVGElement ? style.fill : style.color;
    found.push([shape ? 'bar' : 'text', ratio(light(parts(colour)), behind(element)),
                element.className.baseVal ?? element.className, element.textContent.slice(0, 30)]);
  }
  return found;
}"""
OPEN_ALL = "() => document.querySelectorAll('details').forEach((each) => { each.open = true; })"
WIDE = "() => [document.documentElement.scrollWidth, document.documentElement.clientWidth]"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium.started() as started:
        yield started


@pytest.fixture(scope="module")
def report(tmp_path_factory) -> Path:
    """The page of the boards from the field."""
    folder = tmp_path_factory.mktemp("report")
    field_logs.write(folder / "log.jsonl")
    page, _ = log_report.page(log_files.read([folder / "log.jsonl"]))
    page.write(folder / "report.html")
    return folder / "report.html"


@pytest.fixture(scope="module")
def crowded(tmp_path_factory) -> Path:
    """A page with long words, many columns and many figures."""
    long = "x" * 300
    columns = [f"column {number}" for number in range(14)]
    table = Table(columns, [[Cell(long, code=True), *range(1_000_000, 1_000_013)]], columns[1:])
    facts = [Fact("1000000000", "of something with a long name") for _ in range(9)]
    path = tmp_path_factory.mktemp("crowded") / "page.html"
    Page(long, facts, [Section(long, [table, Text(long), Lines([long])])], long).write(path)
    return path


@pytest.mark.parametrize("width", chromium.WIDTHS.values())
@pytest.mark.parametrize("name", ["report", "crowded"])
def test_nothing_is_wider_than_the_window(request, browser, name, width):
    path = request.getfixturevalue(name)
    with chromium.shown(browser, path, width=width) as (page, _):
        for prepare in ("() => null", OPEN_ALL):
            page.evaluate(prepare)
            content, window = page.evaluate(WIDE)
            assert content <= window == width


@pytest.mark.parametrize("width", chromium.WIDTHS.values())
@pytest.mark.parametrize("theme", chromium.THEMES)
def test_every_text_and_bar_stands_out(browser, report, theme, width):
    with chromium.shown(browser, report, theme, width) as (page, _):
        page.evaluate(OPEN_ALL)
        found = page.evaluate(CONTRASTS)
    least = {"text": LEAST_CONTRAST, "bar": LEAST_CONTRAST_OF_A_BAR}
    assert {kind for kind, *_ in found} == {*least} and len(found) > 200
    assert [each for each in found if each[1] < least[each[0]]] == []


def test_dark_and_light_follow_the_reader(browser, report):
    backs = []
    for theme in chromium.THEMES:
        with chromium.shown(browser, report, theme) as (page, _):
            backs.append(
                page.evaluate("() => getComputedStyle(document.documentElement).backgroundColor")
            )
    assert backs == ["rgb(255, 255, 255)", "rgb(13, 17, 23)"]


@pytest.mark.parametrize("width", chromium.WIDTHS.values())
def test_a_page_asks_for_nothing_and_complains_of_nothing(browser, report, width):
    with chromium.shown(browser, report, width=width) as (page, did):
        page.evaluate(OPEN_ALL)
        assert page.title() == "Updater logs"
        assert did == []


@pytest.mark.parametrize("text", HOSTILE)
def test_hostile_text_is_shown_and_does_nothing(browser, tmp_path, text):
    page_of(text).write(tmp_path / "page.html")
    entries = field_logs.hostile_entries(text)
    lines = "".join(json.dumps({**entry, "board": text}) + "\n" for entry in entries)
    (tmp_path / "log").write_text(lines)
    page, _ = log_report.page(log_files.read([tmp_path / "log"]))
    page.write(tmp_path / "report.html")
    for name in ("page.html", "report.html"):
        with chromium.shown(browser, tmp_path / name) as (shown, did):
            shown.evaluate(OPEN_ALL)
            shown.mouse.move(200, 200)
            assert did == []
            assert shown.locator("script, img, iframe, a").count() == 0
            assert text.isprintable() is (text in shown.locator("body").inner_text())


def test_the_policy_stops_a_script_even_if_one_came_in(browser, tmp_path):
    """The second line of defence: the page's own policy, without the escaping."""
    html = page_of("harmless").html().replace("<main>", "<main><script>alert(1)</script>")
    (tmp_path / "page.html").write_text(html)
    with chromium.shown(browser, tmp_path / "page.html") as (_, did):
        (said,) = did
        assert "Content Security Policy" in said


def test_a_timeline_keeps_to_its_drawing(browser, report):
    with chromium.shown(browser, report, width=chromium.WIDTHS["phone"]) as (page, _):
        page.evaluate(OPEN_ALL)
        outside = page.evaluate(
            """() => [...document.querySelectorAll('.drawing')].flatMap((drawing) => {
              const whole = drawing.getBoundingClientRect();
              return [...drawing.querySelectorAll('rect')].map((r) => r.getBoundingClientRect())
                .filter((r) => r.left < whole.left - 1 || r.right > whole.right + 1);
            }).length"""
        )
        assert outside == 0 and page.locator(".drawing rect").count() > 40


def test_a_keyboard_opens_an_update(browser, report):
    with chromium.shown(browser, report) as (page, _):
        closed = page.locator("details:not([open]) > summary")
        count = closed.count()
        closed.first.focus()
        page.keyboard.press("Enter")
        assert closed.count() == count - 1


def test_a_screen_reader_finds_tables_and_what_the_timelines_are(browser, report):
    for width in chromium.WIDTHS.values():
        with chromium.shown(browser, report, width=width) as (page, _):
            assert page.get_by_role("columnheader", name="MicroPython").count() == 1
            assert page.get_by_role("rowheader", name="e660583883000001").count() == 1
            named = page.get_by_role("img", name="Timeline of 1.1.0 \N{RIGHTWARDS ARROW} 2.0.0")
            assert named.count() == 1
