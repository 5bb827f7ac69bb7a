"""Registers of a G0 or a C031 that a small application needs: ports, clocks, SysTick, reset.

Only the listed registers exist. Anything else raises `NotModelled`, so that an application never
runs on invented behaviour. Registers and bits: the RM0444 chapter named at each class; for the
core, the Armv6-M Architecture Reference Manual. The C031 has these registers and bits at the same
addresses [V CMSIS-C0, embassy's rcc_c0.yaml, nuttx's stm32c0_rcc.h]; its ports begin with the same
values, as does FLASH_ACR [D].
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple, Protocol


class Clock(NamedTuple):
    """What the core runs from after a reset. No other clock is modelled."""

    name: str
    hz: int
    rcc_cr: int  # RCC_CR after a reset


HSI16 = Clock("HSI16", 16_000_000, 0x500)  # G071; RM0444 "Clock control register (RCC_CR)"
# C031: divided by 4, and for the kernels of peripherals by 3 [V nuttx RCC_CR_RESET, HAL-C0].
HSI48_DIV4 = Clock("HSI48 / 4", 12_000_000, 0x1540)


class NotModelled(Exception):
    """The application uses something of the chip that is not simulated."""


class Peripheral(Protocol):
    def read(self, offset: int) -> int: ...

    def write(self, offset: int, value: int) -> None: ...


class Registers:
    """Plain registers that keep what is written to them."""

    def __init__(self, name: str, after_reset: dict[int, int]) -> None:
        self.name = name
        self._after_reset: Final = after_reset
        self._values = dict(after_reset)

    def reset(self) -> None:
        self._values = dict(self._after_reset)

    def read(self, offset: int) -> int:
        if offset not in self._values:
            raise NotModelled(f"{self.name} register 0x{offset:02X}")
        return self._values[offset]

    def write(self, offset: int, value: int) -> None:
        if offset not in self._values:
            raise NotModelled(f"{self.name} register 0x{offset:02X}")
        self._values[offset] = value


class FlashInterface(Registers):
    """RM0444 "Embedded flash memory (FLASH)": ACR only, of which only EMPTY has an effect."""

    ACR = 0x00
    AFTER_RESET = 0x0004_0600
    EMPTY = 1 << 16  # kept through system resets

    def __init__(self, empty: bool, on_empty: Callable[[bool], None]) -> None:
        """`on_empty` is called when the program changes the bit."""
        super().__init__("FLASH", {self.ACR: self.AFTER_RESET | (self.EMPTY if empty else 0)})
        self._on_empty = on_empty

    def write(self, offset: int, value: int) -> None:
        before = self.read(offset)
        super().write(offset, value)
        if (before ^ value) & self.EMPTY:
            self._on_empty(bool(value & self.EMPTY))


class Gpio(Registers):
    """One port. RM0444 "General-purpose I/Os (GPIO)". Inputs are not modelled (no IDR)."""

    MODER, OTYPER, OSPEEDR, PUPDR, ODR = 0x00, 0x04, 0x08, 0x0C, 0x14
    BSRR, AFRL, AFRH, BRR = 0x18, 0x20, 0x24, 0x28
    OUTPUT, ALTERNATE = 1, 2

    def __init__(self, name: str, moder: int, ospeedr: int, pupdr: int) -> None:
        plain = dict.fromkeys(
            (self.OTYPER, self.ODR, self.BSRR, self.AFRL, self.AFRH, self.BRR), 0
        )
        super().__init__(
            name, {**plain, self.MODER: moder, self.OSPEEDR: ospeedr, self.PUPDR: pupdr}
        )

    def write(self, offset: int, value: int) -> None:
        if offset == self.BSRR:  # a pin that is set and reset is set
            self._values[self.ODR] = self._values[self.ODR] & ~(value >> 16) | value & 0xFFFF
        elif offset == self.BRR:
            self._values[self.ODR] &= ~(value & 0xFFFF)
        elif offset == self.ODR:
            self._values[self.ODR] = value & 0xFFFF
        else:
            super().write(offset, value)

    def _mode(self, pin: int) -> int:
        return self._values[self.MODER] >> 2 * pin & 3

    def drives_high(self, pin: int) -> bool:
        return self._mode(pin) == self.OUTPUT and bool(self._values[self.ODR] >> pin & 1)

    def open_drain_alternate(self, pin: int, function: int) -> bool:
        functions = self._values[self.AFRL] | self._values[self.AFRH] << 32
        return (
            self._mode(pin) == self.ALTERNATE
            and functions >> 4 * pin & 0xF == function
            and bool(self._values[self.OTYPER] >> pin & 1)
        )


class SysTick:
    """Armv6-M "System timer, SysTick", polled. Computed in ns: the instant of each COUNTFLAG is
    known."""

    CSR, RVR, CVR = 0x10, 0x14, 0x18
    ENABLE, TICKINT, CLKSOURCE, COUNTFLAG = 1 << 0, 1 << 1, 1 << 2, 1 << 16

    def __init__(self, now: Callable[[], int], hz: int) -> None:
        """`hz`: of the processor clock."""
        self._now = now
        self._hz = hz
        self._csr = self._rvr = 0
        self._started = 0  # ns at which the counter began to count
        self._period = 0  # ns from one COUNTFLAG to the next; 0: it does not count
        self._noticed = 0  # how many flags the program has read or missed

    def flags_raised(self) -> int:
        """How often the counter has reached 0 since it began to count."""
        return (self._now() - self._started) // self._period if self._period else 0

    def next_flag(self) -> int | None:
        """The instant (ns) at which the counter will reach 0 next; None: never."""
        if not self._period:
            return None
        return self._started + (self.flags_raised() + 1) * self._period

    def _restart(self) -> None:
        divider = 1 if self._csr & self.CLKSOURCE else 8  # RM0444: the external clock is HCLK/8
        cycles = (self._rvr + 1) * divider if self._csr & self.ENABLE and self._rvr else 0
        self._period = cycles * 1_000_000_000 // self._hz
        self._started = self._now()
        self._noticed = 0

    def read(self, offset: int) -> int:
        if offset not in (self.CSR, self.RVR, self.CVR):
            raise NotModelled(f"the core register at 0x{0xE000_E000 + offset:08X}")
        if offset == self.CSR:
            raised = self.flags_raised()
            flag = self.COUNTFLAG if raised != self._noticed else 0
            self._noticed = raised
            return self._csr | flag
        if offset == self.RVR or not self._period:
            return self._rvr if offset == self.RVR else 0
        into_period = (self._now() - self._started) % self._period
        return self._rvr - into_period * (self._rvr + 1) // self._period

    def write(self, offset: int, value: int) -> None:
        if offset not in (self.CSR, self.RVR, self.CVR):
            raise NotModelled(f"the core register at 0x{0xE000_E000 + offset:08X}")
        if offset == self.CSR:
            if value & self.TICKINT:
                raise NotModelled("the SysTick interrupt")
            before, self._csr = self._csr, value & (self.ENABLE | self.CLKSOURCE)
            if self._csr != before:
                self._restart()
        elif offset == self.RVR:
            if self._csr & self.ENABLE and value != self._rvr:
                raise NotModelled("the SysTick reload value, changed while it counts,")
            self._rvr = value & 0xFFFFFF
        else:  # any write clears the counter and COUNTFLAG
            self._restart()


class Rcc(Registers):
    """RM0444 "Reset and clock control (RCC)": enables, resets, and a single clock."""

    CR, CFGR, IOPRSTR, APBRSTR1, APBRSTR2 = 0x00, 0x08, 0x24, 0x2C, 0x30
    IOPENR, AHBENR, APBENR1, APBENR2, CCIPR = 0x34, 0x38, 0x3C, 0x40, 0x54
    HSION_HSIRDY = 1 << 8 | 1 << 10
    CR_MODELLED = 1 << 8 | 1 << 9 | 1 << 10  # HSION, HSIKERON, HSIRDY; dividers must not change
    GPIOA, GPIOB, I2C1, SYSCFG = 1 << 0, 1 << 1, 1 << 21, 1 << 0

    def __init__(self, clock: Clock, resets: dict[tuple[int, int], Callable[[], None]]) -> None:
        zero = (
            self.CFGR, self.IOPRSTR, self.APBRSTR1, self.APBRSTR2,
            self.IOPENR, self.APBENR1, self.APBENR2, self.CCIPR,
        )  # fmt: skip
        super().__init__(
            "RCC", {**dict.fromkeys(zero, 0), self.CR: clock.rcc_cr, self.AHBENR: 0x100}
        )
        self._clock = clock
        self._resets = resets

    def write(self, offset: int, value: int) -> None:
        if offset == self.CR:
            if (value ^ self._clock.rcc_cr) & ~self.CR_MODELLED:
                raise NotModelled(f"a clock other than {self._clock.name} (RCC_CR = 0x{value:X})")
            value |= self.HSION_HSIRDY  # it cannot be switched off while the core runs from it
        if offset in (self.CFGR, self.CCIPR) and value:
            raise NotModelled(
                f"a clock other than {self._clock.name} "
                f"(RCC register 0x{offset:02X} = 0x{value:X})"
            )
        super().write(offset, value)
        for (register, bit), reset in self._resets.items():
            if register == offset and value & bit:
                reset()

    def on(self, register: int, bit: int) -> bool:
        return bool(self._values[register] & bit)


class SystemControl:
    """Armv6-M "System Control Block": VTOR and the reset request."""

    VTOR, AIRCR = 0x108, 0x10C  # from 0xE000EC00
    VECTKEY, SYSRESETREQ = 0x05FA, 1 << 2

    def __init__(self, request_reset: Callable[[], None]) -> None:
        self._request_reset = request_reset
        self._vtor = 0

    def read(self, offset: int) -> int:
        if offset == self.VTOR:
            return self._vtor
        if offset == self.AIRCR:
            return 0xFA05_0000
        raise NotModelled(f"the core register at 0x{0xE000_EC00 + offset:08X}")

    def write(self, offset: int, value: int) -> None:
        if offset == self.VTOR:
            self._vtor = value & 0xFFFF_FF00
        elif offset != self.AIRCR:
            raise NotModelled(f"the core register at 0x{0xE000_EC00 + offset:08X}")
        elif value >> 16 == self.VECTKEY and value & self.SYSRESETREQ:
            self._request_reset()
