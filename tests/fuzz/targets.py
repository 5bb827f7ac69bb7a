"""What is fuzzed: one class for each reader of files from other sources.

A target has `seeds()`, real files to begin with, and is called with an input. It returns any
value, or raises: errors of the project's own tree are right answers to a bad file; everything else
is a finding.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.fuzz.agreement import Agreement
from tests.fuzz.desktop_readers import (
    BoardToml,
    DesktopImage,
    DesktopInput,
    DesktopKey,
    DesktopLog,
)
from tests.fuzz.device_readers import BoardJson, DeviceImage, DeviceKeys, DeviceLog, State

ALL: dict[str, Callable[[], Any]] = {
    "device-image": DeviceImage,
    "agreement": Agreement,
    "state": State,
    "board-json": BoardJson,
    "device-keys": DeviceKeys,
    "device-log": DeviceLog,
    "desktop-log": DesktopLog,
    "desktop-image": DesktopImage,
    "desktop-input": DesktopInput,
    "desktop-key": DesktopKey,
    "board-toml": BoardToml,
}
