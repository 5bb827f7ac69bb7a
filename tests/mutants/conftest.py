"""Notes what the collection of all tests imported."""

from __future__ import annotations

import sys

import pytest

from tests.mutants.__main__ import OURS

IMPORTED = pytest.StashKey[list[str]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    paths = {str(OURS.root / module): module for module in OURS.modules}
    files = [getattr(module, "__file__", None) for module in list(sys.modules.values())]
    session.config.stash[IMPORTED] = sorted({paths[file] for file in files if file in paths})
