"""A complete simulated bench: one clock, an STM32, the bus, the wires, and the host's hardware.

`World.call` is the interface (host/seam.py) that device code uses, in any Python.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from stm32sim.chip.families import FAMILIES
from stm32sim.chip.stm32 import Running, Stm32
from stm32sim.host.seam import Call, HostLife, HostReset
from stm32sim.host.speed import SPEEDS, Speed
from stm32sim.wires.bus import FASTEST, NOT_DRIVEN, Bus
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US, Alarm, Clock
from stm32sim.wires.controller import EINVAL, HARDWARE, Controller, SoftController
from stm32sim.wires.uart import Format, Line
from stm32sim.wires.uart_port import UartPort

# machine.Pin's numbers, as host/shims/machine.py has them
_OUT, _OPEN_DRAIN = 1, 2
_PULL_UP = 1

# What a host's time is spent on, see World.spent.
BUS, PYTHON, SLEEP, FILES, HOST_FLASH, COMPUTE = KINDS = (
    "bus",  # machine.I2C and UART: the driver, and the transfer
    "python",  # bytecodes, imports, and the short calls: pins, the clock
    "sleep",
    "files",  # littlefs, without the flash's own time
    "host flash",  # erasing and programming the host's flash
    "compute",  # SHA-256, pow()
)
_KIND_OF = {
    "i2c_init": BUS,
    "i2c_write": BUS,
    "i2c_read": BUS,
    **dict.fromkeys(
        ("uart_init", "uart_write", "uart_read", "uart_any", "uart_txdone", "uart_flush"), BUS
    ),
    "sleep_us": SLEEP,
    "deepsleep": SLEEP,
    "sha256": COMPUTE,
    "power": COMPUTE,
}

# machine.reset_cause(). rp2 has the first and the third only: machine.reset() uses its watchdog,
# and a soft reset leaves the cause (ports/rp2/modmachine.c).
PWRON_RESET, HARD_RESET, WDT_RESET, DEEPSLEEP_RESET, SOFT_RESET = 1, 2, 3, 4, 5
# machine.unique_id(): of an rp2 the ID of its flash, of an esp32 its MAC address.
UNIQUE_IDS = {"rp2": bytes.fromhex("e660583883000001"), "esp32": bytes.fromhex("240ac4000001")}


@dataclass(frozen=True)
class Wiring:
    """Which host pin is connected to what; None: not wired. The defaults are
    boards/pico_nucleo_g071rb.

    `tx`, `rx`: the host's pins that are connected to RX and TX of the target's USART. `pull_ups`:
    whose 3.3 V the resistors of SDA and SCL are connected to, "host" or "target"; "" if there are
    none. `fastest`: Hz up to which the lines rise in time. `nrst_held`: something always pulls
    NRST low."""

    scl: int | None = 5
    sda: int | None = 4
    nrst: int | None = 2
    boot0: int | None = 3
    supply: int | None = None
    short: int | None = None  # to SDA
    heartbeat: int | None = None  # from the target's PA5
    pull_ups: str = "host"
    fastest: int = FASTEST
    nrst_held: bool = False
    tx: int | None = None
    rx: int | None = None

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Wiring:
        """The wiring in a board.json."""
        pins = settings["pins"]
        i2c, uart = settings.get("i2c") or {}, settings.get("uart") or {}
        return cls(
            scl=i2c.get("scl"),
            sda=i2c.get("sda"),
            tx=uart.get("tx"),
            rx=uart.get("rx"),
            nrst=pins["nrst"],
            boot0=pins["boot0"],
            supply=pins["supply"],
            short=pins.get("short"),
            heartbeat=settings["confirm"].get("pin"),
        )


class HostFiles(HostLife, Protocol):
    """The host's filesystem: littlefs or the model of FAT. `bytes_read`: how many bytes it has
    read from flash; `busy`: whether it erases or programs flash now."""

    @property
    def bytes_read(self) -> int: ...
    @property
    def busy(self) -> bool: ...

    def calls(self) -> dict[str, Call]: ...


class DeadRail:
    """Pull-up resistors to the target's 3.3 V, which pull low without that supply. Modelled as a
    device on the bus that never answers and holds SCL."""

    def __init__(self, target: Stm32) -> None:
        self._target = target

    def start(self, address: int, reading: bool) -> bool:
        return False

    def write(self, byte: int) -> bool:
        return False

    def read(self) -> int:
        return NOT_DRIVEN

    def acked(self, ack: bool) -> None:
        pass

    def stop(self) -> None:
        pass

    def holding_scl(self) -> bool:
        return self._target.running is Running.OFF


class World:
    """Everything except the host's interpreter. `file_calls`: the functions that serve the calls
    for files, by name; replace one to make it fail.

    The target has its own supply unless `wiring.supply` says that a pin switches it. `host`: a key
    of controller.HARDWARE; `port`: its port of MicroPython; `speed`: how fast it is. `spent`: ns
    by kind, since the world began, in which the host was not idle at its prompt or off."""

    def __init__(
        self,
        target: Stm32,
        filesystem: HostFiles,
        *,
        wiring: Wiring | None = None,
        host: str = "rp2",
        speed: Speed | None = None,
    ) -> None:
        self.clock: Clock = target.clock
        self.target = target
        self.filesystem = filesystem
        self.wiring = wiring or Wiring()
        wired = self.wiring.tx is not None or self.wiring.rx is not None
        if wired and target.family.uart is None:
            known = ", ".join(family.parts for family in FAMILIES if family.uart)
            parts = target.family.parts.replace(" ", "/")
            raise ValueError(f"the UART of an STM32{parts} is not simulated, only of {known}")
        self.host = host
        self.port = host.partition("-")[0]
        self.speed = speed or SPEEDS[host]
        self.spent = dict.fromkeys(KINDS, 0)
        self._counted = False  # whether this boot's interpreter counts bytecodes
        self._starts = True  # whether it has made no call yet
        self._imported: dict[int, int] = {}  # open file -> ns for each byte that is read
        self.bus = Bus(self.clock)
        self.bus.devices.append(target)
        if self.wiring.pull_ups == "target":
            self.bus.devices.append(DeadRail(target))
        self.line = Line(self.clock)
        self.line.connect(target.usart)
        self._ports: dict[int, UartPort] = {}  # by id
        self.reset_cause = PWRON_RESET
        self.unique_id = UNIQUE_IDS[self.port]
        self.file_calls = filesystem.calls()
        self._served: dict[str, Callable[..., Any]] = {
            name.removeprefix("_serve_"): getattr(self, name)
            for name in dir(self)
            if name.startswith("_serve_")
        }
        self._levels: dict[int, int] = {}  # pins that the host drives
        self._open_drain: set[int] = set()
        self._pulls: dict[int, int] = {}  # the host's internal pulls, far weaker than any resistor
        self.analog: dict[int, int] = {}  # mV at pins of the host
        self.when_run_ends: Callable[[], None] = lambda: None  # set by the host's interpreter
        self._controllers: list[Controller] = []
        self._booted = self.clock.now
        self._watchdog: Alarm | None = None
        self._watchdog_timeout = 0
        self._watchdog_fed = 0
        target.power(True)
        self._drive_target()

    # --- the host's life ---

    def power_loss(self) -> None:
        """The host has no power, or is in reset: it drives nothing, and open files are lost."""
        self.when_run_ends()
        self.filesystem.power_loss()
        self.bus.abandon()
        self._close_ports()
        self._stop_watchdog()
        self._controllers.clear()
        self._release_pins()

    def _release_pins(self) -> None:
        self._levels.clear()
        self._open_drain.clear()
        self._pulls.clear()
        self._drive_target()

    def mount(self) -> None:
        """The host starts, with the files in its flash."""
        self.filesystem.mount()
        self._booted = self.clock.now
        self._counted = False
        self._starts = True
        self._imported.clear()

    def soft_reset(self) -> None:
        """The interpreter restarts; pins and a running watchdog are unchanged."""
        self.when_run_ends()
        self.filesystem.soft_reset()
        self._close_ports()  # machine_uart_deinit_all() [V MPY-ESP32; R for rp2]
        if self.port != "rp2":
            self.reset_cause = SOFT_RESET

    # --- the seam ---

    def executed(self, bytecodes: int, calls: int) -> None:
        """Device code has executed so much since its last call: see MicroPythonHost."""
        self._counted = True
        self._spend(PYTHON, self.speed.python(bytecodes, calls))

    def call(self, name: str, *args: Any) -> Any:
        """Serve one call of device code; host/seam.py lists the names."""
        if self._starts:
            self._starts = False
            self._spend(PYTHON, self.speed.boot)
            if not self._counted:
                self._spend(PYTHON, self.speed.uncounted_start)
        if not self._counted:
            self._spend(PYTHON, self.speed.uncounted_python(name))
        served = self.file_calls.get(name)
        if served is not None:
            return self._serve_file(name, served, args)
        return self._spending(_KIND_OF.get(name, PYTHON), self._served[name], args)

    def _spend(self, kind: str, duration: int) -> None:
        began = self.clock.now
        try:
            self.clock.advance(duration)
        finally:  # a watchdog bites on the way
            self.spent[kind] += self.clock.now - began

    def _spending(self, kind: str, act: Call, args: tuple[Any, ...]) -> Any:
        """Call `act`; its time is of this kind."""
        began = self.clock.now
        try:
            return act(*args)
        finally:
            self.spent[kind] += self.clock.now - began

    # files

    def _serve_file(self, name: str, served: Call, args: tuple[Any, ...]) -> Any:
        self._spend(FILES, self.speed.file_call)
        before = self.filesystem.bytes_read
        result: Any = None
        failure: OSError | None = None
        try:
            result = self._spending(HOST_FLASH, served, args)
        except OSError as error:  # looking for what is not there takes time, too
            failure = error
        if name == "fs_read" and result is not None:
            self._spend(FILES, len(result) * self.speed.data_byte)
            self._spend(PYTHON, len(result) * self._imported.get(args[0], 0))
        else:
            self._spend(FILES, (self.filesystem.bytes_read - before) * self.speed.metadata_byte)
        if failure is not None:
            raise failure
        if name == "fs_open" and args[1] == "rb":
            self._imported[result] = self._import_time(args[0])
        elif name == "fs_close":
            self._imported.pop(args[0], None)
        return result

    def _import_time(self, path: str) -> int:
        """ns a byte, if `import` opens this file: in the mode "rb"."""
        if path.endswith(".mpy"):
            return self.speed.bytecode_byte
        return self.speed.source_byte if path.endswith(".py") else 0

    def _serve_ticks_us(self) -> int:
        self.clock.advance(self.speed.pin_call)
        return (self.clock.now - self._booted) // NS_PER_US

    def _serve_sleep_us(self, duration: int) -> None:
        self.clock.advance(duration * NS_PER_US)

    def _serve_sha256(self, length: int) -> None:
        self.clock.advance(length * self.speed.sha256_byte)

    def _serve_power(self, modulus_bits: int, multiplications: int) -> None:
        self.clock.advance(self.speed.power(modulus_bits, multiplications))

    def _serve_adc_read(self, pin: int) -> int:
        self.clock.advance(self.speed.pin_call)
        return min(65535, self.analog.get(pin, 0) * 65535 // 3300)

    def _serve_wdt_start(self, timeout_ms: int) -> None:
        self._stop_watchdog()
        self._watchdog_timeout = timeout_ms * NS_PER_MS
        self._watchdog_fed = self.clock.now
        self._watchdog = self.clock.after(self._watchdog_timeout, self._watchdog_looks)

    def _watchdog_looks(self) -> None:
        """Called by an alarm. If the watchdog was fed since the alarm was set, set another one, so
        that feeding itself sets none. Otherwise reset the host in the middle of its call."""
        due = self._watchdog_fed + self._watchdog_timeout
        if self.clock.now < due:
            self._watchdog = self.clock.at(due, self._watchdog_looks)
            return
        self._stop_watchdog()
        self.reset_cause = WDT_RESET
        raise HostReset

    def _stop_watchdog(self) -> None:
        if self._watchdog is not None:
            self._watchdog.cancel()
            self._watchdog = None

    def _serve_wdt_runs(self) -> bool:
        return self._watchdog is not None

    def _serve_wdt_feed(self) -> None:
        self._watchdog_fed = self.clock.now

    def _serve_reset(self) -> None:
        self.reset_cause = WDT_RESET if self.port == "rp2" else HARD_RESET
        raise HostReset

    def _serve_deepsleep(self, duration: int) -> None:
        """The rp2 port sleeps, with its pins as they are and its watchdog running, and then resets
        itself by its watchdog (ports/rp2/modmachine.c). An ESP32 switches its pins and its
        watchdogs off until it starts again."""
        if self.port == "rp2":
            self.clock.advance(duration * NS_PER_MS)
            self.reset_cause = WDT_RESET
        else:
            self._stop_watchdog()
            self._release_pins()
            self.clock.advance(duration * NS_PER_MS)
            self.reset_cause = DEEPSLEEP_RESET
        raise HostReset

    def _serve_reset_cause(self) -> int:
        return self.reset_cause

    def _serve_unique_id(self) -> bytes:
        return self.unique_id

    # I2C

    def _serve_i2c_init(
        self, id: int, soft: bool, scl: int | None, sda: int | None, freq: int, timeout_us: int
    ) -> int:
        self.clock.advance(self.speed.i2c_call)
        wired = (scl, sda) == (self.wiring.scl, self.wiring.sda)
        rises = bool(self.wiring.pull_ups) and freq <= self.wiring.fastest
        kind = SoftController if soft else HARDWARE[self.host]
        for pin in (scl, sda):
            if pin is not None:
                self._levels.pop(pin, None)
        # Other pins: nothing is connected there. Lines that rise too slowly: the target sees wrong
        # bits, and so never its address [D].
        bus = self.bus if wired and rises else Bus(self.clock)
        late = 0 if soft else self.speed.i2c_bit
        self._controllers.append(kind(bus, freq, timeout_us, late))
        return len(self._controllers) - 1

    def _serve_i2c_write(self, handle: int, address: int, data: bytes, stop: bool) -> int:
        self.clock.advance(self.speed.i2c_call)
        return self._controllers[handle].write(address, bytes(data), stop)

    def _serve_i2c_read(self, handle: int, address: int, length: int, stop: bool) -> bytes:
        self.clock.advance(self.speed.i2c_call)
        return self._controllers[handle].read(address, length, stop)

    # UART

    def _serve_uart_init(
        self,
        id: int,
        tx: int,
        rx: int,
        baudrate: int,
        bits: int,
        parity: int | None,
        stop: int,
        rxbuf: int,
        txbuf: int,
        timeout_ms: int,
        timeout_char_ms: int,
    ) -> int:
        self.clock.advance(self.speed.uart_call)
        old = self._ports.pop(id, None)
        if old is not None:
            old.close()
        for pin in (tx, rx):
            self._levels.pop(pin, None)
        elsewhere = Line(self.clock)  # other pins: nothing is connected there
        self._ports[id] = UartPort(
            self.port,
            Format(baudrate, parity, bits, stop),
            wire=(self.line if tx == self.wiring.tx else elsewhere).to_target,
            incoming=(self.line if rx == self.wiring.rx else elsewhere).to_host,
            blocked=lambda: self.filesystem.busy,
            clock=self.clock,
            rxbuf=rxbuf,
            txbuf=txbuf,
            timeout=timeout_ms * NS_PER_MS,
            timeout_char=timeout_char_ms * NS_PER_MS,
        )
        return id

    def _serve_uart_write(self, handle: int, data: bytes) -> int:
        self.clock.advance(self.speed.uart_call + len(data) * self.speed.uart_byte)
        return self._port(handle).write(bytes(data))

    def _serve_uart_read(self, handle: int, length: int) -> bytes:
        self.clock.advance(self.speed.uart_call)
        port = self._port(handle)
        self.clock.advance(min(length, port.any()) * self.speed.uart_byte)
        return port.read(length)

    def _serve_uart_any(self, handle: int) -> int:
        self.clock.advance(self.speed.uart_call)
        return self._port(handle).any()

    def _serve_uart_txdone(self, handle: int) -> bool:
        self.clock.advance(self.speed.uart_call)
        return self._port(handle).sent()

    def _serve_uart_flush(self, handle: int) -> None:
        self.clock.advance(self.speed.uart_call)
        self._port(handle).flush()

    def _serve_uart_deinit(self, handle: int) -> None:
        self._port(handle).close()
        del self._ports[handle]

    def _port(self, handle: int) -> UartPort:
        if handle not in self._ports:
            raise OSError(EINVAL)  # closed by deinit()
        return self._ports[handle]

    def _close_ports(self) -> None:
        """A byte that is being sent ends there: the line is high [D: AN2606 asks for a fixed
        level at RX, so a resistor pulls it up]."""
        for port in self._ports.values():
            port.close()
        self._ports.clear()

    # pins

    def _serve_pin_init(self, pin: int, mode: int, pull: int, value: int | None) -> None:
        self.clock.advance(self.speed.pin_call)
        self._open_drain.discard(pin)
        self._pulls[pin] = pull
        if mode == _OPEN_DRAIN:
            self._open_drain.add(pin)
            self._drive(pin, 0 if value == 0 else None)
        elif mode == _OUT:
            self._drive(pin, value or 0)
        else:
            self._drive(pin, None)

    def _serve_pin_write(self, pin: int, value: int) -> None:
        self.clock.advance(self.speed.pin_call)
        released = value and pin in self._open_drain
        self._drive(pin, None if released else value)

    def _serve_pin_read(self, pin: int) -> int:
        self.clock.advance(self.speed.pin_call)
        wiring = self.wiring
        if self._levels.get(pin) == 0:
            return 0
        if pin == wiring.scl:
            return int(self.bus.scl_high and self._line_pulled_up(pin))
        if pin == wiring.sda:
            return int(self.bus.sda_high and self._line_pulled_up(pin))
        if pin in self._levels:
            return 1
        if pin == wiring.nrst:
            return int(self.target.nrst_high)
        if pin == wiring.boot0:
            return 0
        if pin == wiring.rx and self.target.running is Running.LOADER:
            return 1  # the target's TX, when nothing is sent
        if pin == wiring.heartbeat and self.target.led is not None:
            return int(self.target.led)
        return self._own_pull(pin)

    def _line_pulled_up(self, pin: int) -> bool:
        """Whether SDA or SCL is high while nothing drives it low. Resistors are stronger than the
        pull of the host's pin [D]."""
        if not self.wiring.pull_ups:
            return bool(self._own_pull(pin))
        return self.wiring.pull_ups == "host" or self.target.running is not Running.OFF

    def _own_pull(self, pin: int) -> int:
        """The level of a pin without an external pull; 0 without an internal pull [strict]."""
        return int(self._pulls.get(pin) == _PULL_UP)

    def _drive(self, pin: int, level: int | None) -> None:
        """A pin drives a level, or (None) releases it."""
        was_low = self._levels.get(pin) == 0
        if level is None:
            self._levels.pop(pin, None)
        else:
            self._levels[pin] = level
        rises = was_low and level != 0
        if pin == self.wiring.scl and rises:
            self.bus.pulse_scl()
        elif pin == self.wiring.sda and rises:
            self.bus.stop_by_hand()
        elif pin == self.wiring.tx and level == 0 and not was_low:
            self.line.to_target.pull_low()
        else:
            self._drive_target()

    def _drive_target(self) -> None:
        """NRST has a pull-up, BOOT0 a resistor to ground, and the supply switch is on by
        default."""
        wiring = self.wiring
        if wiring.supply is not None:
            self.target.power(self._levels.get(wiring.supply, 1) != 0)
        if wiring.boot0 is not None:
            self.target.boot0(self._levels.get(wiring.boot0, 0) != 0)
        if wiring.nrst is not None:
            released = self._levels.get(wiring.nrst, 1) != 0
            self.target.nrst(released and not wiring.nrst_held)
        if wiring.short is not None:
            self.bus.sda_stuck = self._levels.get(wiring.short) == 0
