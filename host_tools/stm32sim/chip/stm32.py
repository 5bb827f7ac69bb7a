"""A whole STM32: supply, NRST, BOOT0, what it boots, and what answers on its I2C pins and on its
USART, if the family's row says how its loader uses one.

Evidence: RM0490 table 9 and sections 3.1, 4.5 (same boot logic), AN2606 table 2 pattern 11 and
48.3.1, AN2606 table 227 for start-up.
"""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum

from stm32sim.chip.application import Application, ApplicationFactory, KnownImages
from stm32sim.chip.cortex_m import EmulatedApplication
from stm32sim.chip.families import G071, Family
from stm32sim.chip.flash import (
    ERASED_BYTE,
    FLASH_START,
    GRANULE,
    SLOWEST,
    TYPICAL,
    Cell,
    Flash,
    FlashTimes,
)
from stm32sim.chip.i2c_loader import I2CLoader
from stm32sim.chip.loader import SYSTEM_MEMORY_START, Loader
from stm32sim.chip.loader_steps import Memory
from stm32sim.chip.option_bytes import LOCKED, OPTION_LENGTH, OPTION_START, OptionBytes
from stm32sim.chip.polled_usart import Usart
from stm32sim.chip.quirks import Quirks
from stm32sim.chip.uart_loader import UartLoader
from stm32sim.wires.bus import NOT_DRIVEN
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Clock

LEAST_START_UP = 390 * NS_PER_US  # G0, reset to listening: AN2606 table 227, a minimum
START_UP = 3 * NS_PER_MS  # a part may need this long; hosts in the field wait 20 ms and more [D]
# If the supply is off for less than this, its voltage does not fall to 0 because of capacitors and
# currents from host pins [D]. The core is reset and RAM is lost, but without a power-on reset
# [strict].
DISCHARGE = 50 * NS_PER_MS
RAM_START, RAM_SIZE = 0x2000_0000, G071.ram  # SRAM with parity off: RM0444 ch. 2
RESET_VECTOR, NMI_VECTOR = 0x04, 0x08  # offsets in the vector table: PM0223 section 2.3.4
BOOT_FAILURES = 1 / 4  # the share of failing power-ons with Quirks.may_fail_to_boot [D]
OTP_START, OTP_LENGTH = 0x1FFF_7000, 1024  # RM0444 p. 69
ENGINEERING_LENGTH = 0x300  # from 0x1FFF_7500 on a G0: RM0444 p. 69
FLASH_SIZE_OFFSET, UNIQUE_ID_OFFSET = 0xE0, 0x90  # in it: CMSIS-G0
DBANK, BFB2 = 1 << 22, 1 << 20  # in OPTR of G4 [V CMSIS-G4] and L4+ [R]


class NotModelled(Exception):
    """A host used something that this simulator cannot answer correctly."""


class Running(Enum):
    """What the chip is doing."""

    OFF = "off"
    RESET = "reset"  # held in reset by NRST or a low supply, or starting up
    LOADER = "loader"
    APPLICATION = "application"
    RAM = "code in RAM"  # started by Go
    CRASHED = "crashed"  # fetched something that is not an application, or HardFault in the loader
    LOCKED = "locked"  # option bytes torn: main flash forced and protected, debug port closed


@dataclass(frozen=True)
class Boot:
    """One entry of the chip's history: what began to run, and when."""

    instant: int  # ns
    running: Running
    flash: bytes | None = None  # for an application: the content of main flash at that time
    reason: str = ""
    # It crashed, but after executing at least one instruction of an incomplete application.
    ran_partial_application: bool = False
    # It crashed in a complete application that was entered through the vector of a torn granule.
    by_wrong_door: bool = False


