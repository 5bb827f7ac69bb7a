"""A small, strict loader that speaks AN3155, and the UART that leads to it. Time is virtual.

It is for tests of the link and the commands alone: each byte has its time, and any byte may be
lost, doubled or changed.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable, Generator, Iterable
from typing import Any

import pytest

from stm32up import device

FLASH, SIZE, PAGE = 0x0800_0000, 128 * 1024, 2048
ACK, NACK = 0x79, 0x1F
BITS = 11  # of a byte
PROGRAM_US, ERASE_US = 85, 22_000

LOST, DOUBLED = "lost", "doubled"  # what may happen to a byte; a number is XORed to it
Conversation = Generator[None, int, None]


def xor(data: Iterable[int]) -> int:
    return functools.reduce(operator.xor, data, 0)


class UartLoader:
    """`version`: of its protocol; `fastest`: the highest rate that it measures; `acks`: how many
    ACKs answer its first byte. `sums`: whether it has Get Memory Checksum.

    `to_target`, `to_host`: what happens to the n-th byte. `received`: the bytes that arrived.
    `erased`, `programmed`: pages and addresses, in turn. `pages_due`: numbers of pages that it
    waits for."""

    def __init__(
        self, *, version: int = 0x31, fastest: int = 1_500_000, acks: int = 1, sums: bool = True
    ) -> None:
        self.now = 0.0  # us
        self.flash = bytearray(b"\xff" * SIZE)
        self.to_target: dict[int, object] = {}
        self.to_host: dict[int, object] = {}
        self.received = bytearray()
        self.erased: list[int] = []
        self.programmed: list[int] = []
        self.rate = 0  # as measured
        self._version, self._fastest, self._acks, self._sums = version, fastest, acks, sums
        self._sent = self._answered = 0
        self._answers: list[tuple[float, int]] = []  # when each byte has arrived at the host
        self.reset()

    def reset(self) -> None:
        self.rate = 0
        self._busy_until = 0.0
        self._held: int | None = None
        self.pages_due = 0
        self._answers.clear()
        self._conversation = self._whole()
        next(self._conversation)

    # --- the wires ---

    def take(self, byte: int, rate: int) -> None:
        """A byte from the host, at `rate` baud."""
        self.now += BITS * 1e6 / rate
        for value in self._struck(self.to_target, self._sent, byte):
            self._arrive(value, rate)
        self._sent += 1

    def _struck(self, faults: dict[int, object], at: int, byte: int) -> list[int]:
        fault = faults.get(at)
        if fault == LOST:
            return []
        return [byte, byte] if fault == DOUBLED else [byte ^ int(fault or 0)]  # type: ignore[call-overload]

    def _arrive(self, byte: int, rate: int) -> None:
        self.received.append(byte)
        if not self.rate:
            if rate > self._fastest:
                return  # it measures nothing
            self.rate = rate
        if rate != self.rate:
            return  # noise
        if self.now < self._busy_until:  # its USART holds one byte, and drops the others
            self._held = byte if self._held is None else self._held
            return
        held, self._held = self._held, None
        if held is not None:
            self._conversation.send(held)
        self._conversation.send(byte)

    def _answer(self, *data: int) -> None:
        if self._held is not None:
            raise AssertionError("the loader answers while a byte waits")
        when = max(self.now, self._busy_until)
        for byte in data:
            for value in self._struck(self.to_host, self._answered, byte):
                when += BITS * 1e6 / self.rate
                self._answers.append((when, value))
            self._answered += 1

    def waiting(self) -> int:
        return sum(when <= self.now for when, _ in self._answers)

    def give(self, limit_us: float) -> int | None:
        """The next byte for the host, if it arrives in time."""
        until = self.now + limit_us
        if not self._answers or self._answers[0][0] > until:
            self.now = until
            return None
        when, byte = self._answers.pop(0)
        self.now = max(self.now, when)
        return byte

    # --- the loader ---

    def _whole(self) -> Conversation:
        if (yield) != 0x7F:
            while True:  # it has measured a wrong rate: noise until a reset
                yield
        self._answer(*[ACK] * self._acks)
        handlers: dict[int, Callable[[], Conversation]] = {
            0x01: self._get_version,
            0x02: self._get_id,
            0x11: self._read,
            0x21: self._go,
            0x31: self._write,
            0x44: self._erase,
        }
        if self._sums:
            handlers[0xA1] = self._checksum
        while True:
            code = yield
            if code ^ (yield) != 0xFF or code not in handlers:
                self._answer(NACK)
                continue
            self._answer(ACK)
            yield from handlers[code]()

    def _get_version(self) -> Conversation:
        self._answer(self._version, 0, 0, ACK)
        yield from ()

    def _get_id(self) -> Conversation:
        self._answer(1, 0x04, 0x60, ACK)
        yield from ()

    def _packet(self, length: int) -> Generator[None, int, bytes | None]:
        """`length` bytes and their XOR; None after a NACK."""
        data = bytearray()
        for _ in range(length + 1):
            data.append((yield))
        if xor(data):
            self._answer(NACK)
            return None
        return bytes(data[:-1])

    def _address(self) -> Generator[None, int, int | None]:
        data = yield from self._packet(4)
        if data is None:
            return None
        offset = int.from_bytes(data, "big") - FLASH
        if not 0 <= offset < SIZE:
            self._answer(NACK)
            return None
        self._answer(ACK)
        return offset

    def _read(self) -> Conversation:
        offset = yield from self._address()
        if offset is None:
            return
        count = yield
        if count ^ (yield) != 0xFF:
            self._answer(NACK)
            return
        self._answer(ACK, *self.flash[offset : offset + count + 1])

    def _go(self) -> Conversation:
        if (yield from self._address()) is not None:
            while True:
                yield

    def _write(self) -> Conversation:
        offset = yield from self._address()
        if offset is None:
            return
        count = yield
        data = bytearray([count])
        for _ in range(count + 2):
            data.append((yield))
        if xor(data):
            self._answer(NACK)
            return
        for at in range(0, count + 1, 8):
            granule = data[1 + at : 9 + at]
            self.programmed.append(offset + at)
            if self.flash[offset + at : offset + at + 8] == b"\xff" * 8:
                self.flash[offset + at : offset + at + 8] = granule
        self._busy_until = self.now + PROGRAM_US * (count + 1) // 8
        self._answer(ACK)

    def _erase(self) -> Conversation:
        high, low = (yield), (yield)
        count = high << 8 | low
        if count == 0xFFFF and (yield) == 0:
            self.erased += range(SIZE // PAGE)
            self.flash[:] = b"\xff" * SIZE
            self._busy_until = self.now + ERASE_US
            self._answer(ACK)
            return
        if count >= 0xFFF0:
            self._answer(NACK)
            return
        data = bytearray([high, low])
        for got in range(2 * count + 3):
            self.pages_due = count + 1 - got // 2
            data.append((yield))
        self.pages_due = 0
        if xor(data):
            self._answer(NACK)
            return
        pages = [data[at] << 8 | data[at + 1] for at in range(2, len(data) - 1, 2)]
        self.erased += pages
        for page in pages:
            if page < SIZE // PAGE:
                self.flash[page * PAGE : (page + 1) * PAGE] = b"\xff" * PAGE
        self._busy_until = self.now + ERASE_US * len(pages)
        self._answer(ACK)

    def _checksum(self) -> Conversation:
        offset = yield from self._address()
        if offset is None or (yield from self._packet(4)) is None:
            return
        self._answer(ACK)
        self._answer(ACK, 1, 2, 3, 4, 1 ^ 2 ^ 3 ^ 4)


class Uart:
    """machine.UART, as the link uses it. `exchanged`: TX and RX are."""

    def __init__(self, loader: UartLoader, rate: int, timeout_ms: int) -> None:
        self.rate = rate
        self.exchanged = False
        self._loader = loader
        self._timeout_ms = timeout_ms

    def write(self, data: bytes) -> int:
        for byte in bytes(data):
            if self.exchanged:
                self._loader.now += BITS * 1e6 / self.rate
            else:
                self._loader.take(byte, self.rate)
        return len(data)

    def flush(self) -> None:
        pass

    def any(self) -> int:
        return self._loader.waiting()

    def readinto(self, buffer: Any, count: int | None = None) -> int | None:
        done, limit = 0, self._timeout_ms * 1000.0
        for index in range(len(buffer) if count is None else count):
            byte = self._loader.give(limit)
            if byte is None:
                break
            buffer[index] = byte
            done += 1
            limit = 10_000.0  # timeout_char
        return done or None


class _Time:
    """MicroPython's `time`, of the loader's clock."""

    def __init__(self, loader: UartLoader) -> None:
        self._loader = loader

    def ticks_us(self) -> int:
        return int(self._loader.now)

    def ticks_ms(self) -> int:
        return int(self._loader.now / 1000)

    def ticks_diff(self, later: int, earlier: int) -> int:
        return later - earlier

    def ticks_add(self, ticks: int, more: int) -> int:
        return ticks + more

    def sleep_us(self, us: float) -> None:
        self._loader.now += us

    def sleep_ms(self, ms: float) -> None:
        self._loader.now += 1000 * ms


class Rig:
    """A device's Loader and link on a UartLoader. `rates`: those of the UARTs that were made."""

    def __init__(self, patch: pytest.MonkeyPatch, rate: int = 115_200, **behaviour: Any) -> None:
        self.target = UartLoader(**behaviour)
        self.rates: list[int] = []
        for name in ("uart", "commands", "clock"):
            module = device.module(f"stm32_rom.{name}")
            patch.setattr(module, "time", _Time(self.target))
        self._uart = device.module("stm32_rom.uart")
        self.link = self._uart.UARTLink(self._make, 1, rate)
        clock = device.module("stm32_rom.clock").Clock()
        self.loader = device.module("stm32_rom.commands").Loader(self.link, clock)

    def _make(self, rate: int) -> Uart:
        self.rates.append(rate)
        return Uart(self.target, rate, self._uart.read_timeout_ms(rate))

    def reset(self) -> None:
        """As Target.reset: NRST, and the start-up."""
        self.target.reset()
        self.target.now += 20_000
