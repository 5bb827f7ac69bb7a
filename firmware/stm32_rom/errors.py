"""What can go wrong with a target and its board. Every error says what to do next.

UpdaterError
    BoardError              board.json cannot be used
        UnknownChip         the chip is not in chips.py
    BusError                the wires to the target
        NoAnswer            nothing answers there
        BusTimeout          a transaction took longer than it may
        BusStuck            a line is held low
    LoaderError             the target's ROM loader
        LoaderSilent        it does not answer
        LoaderRefused       it answered NACK
        LoaderTimeout       it did not finish in time
        WrongChip           it belongs to another product ID
        ReadProtected       it may not touch the flash: RDP level 1
"""


class UpdaterError(Exception):
    """An error for people: `message` says what is wrong and where, `next_step` what to do.

    `code` is stable and meant for programs."""

    code = "error"
    next_step = ""

    def __init__(self, message, next_step=None):
        super().__init__(message)
        self.message = message
        if next_step is not None:
            self.next_step = next_step

    def as_dict(self):
        """For events and logs: {"error": code, "message": ..., "next_step": ...}."""
        return {"error": self.code, "message": self.message, "next_step": self.next_step}


class BoardError(UpdaterError):
    code = "board"
    next_step = "Correct board.toml and deploy again."


class UnknownChip(BoardError):
    code = "unknown-chip"
    next_step = "Name a supported part in board.toml; the supported families are in chips.py."


class BusError(UpdaterError):
    code = "bus"
    next_step = "Check SDA, SCL, ground and the pull-up resistors, or ask: stm32up doctor"


class NoAnswer(BusError):
    code = "no-answer"


class BusTimeout(BusError):
    code = "bus-timeout"


class BusStuck(BusError):
    """`line`: the one that stays low, or None where it is not known."""

    code = "bus-stuck"
    line = None
    next_step = (
        "Look at the pull-up resistors, for a short, and for a device that holds the line; switch "
        "the target off and on; or ask: stm32up doctor"
    )


class LoaderError(UpdaterError):
    code = "loader"
    next_step = (
        "Run the update again: it starts over from a safe point. If that does not help, ask: "
        "stm32up doctor"
    )


class LoaderSilent(LoaderError):
    code = "loader-silent"
    next_step = (
        "Check the wiring of SDA, SCL, NRST and BOOT0, that nBOOT_SEL is 0, and that no debugger "
        "was attached since power-on; or ask: stm32up doctor"
    )
    without_boot0 = (
        "Without BOOT0 only the application or a blank chip starts its loader: switch the "
        "target's supply off and on and run again. If that does not help, hold its BOOT0 high "
        "while switching on (nBOOT_SEL must be 0), or use a debugger. What is wrong tells: "
        "stm32up doctor"
    )


class LoaderRefused(LoaderError):
    code = "loader-refused"


class LoaderTimeout(LoaderError):
    code = "loader-timeout"


class WrongChip(LoaderError):
    code = "wrong-chip"
    next_step = (
        "Correct `chip` in board.toml, or connect the board it describes; or ask: stm32up doctor"
    )


class ReadProtected(LoaderError):
    code = "read-protected"
    next_step = (
        "Remove the readout protection on the bench (docs/bench.md), which erases the chip. "
        "For details: stm32up doctor"
    )
