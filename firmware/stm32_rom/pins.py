"""Pins and buses of this host. The only module that makes Pin, I2C, SoftI2C and UART objects."""

from machine import I2C, Pin, SoftI2C

from .i2c import I2CBus, transaction_timeout_us

_UART_BUFFER = 512  # bytes: more than the longest frame or answer
# Between two bytes of an answer; the loader pauses nowhere. Short, because an esp32 notices a
# single byte only after about so much silence.
_CHARACTER_MS = 2


class Pins:
    """The lines to the target, as callables that take 0 or 1; None where not wired.

    `nrst(0)` holds the target in reset; `nrst()` reads 0 while any device pulls NRST low.
    `boot0(1)` selects the loader at the next reset; `supply(0)` switches the supply off."""

    def __init__(self, nrst=None, boot0=None, supply=None):
        """Arguments are pin numbers; None where not wired. All lines start inactive.

        NRST is open drain, because the target and a debugger drive it too."""
        self.nrst = None if nrst is None else _open_drain(nrst)
        self.boot0 = None if boot0 is None else Pin(boot0, Pin.OUT, value=0)
        self.supply = None if supply is None else Pin(supply, Pin.OUT, value=1)


def unconfigured(number):
    """The Pin with its configuration unchanged, e.g. for machine.ADC. Raises ValueError if this
    host has no such pin."""
    return Pin(number)


def i2c_bus(scl, sda, frequency, controller=None, timeout_us=None):
    """An I2CBus on these pins. `controller`: number of the hardware controller, None for SoftI2C.
    `timeout_us`: limit of one transaction; default `transaction_timeout_us(frequency)`."""
    timeout = timeout_us or transaction_timeout_us(frequency)

    def make_bus():
        if controller is None:
            return SoftI2C(scl=Pin(scl), sda=Pin(sda), freq=frequency, timeout=timeout)
        return I2C(controller, scl=Pin(scl), sda=Pin(sda), freq=frequency, timeout=timeout)

    return I2CBus(make_bus, lambda name: _open_drain(scl if name == "scl" else sda))


def uart_link(number, tx, rx, rate):
    """A UARTLink on these pins, at `rate` baud. Imported here: few boards need it."""
    from machine import UART

    from .uart import UARTLink, read_timeout_ms

    def make_uart(rate):
        return UART(
            number,
            baudrate=rate,
            bits=8,
            parity=0,  # even
            stop=1,
            tx=Pin(tx),
            rx=Pin(rx),
            timeout=read_timeout_ms(rate),
            timeout_char=_CHARACTER_MS,
            txbuf=_UART_BUFFER,
            rxbuf=_UART_BUFFER,
        )

    return UARTLink(make_uart, number, rate)


def input_pin(number, pull_up=False):
    """An input. By default the pull-down keeps an undriven line at a steady level."""
    return Pin(number, Pin.IN, Pin.PULL_UP if pull_up else Pin.PULL_DOWN)


def output_pin(number, open_drain, level):
    """An output at `level`; an open-drain one is released by 1."""
    return Pin(number, Pin.OPEN_DRAIN if open_drain else Pin.OUT, value=level)


def _open_drain(number):
    return Pin(number, Pin.OPEN_DRAIN, value=1)
