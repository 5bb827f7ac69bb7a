"""The HTML page: what a caller passes is text, and the file needs nothing else."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest

from stm32up.report.page import (
    Cell,
    Details,
    Fact,
    Lines,
    Mark,
    Notice,
    Page,
    Part,
    Section,
    Share,
    Shares,
    Span,
    Table,
    Text,
    Timeline,
)
from stm32up.say.words import took

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "</title></style></svg><iframe src=//evil.example>",
    "{{ page.__class__ }}{% for x in y %}",
    "<!--",
    "]]>&lt;&#60;",
    "\x1b[31mred\x07 \u202edlrow",
    "javascript:alert(1)",
]


def page_of(text: str) -> Page:
    """A page with `text` in every place that takes one."""
    parts: list[Part] = [
        Text(text),
        Notice(text, text),
        Table([text, "2"], [[text, Cell(text, "bad", True)]], right=[text], caption=text),
        Timeline(text, [Span(0, 5, text, text), Span(5, 9, "")], [Mark(3, text, text)]),
        Shares(text, [Share(text, 1, text)]),
        Lines([text, text], text),
    ]
    section = Section(text, [*parts, Details(text, parts, "bad", True, text)])
    return Page(text, [Fact(text, text)], [section], text, text)


class Seen(HTMLParser):
    """The elements, attributes and texts of a page, as a browser sees them."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.texts: list[str] = []
        self.feed(html)

    def handle_starttag(self, tag, attributes):
        self.elements.append(tag)
        self.attributes |= {name for name, _ in attributes}

    def handle_data(self, data):
        self.texts.append(data)


@pytest.mark.parametrize("text", HOSTILE)
def test_no_text_becomes_an_element_or_an_attribute(text):
    hostile, harmless = Seen(page_of(text).html()), Seen(page_of("harmless").html())
    assert hostile.elements == harmless.elements
    assert hostile.attributes == harmless.attributes
    if text.isprintable():
        assert "".join(hostile.texts).count(text) == "".join(harmless.texts).count("harmless")


def test_a_character_that_does_not_print_is_shown_as_its_number():
    html = page_of("a\x1b[31m\u202eb").html()
    assert "\x1b" not in html and "\u202e" not in html
    assert "a&lt;1B&gt;[31m&lt;202E&gt;b" in html


def test_the_page_needs_no_other_file_and_allows_none():
    html = page_of("harmless").html()
    assert not re.search(
        r"(?:src|href|url|@import|https?:)",
        html.replace("default-src", "").replace("style-src", ""),
    )
    assert {"script", "link", "iframe", "object"}.isdisjoint(Seen(html).elements)
    assert "default-src 'none'" in html


def test_a_phase_has_one_colour_on_the_whole_page():
    lines = [
        Timeline("", [Span(0, 1, "write"), Span(1, 2, "check")]),
        Timeline("", [Span(0, 9, "check")]),
    ]
    html = Page("", [], [Section("", lines)]).html()
    colours = {
        what: set(re.findall(rf'<rect class="(c\d)"[^>]*><title>{what}<', html))
        for what in ("write", "check")
    }
    assert colours == {"write": {"c0"}, "check": {"c1"}}


def test_a_short_span_is_seen_and_no_span_leaves_the_drawing():
    line = Timeline("", [Span(0, 1, "a"), Span(1, 100_000, "b"), Span(99_999, 100_000, "c")])
    assert line.width(line.spans[0]) == "0.40%"
    for span in line.spans:
        assert float(line.x(span.start)[:-1]) + float(line.width(span)[:-1]) <= 100.01


@pytest.mark.parametrize("ms", [1, 7, 180, 999, 6_000, 59_000, 61_000, 3_600_000, 86_400_000])
def test_a_time_axis_has_a_few_round_ticks(ms):
    ticks = Timeline("", [Span(0, ms, "a")]).ticks()
    assert 2 <= len(ticks) <= 6
    assert len({text for _, text in ticks}) == len(ticks)
    assert float(ticks[-1][0][:-1]) <= 100


def test_durations_are_for_people():
    texts = [took(ms) for ms in (0, 12.4, 999, 3400, 99_940, 307_000, 7_500_000)]
    assert texts == ["0 ms", "12 ms", "999 ms", "3.4 s", "99.9 s", "5 min 7 s", "2 h 5 min"]


def test_a_long_timeline_lists_its_first_steps_and_says_how_many_are_left_out():
    line = Timeline("", [Span(n, n + 1, "write", f"step {n}") for n in range(300)])
    html = Page("", [], [Section("", [line])]).html()
    assert "and 220 more" in html and "step 79" in html
    assert len(line.steps()) == 80


def test_a_row_with_a_missing_cell_is_a_mistake_of_the_caller():
    with pytest.raises(ValueError):
        Page("", [], [Section("", [Table(["a", "b"], [["1"]])])]).html()
