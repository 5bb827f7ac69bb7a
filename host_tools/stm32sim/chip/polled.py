"""A program that only polls the flags of a peripheral, as a generator.

It yields what it waits for and continues when the flags of its peripheral allow.
"""

from __future__ import annotations

from collections.abc import Generator
from enum import IntEnum, auto

from stm32sim.wires.clock import Clock


class Wait(IntEnum):
    """What the program waits for. All but RECEIVE, SEND, IDLE and EVER are I2C's."""

    RECEIVE = auto()  # the number of bytes that `_receive` needs
    SEND = auto()  # I2C: until the last byte of `_send` is in TXDR; USART: until it is sent
    ADDRESS = auto()
    NACK = auto()
    STOP = auto()
    FIRST_BYTE = auto()  # one byte, or a frame without bytes
    ADDRESS_FOREVER = auto()  # ADDRESS with another timeout, or none
    IDLE = auto()  # the CPU is not busy
    IDLE_OR_ADDRESS = auto()
    EVER = auto()


Program = Generator[Wait, int, None]


class Polled:
    """The engine. Subclasses write `_main` and `_flag`."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._running = True
        self._program = self._main()
        self._waiting = next(self._program)

    def _main(self) -> Program:
        raise NotImplementedError

    def _flag(self) -> int | None:
        """Consume what the program waits for; None if it has not happened yet."""
        raise NotImplementedError

    def _busy(self) -> bool:
        """Whether an operation stops the CPU from polling."""
        raise NotImplementedError

    def _run(self) -> None:
        """Run the program as far as the flags allow."""
        while self._running:
            value = self._flag()
            if value is None:
                break
            self._proceed(value)

    def _proceed(self, value: int) -> None:
        """What the program waits for has happened."""
        self._waiting = self._program.send(value)
