"""`stm32up simulate --scenario forum`: its report, figures and drawing."""

from __future__ import annotations

import re
import shlex
import xml.etree.ElementTree as ElementTree

import pytest

from stm32sim.forum.recording import Recording, Span
from stm32sim.wires.clock import NS_PER_S
from stm32up import device
from stm32up.events import Event
from stm32up.report import forum, timeline
from tests.commands import parse

pytestmark = pytest.mark.slow

SCENARIO = ("simulate", "--scenario", "forum")
DOCS = device.PROJECT / "docs"
SVG = "{http://www.w3.org/2000/svg}"
TITLES = list(forum.TITLES.values())


@pytest.fixture(scope="module")
def counted(tmp_path_factory):
    """One run with few instants: its events."""
    events: list[Event] = []
    forum.run(events.append, seed=3, instants=60)
    return events


def figures(events):
    return {event["lane"]: event for event in events if event["event"] == "counted"}


def test_it_tells_all_lanes_and_that_nothing_brings_the_chip_back(counted):
    assert [event["title"] for event in counted if event["event"] == "lane"] == TITLES
    ways = [event for event in counted if event["event"] == "way-back"]
    assert len(ways) == 6 and not any(event["answered"] for event in ways)
    told = {event["what"] for event in counted if event["event"] == "told"}
    assert {"Get ID: 0x460", "No-Stretch Readout Unprotect (0x93)", "outcome: locked"} <= told
    assert {"result: unprotected", "outcome: recovered"} <= told


def test_every_loss_of_supply_is_counted_once(counted):
    for name, each in figures(counted).items():
        assert each["instants"] == 60 == each["locked"] + each["recovered"], name
        assert each["other"] == {}
        share = each["locked"] / each["instants"]
        assert abs(share - each["window_ms"] / each["total_ms"]) < 0.2, name
    assert figures(counted)["naive"]["locked"] > 55
    assert figures(counted)["update"]["locked"] == figures(counted)["update"]["window_ms"] == 0
    done = [event["done"] for event in counted if event["event"] == "progress"]
    assert done.count(0) == done.count(60) == len(forum.TITLES)


def test_the_document_states_these_windows(counted):
    said = (DOCS / "forum-case.md").read_text()
    table = re.findall(r"\| ([\d,.]+) of ([\d,]+) ms \| (?:([\d.]+) %|none) \|", said)
    found = figures(counted).values()
    for (window, total, share), each in zip(table, found, strict=True):
        assert float(window.replace(",", "")) == pytest.approx(each["window_ms"], abs=0.5)
        assert float(total.replace(",", "")) == pytest.approx(each["total_ms"], abs=0.5)
        percent = 100 * each["window_ms"] / each["total_ms"]
        assert float(share or 0) == pytest.approx(percent, abs=0.005)


def test_the_command_that_replays_a_case_ends_as_the_case_did(counted, run):
    command = figures(counted)["unprotect-slow"]["replay"]
    ran = run("--json", *command.split()[1:])
    assert ran.status == 0
    assert ran.result["status"] == "locked"
    assert ran.result["in_operation"]
    assert ran.events[-2]["what"] == {"event": "outcome", "outcome": "locked"}
    shown = run(*command.split()[1:]).out
    assert "the supply of host and target fails" in shown
    assert shown.splitlines()[-1].endswith("locked")


def test_a_host_that_does_not_recover_fails_the_command(monkeypatch, run):
    figure = {"lane": "update", "locked": 0, "other": {"stuck": 1}, "window_ms": 0.0}
    monkeypatch.setattr(forum, "tell", lambda report, drawing: None)
    monkeypatch.setattr(forum, "count", lambda *_: [{**figure, "replay": "stm32up ..."}])
    ran = run("--json", *SCENARIO)
    assert ran.status == 1 and "stuck" in ran.err
    figure.update(locked=1, other={})
    assert run("--json", *SCENARIO).status == 1
    figure.update(locked=1, window_ms=23.4)
    assert run("--json", *SCENARIO).status == 0


@pytest.mark.parametrize(
    "arguments",
    [
        ("simulate", "--only", "naive/1"),
        ("simulate", "--draw", "x.svg"),
        ("simulate", "--scenario", "other"),
        (*SCENARIO, "--instants", "0"),
        (*SCENARIO, "--only", "naive"),
        (*SCENARIO, "--only", "nobody/1"),
        (*SCENARIO, "--only", "naive/-1"),
    ],
)
def test_what_makes_no_sense_is_refused(run, arguments):
    ran = run(*arguments)
    assert ran.status == 2
    assert ran.err.startswith("error: ") and ran.err.count("\n") == 1


# The drawing


def row(title, *spans, well=True):
    recording = Recording(list(spans), end=max(span.end for span in spans))
    return timeline.Row(title, "sends", recording, "ends", well)


def bars(svg, kind):
    return [
        (float(rect.attrib["x"]), float(rect.attrib["width"]))
        for rect in ElementTree.fromstring(svg).iter(f"{SVG}rect")
        if rect.get("class") == kind and rect.get("height") == "18"
    ]


def test_bars_are_to_scale():
    """20 s on an axis from 64 to 984."""
    svg = timeline.draw(
        [row("one", Span("erase", 5 * NS_PER_S, 10 * NS_PER_S), Span("bus", 0, 20 * NS_PER_S))]
    )
    assert bars(svg, "flash") == [(294.0, 230.0)]
    assert bars(svg, "bus") == [(64.0, 920.0)]


def test_what_can_hardly_be_told_apart_is_one_bar():
    frames = [Span("bus", at * 1_000_000, at * 1_000_000 + 100_000) for at in range(20_000)]
    assert len(bars(timeline.draw([row("one", *frames)]), "bus")) == 1
    apart = [Span("bus", at * NS_PER_S, at * NS_PER_S + 1) for at in range(20)]
    assert len(bars(timeline.draw([row("one", *apart)]), "bus")) == 20


def test_a_window_is_seen_however_short_it_is_and_says_how_long_it_is():
    svg = timeline.draw([row("one", Span("option", 0, 23_400_000), Span("bus", 0, 50 * NS_PER_S))])
    assert bars(svg, "option") == [(64.0, 3.0)]
    assert "23.4 ms" in svg and "wider than it is" in svg


def test_words_are_escaped():
    svg = timeline.draw([row("a < b & c", Span("bus", 0, NS_PER_S))])
    assert "a &lt; b &amp; c" in svg
    ElementTree.fromstring(svg)


# The page about it


def test_the_drawing_in_the_docs_is_of_these_lanes():
    svg = (DOCS / "forum-case.svg").read_text(encoding="utf-8")
    texts = ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]
    for title in TITLES:
        assert any(text.startswith(title) for text in texts), title
    assert "prefers-color-scheme: dark" in svg
    assert len(svg) < 60_000


def test_every_command_on_the_page_can_be_typed_like_that():
    page = (DOCS / "forum-case.md").read_text(encoding="utf-8")
    commands = re.findall(r"^stm32up (.*)$", page, re.MULTILINE)
    assert commands
    for line in commands:
        assert parse(shlex.split(line, comments=True)) == "simulate"


def test_every_file_and_test_on_the_page_exists():
    page = (DOCS / "forum-case.md").read_text(encoding="utf-8")
    for path in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (DOCS / path).exists(), path
