"""The peripherals of a chip at their addresses, with their clock enables and resets.

A peripheral whose clock is not enabled reads 0 and ignores writes. Its clock starts after two
cycles (RM0444 "Peripheral clock enable"), so the next access must not go to it; the effect is not
known, and such an access is refused. Addresses: RM0444 "Memory map and register boundary
addresses"; the same in CMSIS-C0.

Of the families without an entry in CLOCKS only the core's reset request is modelled, and FLASH_ACR
if it has the EMPTY flag: enough for code in RAM that corrects the flag.
"""

from __future__ import annotations

from collections.abc import Callable

from stm32sim.chip.families import FAMILIES, G071, Family, family_of
from stm32sim.chip.i2c_target import I2CTarget
from stm32sim.chip.registers import (
    HSI16,
    HSI48_DIV4,
    Clock,
    FlashInterface,
    Gpio,
    NotModelled,
    Peripheral,
    Rcc,
    Registers,
    SystemControl,
    SysTick,
)

# The families whose applications can be executed. RM0444 describes all of G0x1 together, and
# CMSIS-G0 has these registers at the same addresses in each G0; PB6 and PB7 have I2C1 as AF6 [D].
CLOCKS: dict[int, Clock] = {
    **{family.product_id: HSI16 for family in FAMILIES if family.parts.startswith("G0")},
    family_of("STM32C031C6").product_id: HSI48_DIV4,
}


class Peripherals:
    """Everything that the program can access except its memories."""

    PAGE = 0x1000
    LED_PIN = 5  # of port A: LD4 on the NUCLEO-G071RB (UM2324 "LEDs") and -C031C6 (Zephyr)

    def __init__(
        self,
        now: Callable[[], int],
        request_reset: Callable[[], None],
        map_at_zero: Callable[[bool], None],
        empty_flag: bool,
        on_empty_flag: Callable[[bool], None],
        family: Family = G071,
    ) -> None:
        """`now`: ns of the program; `map_at_zero(True)`: system memory instead of flash at address
        0; `empty_flag`: EMPTY in FLASH_ACR at the start, and `on_empty_flag` when it changes."""
        self.gpioa = Gpio("GPIOA", 0xEBFF_FFFF, 0x0C00_0000, 0x2400_0000)
        self.gpiob = Gpio("GPIOB", 0xFFFF_FFFF, 0, 0)
        self.i2c = I2CTarget(self._i2c_pins_connected)
        self.clock = CLOCKS.get(family.product_id, HSI16)
        self.systick = SysTick(now, self.clock.hz)
        self.rcc = Rcc(
            self.clock,
            {
                (Rcc.IOPRSTR, Rcc.GPIOA): self.gpioa.reset,
                (Rcc.IOPRSTR, Rcc.GPIOB): self.gpiob.reset,
                (Rcc.APBRSTR1, Rcc.I2C1): self.i2c.reset,
            },
        )
        self.changes = 0  # counts accesses that may have changed the state of a peripheral
        self.led_toggles = 0
        self._map_at_zero = map_at_zero
        self._syscfg = Registers("SYSCFG", {0x00: 0})  # CFGR1
        self._flash = FlashInterface(empty_flag, on_empty_flag)
        self._led = False
        self._starting: set[tuple[int, int]] = set()  # clocks enabled by the last access
        scb = SystemControl(request_reset)
        # the first address of each 1 KB, its peripheral, and where its clock is enabled
        self._map: dict[int, tuple[Peripheral, tuple[int, int] | None]] = {
            0xE000_E000: (self.systick, None),
            0xE000_EC00: (scb, None),
            0x4000_5400: (self.i2c, (Rcc.APBENR1, Rcc.I2C1)),
            0x4001_0000: (self._syscfg, (Rcc.APBENR2, Rcc.SYSCFG)),
            0x4002_1000: (self.rcc, None),
            0x4002_2000: (self._flash, None),
            0x5000_0000: (self.gpioa, (Rcc.IOPENR, Rcc.GPIOA)),
            0x5000_0400: (self.gpiob, (Rcc.IOPENR, Rcc.GPIOB)),
        }
        if family.product_id not in CLOCKS:
            known = {0xE000_EC00, *({0x4002_2000} if family.empty_in_acr else ())}
            self._map = {first: self._map[first] for first in known}

    @property
    def pages(self) -> list[int]:
        """The 4 KB pages with peripherals in them."""
        return sorted({first & ~(self.PAGE - 1) for first in self._map})

    @property
    def led(self) -> bool:
        return self._led

    def _i2c_pins_connected(self) -> bool:
        """PB6 and PB7, AF6; DS12232 "Port B alternate function mapping", for the C031 CubeMX."""
        return all(self.gpiob.open_drain_alternate(pin, 6) for pin in (6, 7))

    def _find(self, address: int) -> tuple[Peripheral, int, bool]:
        offset = address & 0x3FF
        found = self._map.get(address - offset)
        if found is None:
            raise NotModelled(f"the peripheral at 0x{address:08X}")
        peripheral, clock = found
        if clock in self._starting:
            raise NotModelled(f"0x{address:08X} accessed right after its clock was enabled")
        self._starting.clear()
        return peripheral, offset, clock is None or self.rcc.on(*clock)

    def _clocks_off(self) -> set[tuple[int, int]]:
        return {clock for _, clock in self._map.values() if clock and not self.rcc.on(*clock)}

    def read(self, address: int) -> int:
        peripheral, offset, clocked = self._find(address)
        if not clocked:
            return 0
        value = peripheral.read(offset)
        if peripheral is self.systick:
            # reading COUNTFLAG clears it, and the counter always changes
            if offset == SysTick.CVR or value & SysTick.COUNTFLAG:
                self.changes += 1
        elif peripheral is self.i2c and offset == I2CTarget.RXDR:
            self.changes += 1
        return value

    def write(self, address: int, value: int) -> None:
        peripheral, offset, clocked = self._find(address)
        if not clocked:
            return
        self.changes += 1
        if peripheral is self.rcc:
            off = self._clocks_off()
            peripheral.write(offset, value)
            self._starting = off - self._clocks_off()
        else:
            peripheral.write(offset, value)
        if peripheral is self._syscfg:
            self._map_at_zero(value & 3 == 1)  # MEM_MODE; RM0444 "SYSCFG configuration register 1"
        if peripheral in (self.gpioa, self.rcc):
            lit = self.gpioa.drives_high(self.LED_PIN)
            self.led_toggles += lit != self._led
            self._led = lit
