"""Records the demo and draws a part of it as a terminal shows it: docs/demo.svg.

The demo runs for half a minute and prints times and key ids, so `python -m pictures demo` makes
this picture, apart from the others.
"""

from __future__ import annotations

import io
import re
import sys

from rich.console import Console
from rich.text import Text

from stm32up.cli.demo import STEPS
from tests.terminal import printed

FIRST, LAST = 5, 8  # the steps that are shown
_COLUMNS = 80
_NOT_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-LN-Za-ln-z]")
_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img"
 aria-label="The demo in a terminal">
<title>The demo in a terminal</title>
<style>
.{unique_id}-matrix {{ font-family: ui-monospace, Menlo, Consolas, monospace;
 font-size: {char_height}px; line-height: {line_height}px; }}
.{unique_id}-title {{ font-size: 18px; font-weight: bold; font-family: system-ui, sans-serif; }}
{styles}
</style>
<defs><clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/></clipPath>
{lines}</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})" clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""


def record() -> str:
    """What `make demo` prints in a terminal of 80 columns, with colours and without animations.
    Needs a system with pseudo-terminals."""
    command = [sys.executable, "-m", "stm32up.cli.demo"]
    status, told = printed(command, _COLUMNS, COLUMNS=str(_COLUMNS), TTY_INTERACTIVE="0")
    if status:
        raise RuntimeError(f"the demo ended with status {status}")
    return told


def shown(recorded: str) -> list[str]:
    """The lines of the steps that the picture has, with their colours."""
    lines = []
    for line in recorded.split("\n"):
        plain = _NOT_COLOURS.sub("", line).replace("\r", "")
        if plain or not line:  # not those that only move the cursor
            lines.append(plain)
    heads = [number for number, line in enumerate(lines) if re.search(r"m\d+\. ", line)]
    return lines[heads[FIRST - 1] : heads[LAST]]


def svg(recorded: str) -> str:
    console = Console(
        record=True, width=_COLUMNS, file=io.StringIO(), force_terminal=True, highlight=False
    )
    for line in shown(recorded):
        console.print(Text.from_ansi(line))
    title = f"make demo, steps {FIRST} to {LAST} of {len(STEPS) + 1}"
    return console.export_svg(title=title, code_format=_FORMAT, unique_id="demo")
