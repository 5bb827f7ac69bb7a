"""Runs a program in the simulated STM32: machine code in flash or RAM, executed by Unicorn.

How time passes. Each halfword of code takes 1.5 cycles on the program's own clock, which is
separate from the clock of the world and catches up with it
- at each event on the bus, before the program can notice it,
- by alarms: `SLICE` after the last event, and from then on `SLICE` after each tick of SysTick.
So the program usually lags behind the world by less than a slice, which is not visible. Only while
the I2C peripheral holds SCL does the program run ahead, up to the instruction that releases SCL;
the world reaches that instant by an alarm. Nothing can happen on the bus in between.

How time is skipped. At the head of a loop the whole state of the machine (registers, RAM,
peripherals) is compared with that of the previous pass. If nothing differs and no SysTick flag was
set in between, a deterministic processor repeats the same loop until a flag or an event on the
bus: it is settled, and its time jumps there. To find the head of a loop, the current block becomes
the head after 32, 64, 128... blocks without success. A program that never settles (because it
counts its loops, for example) gets `BLOCKS_PER_EVENT` after each event and `BLOCKS_PER_SLICE`
otherwise: it runs too slowly when nothing happens, but never too fast, and needs little time.

Differences to silicon: a fault ends the program permanently (a Cortex-M would enter HardFault, and
the application might reset itself); no interrupts, no WFI (a polled program needs neither);
Unicorn has no Cortex-M0+, so it is a Cortex-M0 with VTOR; an unaligned access to memory is not
detected; the flash model handles ECC and decides whether the application is started. If a memory
is no multiple of 4 KB, its end is missing.

A program that Go starts in RAM may execute only what the loader has written there since power-on
[strict].
"""

# mypy: allow-untyped-calls
# (Unicorn's own annotations are incomplete)

from __future__ import annotations

import ctypes
import struct
from collections.abc import Callable

from unicorn import (  # type: ignore[attr-defined]  # Uc is not in its __all__
    UC_ARCH_ARM,
    UC_ERR_EXCEPTION,
    UC_ERR_INSN_INVALID,
    UC_HOOK_BLOCK,
    UC_HOOK_INTR,
    UC_HOOK_MEM_INVALID,
    UC_MEM_FETCH,
    UC_MEM_FETCH_PROT,
    UC_MEM_FETCH_UNMAPPED,
    UC_MEM_WRITE_PROT,
    UC_MEM_WRITE_UNMAPPED,
    UC_MODE_MCLASS,
    UC_MODE_THUMB,
    UC_PROT_EXEC,
    UC_PROT_READ,
    UC_PROT_WRITE,
    Uc,
    UcError,
)
from unicorn.arm_const import UC_ARM_REG_PC, UC_ARM_REG_SP, UC_CPU_ARM_CORTEX_M0

from stm32sim.chip.application import Surroundings
from stm32sim.chip.families import G071, Family
from stm32sim.chip.peripherals import Peripherals
from stm32sim.chip.registers import NotModelled
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Alarm, Clock

HALFWORD_CYCLES = 1.5  # most instructions take 1, loads, stores and branches 2
SLICE = 20 * NS_PER_US  # how far the program may lag behind the world
AHEAD = NS_PER_MS  # how far it runs ahead at once while it holds SCL
BLOCKS_AT_START = 20_000  # enough to copy .data and clear 36 KB of .bss
BLOCKS_PER_EVENT = 5_000
BLOCKS_PER_SLICE = 50
FIRST_LAP = 32

# RM0444 "Memory organization", "Memory map and register boundary addresses"
FLASH, SRAM, SYSTEM_MEMORY = 0x0800_0000, 0x2000_0000, 0x1FFF_0000
# The real words are not published. Any stack in SRAM and any entry in system memory work here.
SYSTEM_MEMORY_VECTORS = struct.pack("<II", 0x2000_1000, SYSTEM_MEMORY + 0x101)

_MAPPABLE = 0x1000  # Unicorn's unit

_NEVER = 0xF000_0000  # Unicorn needs an address to stop at
_ACCESS = {
    UC_MEM_FETCH: "instruction fetch",
    UC_MEM_FETCH_PROT: "instruction fetch",
    UC_MEM_FETCH_UNMAPPED: "instruction fetch",
    UC_MEM_WRITE_PROT: "write",
    UC_MEM_WRITE_UNMAPPED: "write",
}
_EXCEPTION = {  # QEMU's numbers
    2: "SVC",
    3: "instruction fetch from nowhere",
    7: "BKPT",
    17: "undefined instruction",
    18: "a jump to code that is not Thumb",
}


