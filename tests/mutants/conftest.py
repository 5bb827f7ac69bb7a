"""Notes what the collection of all tests imported."""

from __future__ import annotations

import pytest

from tests.mutants.__main__ import OURS
from tests.mutants.worker import imported

IMPORTED = pytest.StashKey[list[str]]()


def pytest_collection_finish(session: pytest.Session) -> None:
    paths = {str(OURS.root / module) for module in OURS.modules}
    session.config.stash[IMPORTED] = imported(paths)
