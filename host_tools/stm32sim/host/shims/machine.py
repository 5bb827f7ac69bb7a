# mypy: ignore-errors
"""MicroPython's `machine` of a simulated board. Every effect is a `call`; see seam.py.

Constants are rp2's. docs/simulated-board.md lists what is not here.
"""

import time

from _host import call

PWRON_RESET = 1
HARD_RESET = 2
WDT_RESET = 3
DEEPSLEEP_RESET = 4
SOFT_RESET = 5


def _on_rp2():
    import sys  # the board's `sys`, which is installed only after this module

    return sys.platform == "rp2"


class Pin:
    """machine.Pin without interrupts."""

    IN = 0
    OUT = 1
    OPEN_DRAIN = 2
    ALT = 3
    PULL_UP = 1
    PULL_DOWN = 2
    IRQ_RISING = 8
    IRQ_FALLING = 4

    def __init__(self, id, mode=-1, pull=-1, *, value=None, alt=-1):
        self._id = id._id if isinstance(id, Pin) else id
        if _on_rp2() and not 0 <= self._id <= 29:
            raise ValueError("invalid pin")
        if mode != -1 or pull != -1 or value is not None:
            self.init(mode, pull, value=value)

    def init(self, mode=-1, pull=-1, *, value=None, alt=-1):
        pull = -1 if pull is None else pull
        call("pin_init", self._id, mode, pull, None if value is None else int(bool(value)))

    def value(self, *args):
        if not args:
            return call("pin_read", self._id)
        call("pin_write", self._id, 1 if args[0] else 0)

    def __call__(self, *args):
        return self.value(*args)

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    high = on
    low = off

    def toggle(self):
        self.value(1 - self.value())

    def __repr__(self):
        return f"Pin({self._id})"


def _pin_id(pin):
    return pin._id if isinstance(pin, Pin) else pin