def _memory(content: bytes) -> ctypes.Array[ctypes.c_char]:
    size = len(content) // _MAPPABLE * _MAPPABLE
    return ctypes.create_string_buffer(content[:size], size)


def emulated(
    flash: bytes,
    surroundings: Surroundings,
    on_fault: Callable[[str], None] = lambda reason: None,
) -> EmulatedApplication | None:
    """An ApplicationFactory: main flash is executed, instruction by instruction. `on_fault` is
    called once if the application ends by a fault."""
    application = EmulatedApplication(
        surroundings.clock,
        flash,
        family=surroundings.family,
        ram=surroundings.ram,
        empty_flag=surroundings.empty_flag,
        on_enter_system_memory=surroundings.enter_system_memory,
        on_reset=surroundings.system_reset,
        on_empty_flag=surroundings.set_empty_flag,
        on_fault=on_fault,
    )
    if application.fault:
        on_fault(application.fault)
        return None
    return application


class EmulatedApplication:
    """The program after a reset into main flash, or after Go to `vectors` in RAM. An I2CDevice
    (see bus.py) that starts at once.

    `flash` is the whole main flash, `ram` the initial content of SRAM. `on_enter_system_memory` is
    called once when the program jumps into the loader, `on_reset` once when it requests a reset;
    then it ends, as after a fault or `halt()`. `empty_flag` is the initial EMPTY in FLASH_ACR;
    `on_empty_flag` is called at once when it changes that bit, `on_fault` once after a fault.
    `written`: for each byte of RAM whether it may be executed; None: all of them.
    """

    def __init__(
        self,
        clock: Clock,
        flash: bytes,
        *,
        ram: bytes | bytearray,
        family: Family = G071,
        vectors: int = FLASH,
        written: bytes | bytearray | None = None,
        empty_flag: bool = False,
        on_enter_system_memory: Callable[[], None],
        on_reset: Callable[[], None],
        on_empty_flag: Callable[[bool], None],
        on_fault: Callable[[str], None] = lambda reason: None,
    ) -> None:
        if not flash or len(flash) > family.largest or len(flash) % _MAPPABLE:
            raise ValueError(f"no {family.parts} has {len(flash)} bytes of main flash")
        self.fault: str | None = None
        self._clock = clock
        self._now = clock.now  # ns; how far the program has run
        self._on_enter_system_memory = on_enter_system_memory
        self._on_reset = on_reset
        self._on_fault = on_fault
        self._written = written
        self._ending: Callable[[], None] | None = None  # what ended it; None while it runs
        self._bad_access = ""
        self.peripherals = Peripherals(
            lambda: self._now,
            self._request_reset,
            self._map_at_zero,
            empty_flag,
            on_empty_flag,
            family,
        )
        self._halfword = round(HALFWORD_CYCLES * 1_000_000_000 / self.peripherals.clock.hz)  # ns
        self._i2c = self.peripherals.i2c
        self._released_at = 0  # ns; SCL is low until then

        self._slice_end = 0
        self._until_released = False  # the slice ends when SCL is released
        self._blocks_left = BLOCKS_AT_START
        self._settled = False
        self._stopped = False
        self._head = 0  # a block, and the state at its last pass
        self._state_at_head: tuple[object, ...] = ()
        self._lap = self._lap_left = FIRST_LAP  # blocks until another one becomes the head

        self._flash = _memory(flash)
        self._at_zero = _memory(flash)
        self._sram = _memory(bytes(ram).ljust(family.ram, b"\0"))
        system_size = family.system_end - SYSTEM_MEMORY
        self._system_memory = _memory(SYSTEM_MEMORY_VECTORS.ljust(system_size, b"\0"))
        self._uc: Uc | None = self._power_up()
        self._saved = self._uc.context_save()
        self._alarm: Alarm | None = None

        table = flash if vectors == FLASH else bytes(ram)[vectors - SRAM :]
        stack, entry = struct.unpack_from("<II", table)
        self._pc = entry & ~1
        self._uc.reg_write(UC_ARM_REG_SP, stack & ~3)
        wrong = ""
        if vectors != FLASH and not self._was_written(vectors, 8):
            wrong = f"the vectors at 0x{vectors:08X} were not written"
        elif not entry & 1:
            wrong = f"the reset vector 0x{entry:08X} is not an address of Thumb code"
        if wrong:
            self._die(wrong)
            self.halt()
        self._plan()

    def _power_up(self) -> Uc:
        uc = Uc(UC_ARCH_ARM, UC_MODE_THUMB | UC_MODE_MCLASS)
        uc.ctl_set_cpu_model(UC_CPU_ARM_CORTEX_M0)
        code = UC_PROT_READ | UC_PROT_EXEC
        for start, memory in (
            (0, self._at_zero),
            (FLASH, self._flash),
            (SYSTEM_MEMORY, self._system_memory),
        ):
            uc.mem_map_ptr(start, len(memory), code, memory)
        uc.mem_map_ptr(SRAM, len(self._sram), code | UC_PROT_WRITE, self._sram)
        for page in self.peripherals.pages:
            uc.mmio_map(page, Peripherals.PAGE, self._read, page, self._write, page)
        uc.hook_add(UC_HOOK_BLOCK, self._block)
        uc.hook_add(UC_HOOK_MEM_INVALID, self._invalid_access)
        uc.hook_add(UC_HOOK_INTR, self._exception)
        return uc

    # Outputs

    @property
    def led(self) -> bool:
        """LD4 (PA5) is lit."""
        return self._uc is not None and self.peripherals.led

    @property
    def led_toggles(self) -> int:
        return self.peripherals.led_toggles

    def halt(self) -> None:
        """Stop permanently, without a callback: power was lost, or the chip was reset."""
        self._uc = None
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None

    # Events on the bus (I2CDevice)

    def start(self, address: int, reading: bool) -> bool:
        self._run(self._clock.now)
        if self._uc is None:
            return False
        ours = self._i2c.begin(address, reading)
        self._serve()
        return ours

    def write(self, byte: int) -> bool:
        self._run(self._clock.now)
        if self._uc is None or not self._i2c.receive(byte):
            return False
        self._serve()
        return True

    def read(self) -> int:
        return self._i2c.sending() if self._uc is not None else 0xFF

    def acked(self, ack: bool) -> None:
        self._run(self._clock.now)
        if self._uc is not None:
            self._i2c.acked(ack)
            self._serve()

    def stop(self) -> None:
        self._run(self._clock.now)
        if self._uc is not None:
            self._i2c.stop()
            self._serve()

    def bus_error(self) -> None:
        """Noise caused a START or STOP in the middle of a byte."""
        self._run(self._clock.now)
        if self._uc is not None:
            self._i2c.bus_error()
            self._serve()

    def holding_scl(self) -> bool:
        if self._uc is None:
            return False
        return self._i2c.holds_scl or self._clock.now < self._released_at

    # Time

    def _serve(self) -> None:
        """Something happened on the bus that the program may notice."""
        self.peripherals.changes += 1
        self._unsettle()
        self._blocks_left = max(self._blocks_left, BLOCKS_PER_EVENT)
        if self._i2c.holds_scl:
            self._run_ahead()
        self._plan()

    def _run_ahead(self) -> None:
        self._run(max(self._now, self._clock.now) + AHEAD, until_released=True)
        self._released_at = self._now

    def _unsettle(self) -> None:
        self._settled = False
        self._state_at_head = ()
        self._lap = self._lap_left = FIRST_LAP

    def _plan(self) -> None:
        """Set the alarm for the instant at which the program must run next."""
        if self._uc is None:
            return
        if self._alarm is not None:
            self._alarm.cancel()
            self._alarm = None
        now = self._clock.now
        if self._released_at > now:
            at = self._released_at
        elif self._settled:
            flag = self.peripherals.systick.next_flag()
            if flag is None:
                return  # only the bus can wake it
            at = flag + SLICE
        elif self._blocks_left <= 0:
            at = now + NS_PER_MS
        else:
            at = now + SLICE
        self._alarm = self._clock.at(at, self._wake)

    def _wake(self) -> None:
        self._alarm = None
        self._blocks_left = max(self._blocks_left, BLOCKS_PER_SLICE)
        if self._uc is not None and self._i2c.holds_scl:
            self._run_ahead()
        else:
            self._run(self._clock.now)
        self._plan()

    def _run(self, until: int, until_released: bool = False) -> None:
        """Run the program up to `until` (ns), or until it releases SCL."""
        while self._uc is not None and self._now < until:
            if until_released and not self._i2c.holds_scl:
                break
            if self._settled:
                flag = self.peripherals.systick.next_flag()
                if flag is None or flag > until:
                    self._now = until
                    break
                self._now = flag
                self._unsettle()
            if self._blocks_left <= 0:
                self._now = until
                break
            self._slice_end = until
            self._until_released = until_released
            self._execute(self._uc)
            if self._ending is not None:
                self.halt()
                # by an alarm, so that the world does not change during a bus access
                self._alarm = self._clock.at(self._clock.now, self._ending)

    # The processor

    def _execute(self, uc: Uc) -> None:
        """Run blocks until one of them must not be entered, which is then at `_pc`."""
        before = self._pc
        self._stopped = False
        try:
            uc.emu_start(self._pc | 1, _NEVER)
        except UcError as error:
            self._die(self._reason(uc, error))
        if not self._stopped and self._ending is None:
            self._die(f"the processor stopped after 0x{before:08X} (WFI?)")

    def _block(self, uc: Uc, address: int, size: int, _: object) -> None:
        """Unicorn is about to run a basic block."""
        over = self._ending is not None
        if SYSTEM_MEMORY <= address < SYSTEM_MEMORY + len(self._system_memory) and not over:
            self._ending = self._on_enter_system_memory
            over = True
        if not over and not self._was_written(address, size):
            self._die(f"execution of RAM that was not written, at 0x{address:08X}")
            over = True
        if (
            over
            or self._now >= self._slice_end
            or self._blocks_left <= 0
            or (self._until_released and not self._i2c.holds_scl)
            or self._has_settled(uc, address)
        ):
            self._pc = address
            self._stopped = True
            uc.emu_stop()
            return
        self._blocks_left -= 1
        self._now += size // 2 * self._halfword

    def _was_written(self, address: int, size: int) -> bool:
        """Whether these bytes may be executed, if they are in RAM."""
        start = address - SRAM
        if self._written is None or not 0 <= start < len(self._sram):
            return True
        return all(self._written[start : start + size])

    def _has_settled(self, uc: Uc, block: int) -> bool:
        if block == self._head:
            before, self._state_at_head = self._state_at_head, self._state(uc)
            self._settled = self._state_at_head == before
        self._lap_left -= 1
        if self._lap_left <= 0:
            self._lap *= 2
            self._lap_left = self._lap
            self._head = block
            self._state_at_head = self._state(uc)
        return self._settled

    def _state(self, uc: Uc) -> tuple[object, ...]:
        """Everything that determines what the program does next without external events."""
        uc.context_update(self._saved)
        parts = self.peripherals
        return bytes(self._saved), self._sram.raw, parts.changes, parts.systick.flags_raised()

    def _read(self, uc: Uc, offset: int, size: int, page: int) -> int:
        try:
            if size != 4:
                raise NotModelled(f"an access of {size} bytes at 0x{page + offset:08X}")
            return self.peripherals.read(page + offset)
        except NotModelled as missing:
            self._die(f"read of {missing}, which is not modelled{self._where(uc)}")
            uc.emu_stop()
            return 0

    def _write(self, uc: Uc, offset: int, size: int, value: int, page: int) -> None:
        try:
            if size != 4:
                raise NotModelled(f"an access of {size} bytes at 0x{page + offset:08X}")
            self.peripherals.write(page + offset, value)
        except NotModelled as missing:
            self._die(f"write to {missing}, which is not modelled{self._where(uc)}")
        if self._ending is not None:
            uc.emu_stop()

    def _invalid_access(
        self, _: Uc, access: int, address: int, size: int, value: int, __: object
    ) -> bool:
        self._bad_access = f"{_ACCESS.get(access, 'read')} at 0x{address:08X}"
        return False

    def _exception(self, uc: Uc, number: int, _: object) -> None:
        self._die(f"{_EXCEPTION.get(number, f'exception {number}')}{self._where(uc)}")
        uc.emu_stop()

    def _request_reset(self) -> None:
        self._ending = self._on_reset

    def _map_at_zero(self, system_memory: bool) -> None:
        ctypes.memmove(self._at_zero, self._flash, len(self._flash))
        if system_memory:
            ctypes.memmove(self._at_zero, self._system_memory, len(self._system_memory))

    # Faults

    def _die(self, reason: str) -> None:
        if self._ending is None:
            self.fault = reason
            self._ending = lambda: self._on_fault(reason)

    @staticmethod
    def _where(uc: Uc) -> str:
        return f" (by the code at 0x{uc.reg_read(UC_ARM_REG_PC):08X})"

    def _reason(self, uc: Uc, error: UcError) -> str:
        if error.errno in (UC_ERR_INSN_INVALID, UC_ERR_EXCEPTION):
            return f"undefined instruction{self._where(uc)}"
        return f"{self._bad_access or error}{self._where(uc)}"