class Stm32:
    """An STM32, a device on a bus. Drive its pins with `power`, `nrst`, `boot0`.

    What is stated above is for a G0; other families boot alike as far as this model goes: by the
    BOOT0 pin and the EMPTY flag [D]. `numbering`: one of families.NUMBERINGS. `start_up` of the
    loader; None: 3 ms for a G0, as long more than AN2606 says for others."""

    def __init__(
        self,
        clock: Clock,
        *,
        family: Family = G071,
        quirks: Quirks | None = None,
        flash_size: int | None = None,  # that of the largest part
        numbering: str = "linear",
        times: FlashTimes = TYPICAL,
        applications: ApplicationFactory | None = None,
        engineering_area_readable: bool = False,  # not documented for the G071: refused by default
        start_up: int | None = None,  # ns
    ) -> None:
        self.clock = clock
        self.family = family
        self._numbering = numbering
        self.quirks = quirks or family.quirks()
        self.unique_id = b"simulated-71"  # 12 bytes
        if start_up is None:
            start_up = START_UP if family is G071 else START_UP + family.start_up
        self.start_up = start_up
        flash_size = flash_size or family.largest
        if self.quirks.does_not_wait_for_erase:  # so the host must wait
            times = replace(times, page_erase=max(times.page_erase, SLOWEST.page_erase))
        self.flash = Flash(clock, flash_size, times, family.page)
        self.option_bytes = OptionBytes()
        self.options = self.option_bytes.load()
        self.applications = applications or KnownImages(())
        self._memories = [
            Memory("flash", FLASH_START, FLASH_START + flash_size),
            Memory("ram", family.loader_ram_end, RAM_START + family.ram),
            Memory("system", SYSTEM_MEMORY_START, family.system_end),
            Memory("otp", OTP_START, OTP_START + OTP_LENGTH),
        ]
        if family.second_system:
            self._memories.append(Memory("system", *family.second_system))
        if family.has_options:
            area = Memory("options", OPTION_START, OPTION_START + OPTION_LENGTH)
            self._memories.append(area)
        if family.dbank is not None:
            self._memories.append(Memory("optr", OPTION_START, OPTION_START + 8))
        if engineering_area_readable:
            start = family.flash_size_address - FLASH_SIZE_OFFSET
            self._memories.append(Memory("engineering", start, start + ENGINEERING_LENGTH))
        self._noise = random.Random(0)
        self._ram = bytearray(family.ram)
        self._written = bytearray(family.ram)  # 1 where a loader wrote since power-on
        self._noisy = 0  # power-ons since RAM was last looked at
        self.running = Running.OFF
        self._discharged_at = 0  # ns
        self._empty_flag = False
        self._fails_to_boot = False  # until the next power-on
        self.supply_mv = 3300  # while the supply is on
        self.debugger_seen = False  # an SWD access since power-on forces BOOT0 to 0
        self._flash_shut = False  # level 1 was entered since power-on: reading flash is a fault
        self.boots: list[Boot] = []
        self._nrst_high = True
        self._boot0_high = False
        self.usart = Usart(clock)
        self._occupant: Loader | Application | None = None
        self._on_bus: I2CLoader | Application | None = None  # the same, if it uses I2C
        self.resets = 0  # how often running code was stopped; an old start-up sees it

    # --- supply and pins ---

    def power(self, on: bool) -> None:
        """Switch the supply. Off: RAM is lost and a flash operation is torn. On again after
        DISCHARGE: a power-on reset; earlier: a brown-out, which keeps everything that only a
        power-on reset clears."""
        if on == (self.running is not Running.OFF):
            return
        self._stop()
        self.running = Running.OFF
        if not on:
            self._discharged_at = self.clock.now + DISCHARGE
            return
        self._noisy += 1
        self._written = bytearray(self.family.ram)
        self.flash.power_on()
        if self.clock.now >= self._discharged_at:
            self.debugger_seen = self._flash_shut = False
            self._load_options()
            erratum = self.quirks.may_fail_to_boot and self.options.boot0_from_pin
            at_risk = erratum and self.options.rdp_level == 1
            self._fails_to_boot = at_risk and self.flash.randomness.random() < BOOT_FAILURES
        self._reset()

    def nrst(self, high: bool) -> None:
        """Drive or release NRST; its rising edge starts the chip."""
        if high == self._nrst_high:
            return
        self._nrst_high = high
        if self.running is not Running.OFF:
            self._reset()

    @property
    def nrst_high(self) -> bool:
        """Whether NRST is high: nothing drives it low, and the supply is on [D]."""
        return self._nrst_high and self.running is not Running.OFF

    def boot0(self, high: bool) -> None:
        """Drive BOOT0, shared with SWCLK (PA14); sampled when a reset ends."""
        self._boot0_high = high

    def attach_debugger(self) -> bool:
        """An ST-LINK connects over SWD; return whether the chip answers. If so, BOOT0 is forced
        low until the next power-on [V RM0490 3.1]."""
        if not self.debug_port_open:
            return False
        self.debugger_seen = True
        return True

    @property
    def bricked(self) -> bool:
        """Whether the option bytes are torn: after the next reset or power-on nothing answers, and
        nothing can write them again [V RM0444 p. 90]."""
        return self.option_bytes.torn

    @property
    def debug_port_open(self) -> bool:
        """Whether SWD answers: never at level 2 [V RM0490 4.5], nor at level 1 together with
        BOOT_LOCK, the state of torn option bytes [R]."""
        if self.running is Running.OFF or self.options.rdp_level == 2:
            return False
        return not (self.options.rdp_level == 1 and self.options.boot_lock)

    # --- resets and their effects ---

    def system_reset(self) -> None:
        """An internal reset (watchdog, SYSRESETREQ, the loader's timeout)."""
        self._reset()

    def start_options(self, values: Mapping[int, int], longer: int = 0) -> bool:
        """OPTSTRT, as Flash.start_options; at level 2 nothing can be changed [V RM0490 4.5]."""
        if not self.family.has_options:
            raise NotModelled("writing option bytes that are not laid out as a G0's")
        if self.rdp_level == 2:
            return False
        return self.flash.start_options(self.option_bytes, values, longer)

    def launch_options(self) -> None:
        """OBL_LAUNCH: option bytes are loaded and the chip is reset [V RM0490].

        If this activates readout protection, the part needs a power-on: until then every read of
        flash data is a fault [V RM0490, for level 1; D for 2]."""
        self._stop()
        was_open = self.rdp_level == 0
        self._load_options()
        self._flash_shut |= was_open and self.rdp_level != 0
        self._reset()

    def page_of(self, number: int) -> int | None:
        """The page that a number in an erase command means; None: none."""
        return self.family.page_of(number, self.flash.pages, self._numbering)

    def hard_fault(self) -> None:
        """HardFault of the loader: until an external reset it does nothing and does not
        acknowledge its address [loaders V13.0 of the G0B0 and V9.2 of the G0B1 were seen to do
        so]."""
        self._crash("HardFault in the loader")

    def enter_system_memory(self) -> None:
        """The application jumps into the loader, which starts up as after a reset [D]."""
        self._evict()
        self.running = Running.RESET
        self._unless_reset(self.start_up, self._start_loader)

    def deafen(self) -> None:
        """The loader saw a third interface first: it does nothing on the others, and does not
        reset itself [V AN2606]."""
        if isinstance(self._occupant, Loader):
            self._leave()

    def refuse_next(self) -> None:
        """Replace the loader's next ACK by a NACK."""
        if isinstance(self._occupant, Loader):
            self._occupant.refuses = True

    @property
    def application(self) -> Application | None:
        """The application that runs from main flash, if any."""
        occupant = self._occupant if self.running is Running.APPLICATION else None
        return None if isinstance(occupant, Loader) else occupant

    @property
    def empty_flag(self) -> bool:
        """EMPTY in FLASH_ACR: the boot logic considers main flash empty."""
        return self._empty_flag

    def set_empty_flag(self, value: bool) -> None:
        """Set EMPTY by software; system resets keep it [V COLDCARD,
        HAL_FLASHEx_ForceFlashEmpty]."""
        self._empty_flag = value

    def jump(self, address: int) -> None:
        """Go: the word at `address` becomes SP, the next one the program counter, without
        checks."""
        memory = self.memory_at(address)
        if address == FLASH_START:
            self._start_main_flash("Go")
        elif memory is not None and memory.name == "ram" and address % 4 == 0:
            self._start_ram(address)
        else:
            self._crash(f"Go to {address:#010x}, where no application is known to be")

    def _stop(self) -> None:
        """Stop the running code; a current flash operation is torn."""
        self._evict()
        self.flash.interrupt()

    def _evict(self) -> None:
        self.resets += 1
        self._leave()

    def _leave(self) -> None:
        self.usart.off()
        if self._occupant is not None:
            self._occupant.halt()
            self._occupant = self._on_bus = None

    def _reset(self) -> None:
        self._stop()
        self.running = Running.RESET
        if not self.option_bytes.load().valid:
            self.options = LOCKED  # "at next reset", not only at power-on [V RM0444 p. 90]
        if self._nrst_high and self.supply_mv >= self.options.least_supply_mv:
            boot0 = self._boot0_high and not self.debugger_seen  # sampled now
            self._unless_reset(self._boot_time, lambda: self._boot(boot0))

    @property
    def _boot_time(self) -> int:
        """From reset to the choice of a boot area: only a loader takes longer to start up."""
        return min(self.start_up, START_UP)

    def _unless_reset(self, delay: int, action: Callable[[], None]) -> None:
        """Act after so many ns, unless there is a reset before."""
        resets = self.resets
        self.clock.after(delay, lambda: action() if resets == self.resets else None)

    def _load_options(self) -> None:
        """At power-on and option launch: options take effect, and the EMPTY flag is set or
        cleared.

        A torn first granule counts as written: the chip then crashes instead of starting the
        loader [strict]."""
        self.options = self.option_bytes.load()
        beyond = self.options.beyond_this_model()
        if beyond is not None:
            raise NotModelled(f"option bytes ask for {beyond}")
        self.flash.write_protected = self.options.protected_pages(self.flash.pages)
        blank = all(byte == ERASED_BYTE for byte in self.flash.data[:4])
        self._empty_flag = blank and self.flash.cells[0] != Cell.TORN

    def _boot(self, boot0: bool) -> None:
        """The boot table [V RM0490 table 9]; level 2 never boots system memory [V AN2606]."""
        options = self.options
        if self._fails_to_boot:
            self._crash("failed to boot at power-on")
            return
        if not options.valid:
            self.running = Running.LOCKED
            self._note(Running.LOCKED, "option bytes torn")
            return
        main_flash = not boot0 if options.boot0_from_pin else options.nboot0
        forced = options.boot_lock or options.rdp_level == 2
        if forced or (main_flash and not self.empty_flag):
            self._start_main_flash("reset")
        elif main_flash or options.nboot1:
            self._unless_reset(self.start_up - self._boot_time, self._start_loader)
        else:
            self._crash("boots from SRAM")

    def _start_loader(self) -> None:
        self._evict()
        self.running = Running.LOADER
        self._note(Running.LOADER)
        self._occupant = self._on_bus = I2CLoader(self, self.quirks)
        uart = self.family.uart
        if uart is not None:
            self.usart.detect(uart.fastest, lambda: self._choose_uart(uart.connection))
        if self.quirks.deaf:
            self.deafen()

    def _choose_uart(self, connection: int) -> None:
        """The loader saw 0x7F first: I2C is dead until the next reset [V AN2606]."""
        assert self._occupant is not None
        self._occupant.halt()
        self._on_bus = None
        self._occupant = UartLoader(self, self.quirks, connection)

    def _start_main_flash(self, reason: str) -> None:
        self._evict()
        self._written = bytearray(self.family.ram)  # an application uses RAM as it likes
        content = self._fetched()
        if self._flash_shut:
            self._crash(f"readout protection is new and needs a power-on ({reason})")
            return
        torn = self.flash.cells[0] == Cell.TORN  # it has stack pointer and reset vector
        application = None if torn else self.applications(content, self)
        if application is None:
            executes, whole = self._executes(torn, content), self._holds_a_whole_one(torn, content)
            told = f"no sound application in main flash ({reason})"
            self._crash(told, executes and not whole, executes and whole)
            return
        self.running = Running.APPLICATION
        self._occupant = self._on_bus = application
        self.boots.append(Boot(self.clock.now, Running.APPLICATION, content, reason))

    def _start_ram(self, address: int) -> None:
        """Execute what a loader has written to RAM, and nothing else."""
        self._evict()
        program = EmulatedApplication(
            self.clock,
            self._fetched(),
            ram=self.ram,
            family=self.family,
            vectors=address,
            written=self._written,
            empty_flag=self.empty_flag,
            on_enter_system_memory=self.enter_system_memory,
            on_reset=self.system_reset,
            on_empty_flag=self.set_empty_flag,
            on_fault=lambda reason: self._crash(f"code in RAM: {reason}"),
        )
        if program.fault:
            self._crash(f"code in RAM: {program.fault}")
            return
        self.running = Running.RAM
        self._occupant = self._on_bus = program
        self._note(Running.RAM, "Go")

    def _executes(self, torn: bool, content: bytes) -> bool:
        """Whether the core executes a first instruction.

        Reading the reset vector from a torn granule causes an NMI, whose vector is in the next
        granule. A fault there is a lockup, as is a vector without the Thumb bit or to an unmapped
        address (Armv6-M Architecture Reference Manual, B1.5.5; strict: the value of SP does not
        matter)."""
        if torn and self.flash.cells[1] == Cell.TORN:
            return False
        vector = NMI_VECTOR if torn else RESET_VECTOR
        entry = int.from_bytes(content[vector : vector + 4], "little")
        return bool(entry & 1) and FLASH_START <= entry < FLASH_START + len(content)

    def _holds_a_whole_one(self, torn: bool, content: bytes) -> bool:
        """Whether a known image is complete behind the vector that led into it: execution begins
        at a wrong address, but no code is missing. Unknown code may do anything [strict]."""
        known = self.applications
        behind = 2 * GRANULE if torn else GRANULE  # NMI_VECTOR is in the second one
        return isinstance(known, KnownImages) and known.whole_from(behind, content)

    def _fetched(self) -> bytes:
        """Main flash as a program sees it. A torn granule may hold the right bytes, but fetching
        it is an NMI, so its bits are inverted here and never look sound."""
        if Cell.TORN not in self.flash.cells:
            return bytes(self.flash.data)
        content = bytearray(self.flash.data)
        for index, cell in enumerate(self.flash.cells):
            if cell == Cell.TORN:
                start = index * GRANULE
                granule = content[start : start + GRANULE]
                content[start : start + GRANULE] = bytes(byte ^ 0xFF for byte in granule)
        return bytes(content)

    def _crash(self, reason: str, partial: bool = False, by_wrong_door: bool = False) -> None:
        self._evict()
        self.running = Running.CRASHED
        boot = Boot(self.clock.now, Running.CRASHED, None, reason, partial, by_wrong_door)
        self.boots.append(boot)

    def _note(self, running: Running, reason: str = "") -> None:
        self.boots.append(Boot(self.clock.now, running, None, reason))

    # --- memory as the loader sees it ---

    @property
    def rdp_level(self) -> int:
        return self.options.rdp_level

    @property
    def flash_readable(self) -> bool:
        """At level 1, code in system memory gets a bus error from flash [V RM0490 4.5]. If that
        level was entered since the last power-on, this lasts until the next one [V; strict: even
        back at level 0]."""
        return self.rdp_level == 0 and not self._flash_shut

    def memory_at(self, address: int) -> Memory | None:
        """The memory that contains `address`; None if the loader refuses it: peripherals, its own
        RAM, gaps [V AN2606 tables 5 and 226]."""
        for memory in self._memories:
            if memory.start <= address < memory.end:
                return memory
        return None

    def peek(self, address: int, length: int) -> bytes:
        """Bytes inside one memory; EccError from a torn granule."""
        memory = self.memory_at(address)
        if memory is None or address + length > memory.end:
            raise ValueError(f"{length} bytes at {address:#010x} are in no memory")
        start = address - memory.start
        if memory.name == "flash":
            return self.flash.read(start, length)
        if memory.name == "ram":
            start = address - RAM_START
            return bytes(self.ram[start : start + length])
        if memory.name == "options":
            return bytes(self.option_bytes.data[start : start + length])
        if memory.name == "otp":
            return bytes([ERASED_BYTE]) * length
        if memory.name == "system":
            return bytes(
                self.quirks.id_byte if at == self.family.loader_id_address else NOT_DRIVEN
                for at in range(address, address + length)
            )
        if memory.name == "optr":
            optr = DBANK * bool(self.family.dbank) | BFB2 * self.family.bfb2
            return struct.pack("<II", optr, optr ^ 0xFFFF_FFFF)[start : start + length]
        return self._engineering()[start : start + length]

    def _engineering(self) -> bytes:
        area = bytearray(b"\xff" * ENGINEERING_LENGTH)
        size = (self.flash.size // 1024).to_bytes(2, "little")
        area[FLASH_SIZE_OFFSET : FLASH_SIZE_OFFSET + 2] = size
        area[UNIQUE_ID_OFFSET : UNIQUE_ID_OFFSET + 12] = self.unique_id
        return bytes(area)

    @property
    def ram(self) -> bytearray:
        """The content of SRAM. Noise of a power-on is made when it is looked at, as most runs
        never do."""
        while self._noisy:
            self._noisy -= 1
            self._ram[:] = self._noise.randbytes(self.family.ram)
        return self._ram

    def poke_ram(self, address: int, data: bytes) -> None:
        start = address - RAM_START
        self.ram[start : start + len(data)] = data
        self._written[start : start + len(data)] = b"\1" * len(data)

    @property
    def led(self) -> bool | None:
        """The level of PA5 from the application; None in reset and in the loader, where it is not
        driven."""
        application = self.application
        return None if application is None else application.led

    # --- on the bus: the running code answers ---

    def start(self, address: int, reading: bool) -> bool:
        return self._on_bus is not None and self._on_bus.start(address, reading)

    def write(self, byte: int) -> bool:
        return self._on_bus is not None and self._on_bus.write(byte)

    def read(self) -> int:
        return NOT_DRIVEN if self._on_bus is None else self._on_bus.read()

    def ready_to_take(self) -> int:
        return self._on_bus.ready_to_take() if isinstance(self._on_bus, I2CLoader) else 0

    def take(self, data: bytes) -> None:
        assert isinstance(self._on_bus, I2CLoader)
        self._on_bus.take(data)

    def ready_to_give(self) -> int:
        return self._on_bus.ready_to_give() if isinstance(self._on_bus, I2CLoader) else 0

    def give(self, count: int) -> bytes:
        assert isinstance(self._on_bus, I2CLoader)
        return self._on_bus.give(count)

    def takes_frame(self, address: int, length: int) -> bool:
        device = self._on_bus
        return isinstance(device, I2CLoader) and device.takes_frame(address, length)

    def take_frame(self, data: bytes) -> None:
        assert isinstance(self._on_bus, I2CLoader)
        self._on_bus.take_frame(data)

    def gives_frame(self, address: int, length: int) -> bool:
        device = self._on_bus
        return isinstance(device, I2CLoader) and device.gives_frame(address, length)

    def give_frame(self) -> bytes:
        assert isinstance(self._on_bus, I2CLoader)
        return self._on_bus.give_frame()

    def acked(self, ack: bool) -> None:
        if self._on_bus is not None:
            self._on_bus.acked(ack)

    def stop(self) -> None:
        if self._on_bus is not None:
            self._on_bus.stop()

    def holding_scl(self) -> bool:
        return self._on_bus is not None and self._on_bus.holding_scl()