class _I2CBase:
    """The methods of both I2C classes, built on one write and one read."""

    def _init(self, id, soft, scl, sda, freq, timeout):
        self._handle = call("i2c_init", id, soft, _pin_id(scl), _pin_id(sda), freq, timeout)

    def scan(self):
        found = []
        for addr in range(0x08, 0x78):
            try:
                call("i2c_write", self._handle, addr, b"", True)
            except OSError:
                continue
            found.append(addr)
        return found

    def writeto(self, addr, buf, stop=True):
        return call("i2c_write", self._handle, addr, buf, bool(stop))

    def writevto(self, addr, vector, stop=True):
        return self.writeto(addr, b"".join([bytes(part) for part in vector]), stop)

    def readfrom(self, addr, nbytes, stop=True):
        return call("i2c_read", self._handle, addr, nbytes, bool(stop))

    def readfrom_into(self, addr, buf, stop=True):
        buf[:] = call("i2c_read", self._handle, addr, len(buf), bool(stop))

    def writeto_mem(self, addr, memaddr, buf, *, addrsize=8):
        self.writeto(addr, memaddr.to_bytes(addrsize // 8, "big") + bytes(buf))

    def readfrom_mem(self, addr, memaddr, nbytes, *, addrsize=8):
        self.writeto(addr, memaddr.to_bytes(addrsize // 8, "big"), False)
        return self.readfrom(addr, nbytes)

    def readfrom_mem_into(self, addr, memaddr, buf, *, addrsize=8):
        self.writeto(addr, memaddr.to_bytes(addrsize // 8, "big"), False)
        self.readfrom_into(addr, buf)


class I2C(_I2CBase):
    """The pins that an RP2040 connects: ports/rp2/machine_i2c.c."""

    def __init__(self, id=-1, *, scl=None, sda=None, freq=400_000, timeout=50_000):
        if _on_rp2():
            if id not in (0, 1):
                raise ValueError(f"I2C({id}) doesn't exist")
            if scl is not None and _pin_id(scl) & 3 != 2 * id + 1:
                raise ValueError("bad SCL pin")
            if sda is not None and _pin_id(sda) & 3 != 2 * id:
                raise ValueError("bad SDA pin")
        self._init(id, False, scl, sda, freq, timeout)


class SoftI2C(_I2CBase):
    def __init__(self, scl, sda, *, freq=400_000, timeout=50_000):
        self._init(-1, True, scl, sda, freq, timeout)


class UART:
    """8 bits of data; no interrupts and no flow control."""

    def __init__(self, id, *args, **settings):
        self._id = id
        self._handle = -1
        if not 0 <= id < (2 if _on_rp2() else 3):
            raise ValueError(f"UART({id}) doesn't exist")
        if id == 0 and not _on_rp2():
            raise ValueError("UART(0) has the REPL")
        self._settings = None
        self.init(*args, **settings)

    def init(self, *args, **settings):
        for index, value in enumerate(args):
            settings[("baudrate", "bits", "parity", "stop")[index]] = value
        known = _uart_defaults(self._id) if self._settings is None else dict(self._settings)
        for name in settings:
            if name not in known:
                raise TypeError(f"UART has no argument {name} here")
        known.update(settings)
        tx = _pin_id(known["tx"])
        rx = _pin_id(known["rx"])
        if _on_rp2():
            if tx & 3 or (tx + 4 & 8) >> 3 != self._id:
                raise ValueError("bad TX pin")
            if rx & 3 != 1 or (rx + 4 & 8) >> 3 != self._id:
                raise ValueError("bad RX pin")
            for name in ("rxbuf", "txbuf"):
                if known[name] > 32766:
                    raise ValueError(name + " too large")
                known[name] = max(32, known[name])
            known["timeout_char"] = max(known["timeout_char"], 13000 // known["baudrate"] + 1)
        elif known["rxbuf"] <= 128:
            raise OSError(0x102)  # uart_driver_install: more than the FIFO
        if known["bits"] not in (5, 6, 7, 8):
            raise ValueError("invalid data bits")
        if known["stop"] not in (1, 2):
            raise ValueError("invalid stop bits")
        if known["parity"] is not None:
            known["parity"] &= 1
        self._handle = call(
            "uart_init",
            self._id,
            tx,
            rx,
            known["baudrate"],
            known["bits"],
            known["parity"],
            known["stop"],
            known["rxbuf"],
            known["txbuf"],
            known["timeout"],
            known["timeout_char"],
        )
        self._settings = known

    def deinit(self):
        if self._handle >= 0:
            call("uart_deinit", self._handle)
        self._handle = -1
        self._settings = None

    def any(self):
        return call("uart_any", self._handle)

    def read(self, nbytes=-1):
        if nbytes >= 0:
            return call("uart_read", self._handle, nbytes) or None
        data = b""
        while part := call("uart_read", self._handle, 256):
            data += part
        return data or None

    def readinto(self, buf, nbytes=-1):
        data = call("uart_read", self._handle, len(buf) if nbytes < 0 else nbytes)
        buf[: len(data)] = data
        return len(data) or None

    def readline(self):
        data = b""
        while not data.endswith(b"\n") and (byte := call("uart_read", self._handle, 1)):
            data += byte
        return data or None

    def write(self, buf):
        return call("uart_write", self._handle, buf) or None

    def flush(self):
        call("uart_flush", self._handle)

    def txdone(self):
        return bool(call("uart_txdone", self._handle))


def _uart_defaults(id):
    """machine_uart.c of the port."""
    if _on_rp2():
        tx, rx = (0, 1) if id == 0 else (4, 5)
    else:
        tx, rx = ((1, 3), (10, 9), (17, 16))[id]
    return {
        "baudrate": 115200,
        "bits": 8,
        "parity": None,
        "stop": 1,
        "tx": tx,
        "rx": rx,
        "rxbuf": 256,
        "txbuf": 256,
        "timeout": 0,
        "timeout_char": 0,
    }


class ADC:
    """16 bits of 3.3 V."""

    def __init__(self, id):
        self._pin = _pin_id(id)
        if _on_rp2() and not 26 <= self._pin <= 29:
            raise ValueError("Pin doesn't have ADC capabilities")

    def read_u16(self):
        return call("adc_read", self._pin)

    if not _on_rp2():
        ATTN_11DB = 3

        def atten(self, attenuation):
            pass

        def read_uv(self):
            return self.read_u16() * 3_300_000 // 65535


class _Mem32:
    """The one register that a script may read: rp2's WATCHDOG_CTRL, RP2040 datasheet 4.7.6."""

    def __getitem__(self, address):
        if address == 0x40058000 and _on_rp2():
            return int(call("wdt_runs")) << 30  # ENABLE
        raise NotImplementedError("mem32[" + hex(address) + "] is not simulated")


mem32 = _Mem32()


class RTC:
    """The clock behind time.time(). Without a battery it starts at 2021-01-01 [rp2]."""

    def __init__(self, id=0):
        if id != 0:
            raise ValueError(f"RTC({id}) doesn't exist")

    def datetime(self, *args):
        """(year, month, day, weekday, hour, minute, second, 0), or set the clock to that."""
        if not args:
            year, month, day, hour, minute, second, weekday, _ = time.gmtime()
            return (year, month, day, weekday, hour, minute, second, 0)
        year, month, day, _, hour, minute, second, _ = args[0]
        time._set(time.mktime((year, month, day, hour, minute, second, 0, 0)))


class WDT:
    """Limits: those of ports/rp2/machine_wdt.c (a 24-bit counter of half microseconds), and the
    minimum of esp32, which counts in seconds."""

    def __init__(self, id=0, timeout=5000):
        if id != 0:
            raise ValueError(f"WDT({id}) doesn't exist")
        if _on_rp2():
            if not 0 <= timeout <= 8388:
                raise ValueError("timeout exceeds 8388")
        elif timeout < 1000:
            raise ValueError("WDT timeout too short")
        call("wdt_start", timeout)

    def feed(self):
        call("wdt_feed")


def reset():
    call("reset")


def soft_reset():
    raise SystemExit


def reset_cause():
    return call("reset_cause")


_freq = 0


def freq(*args):
    """Setting it only changes the returned value."""
    global _freq
    if not args:
        return _freq or (125_000_000 if _on_rp2() else 160_000_000)
    _freq = args[0]


def unique_id():
    return call("unique_id")


def idle():
    call("sleep_us", 1000)


def lightsleep(time_ms=0):
    call("sleep_us", time_ms * 1000)


def deepsleep(time_ms=0):
    """Sleep, then reset. Limit: that of mp_machine_lightsleep in ports/rp2/modmachine.c."""
    if not time_ms:
        raise NotImplementedError("nothing wakes a simulated board but its clock: give a time")
    if _on_rp2() and time_ms >= (1 << 32) // 1000:
        raise ValueError("sleep too long")
    call("deepsleep", time_ms)


def disable_irq():
    return 0


def enable_irq(state):
    pass
