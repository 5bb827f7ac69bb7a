"""The code in docs/simulator.md runs, and its statements about registers are right."""

from __future__ import annotations

import re
from typing import Any

import pytest

from stm32up.device import PROJECT

PAGE = (PROJECT / "docs" / "simulator.md").read_text(encoding="utf-8")


def test_the_code_on_the_page_runs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(PROJECT)
    blocks = list(re.finditer(r"^```python\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL))
    assert len(blocks) == 5
    shared: dict[str, Any] = {}
    for block in blocks:
        above = "\n" * PAGE.count("\n", 0, block.start(1))  # for the line numbers of a traceback
        exec(compile(above + block[1], "docs/simulator.md", "exec"), shared)


def test_the_page_names_what_there_is() -> None:
    for module, names in re.findall(r"^\| (`stm32sim.*?) \|.*\| (.*?) \|$", PAGE, re.MULTILINE):
        modules = [__import__(name, fromlist=["_"]) for name in re.findall(r"`(.*?)`", module)]
        for name in re.findall(r"`(.*?)`", names):
            assert any(hasattr(each, name) for each in modules), name
