"""Errors of a target and its board.

UpdaterError
    BoardError              board.json cannot be used
        UnknownChip         the chip is not a supported one
    BusError                a fault on the wires to the target
        NoAnswer            no device acknowledges the address
        BusTimeout          a transaction took too long
        BusStuck            a line is held low
    LoaderError             a fault of the target's ROM loader
        LoaderSilent        the loader does not answer
        LoaderRefused       the loader answered NACK
        LoaderTimeout       the loader did not finish in time
        WrongChip           the chip has another product ID
        ReadProtected       the loader may not access flash: RDP level 1
"""

from micropython import const

# A status byte: the loader accepted, or refused, a frame. AN4221 section 2.
ACK = const(0x79)
NACK = const(0x1F)
# What a link returns for a status that it could not read: nothing answers; or the target holds
# SCL, as a loader does while it has nothing to send yet.
NO_ANSWER = const(-1)
LINE_HELD = const(-2)


class UpdaterError(Exception):
    """Base of all errors. For people: `message` says what is wrong and where, `next_step` what to
    do. For programs: `code`, which is stable."""

    code = "error"
    next_step = ""

    def __init__(self, message, next_step=None):
        super().__init__(message)
        self.message = message
        if next_step is not None:
            self.next_step = next_step

    def as_dict(self):
        """For events and logs: {"error": code, "message", "next_step"}."""
        return {"error": self.code, "message": self.message, "next_step": self.next_step}


class BoardError(UpdaterError):
    code = "board"
    next_step = "Correct board.toml and deploy again."


class UnknownChip(BoardError):
    code = "unknown-chip"
    next_step = "Name a supported part in board.toml; docs/families.md lists the families."


class BusError(UpdaterError):
    code = "bus"
    next_step = "Check SDA, SCL, ground and the pull-up resistors, or run: stm32up doctor"


class NoAnswer(BusError):
    code = "no-answer"


class BusTimeout(BusError):
    code = "bus-timeout"


class BusStuck(BusError):
    """`line`: "SDA" or "SCL", the line that stays low; None if unknown."""

    code = "bus-stuck"
    line = None
    next_step = (
        "Check the pull-up resistors, and look for a short or a device that holds the line; "
        "switch the target off and on; or run: stm32up doctor"
    )


class LoaderError(UpdaterError):
    code = "loader"
    next_step = (
        "Run the update again: it starts over from a safe point. If that does not help, run: "
        "stm32up doctor"
    )


class LoaderSilent(LoaderError):
    code = "loader-silent"
    next_step = (
        "Check the wiring of SDA, SCL, NRST and BOOT0, that nBOOT_SEL is 0, and that no debugger "
        "was attached since power-on; or run: stm32up doctor"
    )
    without_boot0 = (
        "Without a BOOT0 line, only the application or a blank chip starts the loader: switch the "
        "target off and on and run again. If that does not help, hold its BOOT0 high at power-on "
        "(nBOOT_SEL must be 0), or use a debugger. To find the cause, run: stm32up doctor"
    )


class LoaderRefused(LoaderError):
    code = "loader-refused"


class LoaderTimeout(LoaderError):
    code = "loader-timeout"


class WrongChip(LoaderError):
    code = "wrong-chip"
    next_step = (
        "Correct `chip` in board.toml, or connect the board it describes; or run: stm32up doctor"
    )


class ReadProtected(LoaderError):
    code = "read-protected"
    next_step = (
        "Remove the readout protection on the bench (docs/bench.md); this erases the chip. "
        "For details, run: stm32up doctor"
    )
