"""I2C1 of a G071 or a C031 as an I2C target, between the wires and the program's registers."""

from __future__ import annotations

from collections.abc import Callable

from stm32sim.chip.registers import NotModelled


class I2CTarget:
    """It may stretch the clock. RM0444 "Inter-integrated circuit interface (I2C)".

    `begin`, `receive`, `sending`, `acked`, `stop` and `bus_error` are events on the wires. SCL is
    held from an address match until ADDR is cleared, while a second byte waits for RXDR to be
    read, and while TXDR is empty in a read.
    """

    CR1, CR2, OAR1, OAR2, TIMINGR, ISR, ICR, RXDR, TXDR = (
        0x00, 0x04, 0x08, 0x0C, 0x10, 0x18, 0x1C, 0x24, 0x28,
    )  # fmt: skip
    PE = 1 << 0
    CR1_MODELLED = 0x1FFF  # PE, interrupt enables, noise filters: none changes the protocol
    OA1MODE, OA1EN = 1 << 10, 1 << 15
    TXE, TXIS, RXNE, ADDR, NACKF, STOPF = 1 << 0, 1 << 1, 1 << 2, 1 << 3, 1 << 4, 1 << 5
    BERR, ARLO, BUSY, DIR, ADDCODE_SHIFT = 1 << 8, 1 << 9, 1 << 15, 1 << 16, 17
    CLEARED_BY_ICR = ADDR | NACKF | STOPF | BERR | ARLO

    def __init__(self, connected: Callable[[], bool]) -> None:
        self._connected = connected
        self.reset()

    def reset(self) -> None:
        self._cr1 = self._oar1 = self._timingr = 0
        self._let_go()

    def _let_go(self) -> None:
        """The effect of clearing PE: lines released, flags and data at their reset values."""
        self._flags = 0  # those that ICR clears, and BUSY, DIR, ADDCODE
        self._received: int | None = None  # RXDR, if RXNE
        self._in_shift: int | None = None  # a byte that arrived while RXDR was full
        self._to_send: int | None = None  # TXDR, if not empty
        self._out_shift: int | None = None  # the byte that the controller clocks out
        self._receiving = self._transmitting = self._involved = False

    # Events on the wires

    def begin(self, address: int, reading: bool) -> bool:
        self._receiving = self._transmitting = False
        self._out_shift = None
        if not self._cr1 & self.PE or not self._connected():
            return False
        self._flags |= self.BUSY
        if not self._oar1 & self.OA1EN or self._oar1 >> 1 & 0x7F != address:
            return False
        self._involved = True
        self._receiving, self._transmitting = not reading, reading
        self._flags &= ~(self.DIR | 0x7F << self.ADDCODE_SHIFT)
        self._flags |= self.ADDR | address << self.ADDCODE_SHIFT | (self.DIR if reading else 0)
        return True

    def receive(self, byte: int) -> bool:
        if not self._receiving:
            return False
        if self._received is None:
            self._received = byte
        else:
            self._in_shift = byte
        return True

    def sending(self) -> int:
        return 0xFF if self._out_shift is None else self._out_shift

    def acked(self, ack: bool) -> None:
        if not self._transmitting:
            return
        self._out_shift = None
        if ack:
            self._load()
        else:
            self._transmitting = False
            self._flags |= self.NACKF

    def stop(self) -> None:
        self._flags &= ~self.BUSY
        self._receiving = self._transmitting = False
        if self._involved:
            self._involved = False
            self._flags |= self.STOPF

    def bus_error(self) -> None:
        """A START or STOP in the middle of a byte."""
        if self._involved:
            self._receiving = self._transmitting = False
            self._out_shift = None
            self._flags |= self.BERR

    @property
    def holds_scl(self) -> bool:
        return (
            bool(self._flags & self.ADDR)
            or self._in_shift is not None
            or (self._transmitting and self._out_shift is None)
        )

    def _load(self) -> None:
        """Move TXDR into the shift register when that is free."""
        ready = self._transmitting and not self._flags & self.ADDR
        if ready and self._out_shift is None and self._to_send is not None:
            self._out_shift, self._to_send = self._to_send, None

    # Registers

    def _isr(self) -> int:
        value = self._flags
        if self._received is not None:
            value |= self.RXNE
        if self._to_send is None:
            value |= self.TXE
            if self._transmitting and not self._flags & self.ADDR:
                value |= self.TXIS
        return value

    def read(self, offset: int) -> int:
        if offset == self.ISR:
            return self._isr()
        if offset == self.RXDR:
            byte = self._received or 0
            self._received, self._in_shift = self._in_shift, None
            return byte
        if offset == self.TXDR:
            return self._to_send or 0
        plain = {self.CR1: self._cr1, self.OAR1: self._oar1, self.TIMINGR: self._timingr}
        if offset not in (*plain, self.CR2, self.OAR2, self.ICR):
            raise NotModelled(f"I2C1 register 0x{offset:02X}")
        return plain.get(offset, 0)

    def write(self, offset: int, value: int) -> None:
        if offset == self.CR1:
            if value & ~self.CR1_MODELLED:
                raise NotModelled(f"I2C1 mode CR1 = 0x{value:X}")
            self._cr1 = value
            if not value & self.PE:
                self._let_go()
        elif offset == self.OAR1:
            if value & self.OA1MODE:
                raise NotModelled("I2C1 with a 10-bit address")
            self._oar1 = value
        elif offset == self.TIMINGR:
            self._timingr = value
        elif offset == self.ISR:
            if value & self.TXE and self._cr1 & self.PE:
                self._to_send = None
        elif offset == self.ICR:
            self._flags &= ~(value & self.CLEARED_BY_ICR)
            self._load()
        elif offset == self.TXDR:
            if self._cr1 & self.PE:
                self._to_send = value & 0xFF
                self._load()
        elif value or offset not in (self.CR2, self.OAR2, self.RXDR):
            raise NotModelled(f"I2C1 register 0x{offset:02X} = 0x{value:X}")
