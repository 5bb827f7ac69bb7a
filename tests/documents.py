"""The documents of the project, and their fenced blocks.

What follows ``` says what a block is, and how a test runs it:

| ``` | is |
|---|---|
| sh | commands, run on a simulated board |
| sh fails: REASON | the same; the last one ends with an error |
| sh unrun: REASON | only parsed: the verb and its options exist |
| console | a command after "$", run as above, and lines that it prints |
| console unrun: REASON | the same, only parsed |
| python host | run on a simulated board, in MicroPython |
| python excerpt: FILE | lines of that file |
| python unrun: REASON | only compiled |
| python | run by a test of that page: RUN_BY |
| text unrun: REASON | a drawing |
| toml settings | a stm32up.toml, loaded |
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).parents[1]
PAGES = ("*.md", "docs/*.md", "boards/**/*.md", "examples/*.md")
DOCUMENTS = sorted(path for pattern in PAGES for path in PROJECT.glob(pattern))
RUN_BY = {
    "docs/simulator.md": "test_the_code_on_the_page_runs",
    "CONTRIBUTING.md": "test_the_example_of_a_test_passes",
}
KINDS = {
    "sh": {"", "fails", "unrun"},
    "console": {"", "unrun"},
    "python": {"", "host", "excerpt", "unrun"},
    "toml": {"settings"},
    "text": {"unrun"},
}


class Block(NamedTuple):
    language: str
    how: str  # what follows the language
    reason: str  # what follows the colon
    text: str
    line: int  # of its first line in the document

    @property
    def commands(self) -> list[str]:
        """One shell command each."""
        text = self.text.replace("\\\n", " ")
        if self.language == "console":
            return [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        return [line for line in text.splitlines() if words(line)]


def words(command: str) -> list[str]:
    return shlex.split(command, comments=True)


def name_of(path: Path) -> str:
    return path.relative_to(PROJECT).as_posix()


def blocks(document: Path) -> Iterator[Block]:
    text = document.read_text(encoding="utf-8")
    for found in re.finditer(r"^ *```(.*)\n((?:.*\n)*?) *```$", text, re.MULTILINE):
        about, _, reason = found[1].partition(": ")
        language, _, how = about.partition(" ")
        yield Block(language, how, reason, found[2], text.count("\n", 0, found.start(2)) + 1)
