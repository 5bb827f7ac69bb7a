"""The demo, as a newcomer sees it in a terminal."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree

from pictures.__main__ import DEMO
from tests.terminal import on_a_terminal

CHANGING = re.compile(r"[0-9a-f]{16}|\d+")  # key ids, ports, times


def without_numbers(line: str) -> str:
    return CHANGING.sub("0", line.replace("\xa0", " ")).rstrip()


def test_the_demo_fits_80_columns_and_ends_with_what_happened():
    program = "import sys; from stm32up.cli import demo; sys.exit(demo.main())"
    lines = on_a_terminal(80, program, NO_COLOR="1")
    assert max(map(len, lines)) <= 80
    story = lines[lines.index("11. The events in that log") :]
    assert story[1:7] == [
        "- 1.0.0 was installed: 1096 bytes",
        "- the installation of 1.1.0 was interrupted; the next start continued it",
        "- 1.1.0 was installed: 131072 bytes",
        "- 2.0.0 did not prove itself (it is silent)",
        "- 1.1.0 was restored",
        "The application now running, read over I2C: 1.1.0.",
    ]
    assert story[8].startswith("That was the whole path, in ")
    assert len(story) < 14  # no table after it
    picture = ElementTree.parse(DEMO).getroot().iter("{http://www.w3.org/2000/svg}text")
    shown = [without_numbers(node.text or "") for node in picture][1:]  # without the title
    printed = {without_numbers(line) for line in lines}
    assert [line for line in shown if line not in printed] == [], "make pictures"
