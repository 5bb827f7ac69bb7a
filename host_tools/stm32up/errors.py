"""One small tree of errors. Each says what is wrong and what to do next, and knows its exit
status.
"""

from __future__ import annotations

import re

from stm32up.text import clean

FAILED = 1  # the work failed: an image was refused, or the board reported a failure
USAGE = 2  # wrong arguments, a missing file, or a mistake in board.toml
NO_BOARD = 3  # no MicroPython board to talk to
INTERRUPTED = 130  # Ctrl-C, by the convention of shells


class Stm32upError(Exception):
    """`message` is one line without a full stop. `next_step` is one sentence, or empty if the
    message already says it.
    """

    exit_status = FAILED
    code = "failed"  # in the result line of --json

    def __init__(self, message: str, next_step: str = "") -> None:
        self.message = clean(" ".join(message.split()))
        self.next_step = clean(" ".join(next_step.split()))
        super().__init__(self.message)

    def __str__(self) -> str:
        if not self.next_step:
            return self.message
        end = "" if self.message.endswith((".", "?", "!")) else "."
        return f"{self.message}{end} {self.next_step}"

    @property
    def lines(self) -> list[str]:
        """The text for people: one line for each mistake."""
        return [str(self)]


class UsageError(Stm32upError):
    """An argument or a file that cannot be used."""

    exit_status = USAGE
    code = "usage"


class FileMistakes(UsageError):
    """A TOML file has mistakes. The text of each begins with file and line."""

    def __init__(self, *mistakes: str) -> None:
        super().__init__("; ".join(mistakes))
        self.mistakes = mistakes

    @property
    def lines(self) -> list[str]:
        return [clean(mistake) for mistake in self.mistakes]


class BoardFileError(FileMistakes):
    """Mistakes in board.toml."""

    code = "board-file"


class SettingsError(FileMistakes):
    """Mistakes in stm32up.toml."""

    code = "settings-file"


class ImageError(Stm32upError):
    """An image or its input is refused."""

    code = "image"


class KeyFileError(Stm32upError):
    """A key cannot be read, or is of the wrong kind."""

    code = "key"


class NoBoard(Stm32upError):
    """There is no port, or no MicroPython answers on it, or the port went away."""

    exit_status = NO_BOARD
    code = "no-board"


class ContactLost(NoBoard):
    """The connection failed but the board is still there: the call can be repeated."""

    code = "contact-lost"


class BoardReset(ContactLost):
    """The board was reset during the connection."""

    code = "board-reset"


class UpdateRuns(Stm32upError):
    """The board updates its target, and must not be interrupted."""

    code = "update-runs"


class ProgramRuns(Stm32upError):
    """A program runs on the board that was not to be interrupted."""

    code = "program-runs"


class DeviceError(Stm32upError):
    """Code on the host MCU raised an exception. `kind` is its class name there, `trace` the
    traceback.
    """

    code = "device"

    def __init__(self, message: str, next_step: str = "", kind: str = "", trace: str = "") -> None:
        if kind and not next_step:
            message, next_step = _in_words(kind, message)
        super().__init__(message, next_step)
        self.kind = kind
        self.trace = trace


class HostUnfit(DeviceError):
    """The host cannot run the updater, or would run a different one than the deployed one."""

    code = "host"


class NoUpdater(Stm32upError):
    """The board runs MicroPython but has no updater, or no board.json."""

    code = "no-updater"


class UpdateFailed(Stm32upError):
    """The updater on the board ended with a failure; `result` is its last event."""

    code = "update-failed"

    def __init__(self, message: str, next_step: str, result: dict[str, object]) -> None:
        super().__init__(message, next_step)
        self.result = result


# Exceptions on the host that have one cause: kind, pattern of the text, what is wrong, next step.
# The numbers of an OSError are the same on rp2 and esp32.
_CAUSES = (
    (
        "ValueError",
        r"incompatible \.mpy",
        "a module on the host is compiled for another MicroPython",
        "Run stm32up deploy, or install MicroPython 1.24 or newer on the host.",
    ),
    ("MemoryError", "", "the host has too little memory left", "Reset the host and try again."),
    (
        "OSError",
        r"\b28\b|ENOSPC",
        "the host's filesystem is full",
        "Remove files that are not needed: mpremote fs ls, mpremote fs rm.",
    ),
    (
        "OSError",
        r"\b30\b|EROFS",
        "the host's filesystem is read-only",
        "Check what boot.py mounts.",
    ),
)


def _in_words(kind: str, message: str) -> tuple[str, str]:
    """The meaning of an exception on the host, and the next step."""
    for name, pattern, what, next_step in _CAUSES:
        if kind == name and re.search(pattern, message):
            return f"{what} ({message})", next_step
    return message, "Run: stm32up doctor."
