"""Finds the serial port of the board by its USB ids.

Opening the wrong port does harm, because a Ctrl-C and a soft reset are sent. So debug probes are
never used. A board that may run something else, or a USB-UART bridge, is used with a note and only
if nothing more certain is there. One of several is never used.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from stm32up.errors import NoBoard
from stm32up.events import Report, note

Note = Callable[[str], None]

# Vendors of boards whose own USB runs MicroPython's REPL: MICROPY_HW_USB_VID in MicroPython's
# ports/*/boards and mpconfigport.h; 2886 and 16D0 are those of Seeed's and Pimoroni's boards.
_BOARDS = {
    0x2E8A: "Raspberry Pi",  # and the many makers that use its product ids
    0xF055: "MicroPython",
    0x303A: "Espressif",
    0x37C5: "OpenMV",
}
# Their ids are also those of boards that run Arduino sketches or CircuitPython. MicroPython's USB
# names itself as the manufacturer; Windows does not show that name.
_MAYBE_BOARDS = {
    0x239A: "Adafruit",
    0x2341: "Arduino",
    0x2886: "Seeed",
    0x1B4F: "SparkFun",
    0x16D0: "Pimoroni",
}
_BRIDGES = {
    0x10C4: "Silicon Labs CP210x",
    0x1A86: "WCH CH34x",
    0x0403: "FTDI",
    0x067B: "Prolific PL2303",
}
# Not the board, whatever the vendor: debug probes, whose serial port leads to another chip's UART,
# and Raspberry Pi's ids of programs that are not MicroPython (github.com/raspberrypi/usb-pid).
_OTHERS = {
    (0x2E8A, 0x0003),  # boot loader of the RP2040
    (0x2E8A, 0x0004),  # picoprobe
    (0x2E8A, 0x0009),  # a program of the pico-sdk
    (0x2E8A, 0x000A),  # the same
    (0x2E8A, 0x000B),  # CircuitPython
    (0x2E8A, 0x000C),  # Debug Probe, and picoprobe as CMSIS-DAP
    (0x2E8A, 0x000F),  # boot loader of the RP2350
    (0x303A, 0x1002),  # Espressif's USB bridge: JTAG and UART of another chip
    (0x1A86, 0x8010),  # WCH-Link
    (0x1A86, 0x8011),
    (0x1A86, 0x8012),
}
_PROBE_WORDS = (
    *("cmsis-dap", "daplink", "debug probe", "picoprobe", "j-link", "jlink", "st-link", "stlink"),
    *("wch-link", "wchlink", "black magic", "xds110", "mcu-link", "lpc-link", "edbg"),
)


def find_port(say: Note = lambda text: None) -> str:
    """The serial port of the board. Raises NoBoard if there is none, or more than one candidate.

    `say` gets the reason if the choice is not certain.
    """
    candidates = _candidates()
    boards = [port for port in candidates if _is_board(port)]
    maybe = [port for port in candidates if port.vid in _MAYBE_BOARDS]
    bridges = [port for port in candidates if port.vid in _BRIDGES]
    for found, what in (
        (boards, "MicroPython board"),
        (maybe, "port that may be a MicroPython board"),
        (bridges, "USB-UART bridge that may lead to the board"),
    ):
        if len(found) > 1:
            names = ", ".join(str(port.device) for port in found)
            raise NoBoard(
                f"more than one {what} is on USB: {names}", "Give one of the ports with --port."
            )
        if found:
            if found is not boards:
                say(_uncertain(found[0]))
            return str(found[0].device)
    raise NoBoard(
        f"no MicroPython board on USB, and no other known port ({ports_present()})",
        "Connect one, give its port with --port, or try --port sim.",
    )


def _uncertain(port: ListPortInfo) -> str:
    if port.vid in _BRIDGES:
        what = f"a USB-UART bridge ({_BRIDGES[port.vid]})"
    else:
        what = f"a board of {_MAYBE_BOARDS[port.vid]}, which may run something else"
    return (
        f"using {port.device} as the board: {what}, and the best candidate; if it is not the "
        "board, give the port with --port"
    )


def all_boards(report: Report) -> list[str]:
    """The serial ports of all boards that certainly run MicroPython on their own USB; a note names
    the others that may. Raises NoBoard if there is no board."""
    ports = _candidates()
    found = [str(port.device) for port in ports if _is_board(port)]
    maybe = [
        str(port.device)
        for port in ports
        if not _is_board(port) and port.vid in (*_MAYBE_BOARDS, *_BRIDGES)
    ]
    if maybe:
        report(
            note(
                f"not used, because it may lead to something else: {', '.join(maybe)}; give it "
                "with --port"
            )
        )
    if not found:
        raise NoBoard(
            f"no MicroPython board on USB ({ports_present()})", "Give the ports with --port."
        )
    return found


class Port(NamedTuple):
    name: str
    usb: str  # what the device says about itself
    is_board: bool  # whether its own USB runs MicroPython


def on_usb() -> list[Port]:
    """All serial ports on USB."""
    return [
        Port(
            str(port.device),
            str(getattr(port, "product", None) or port.description or ""),
            _is_board(port) and not _is_other(port),
        )
        for port in _in_order()
        if port.vid is not None
    ]


def _in_order() -> list[ListPortInfo]:
    return sorted(list_ports.comports(), key=lambda port: str(port.device))


def _candidates() -> list[ListPortInfo]:
    return [port for port in _in_order() if not _is_other(port)]


def ports_present() -> str:
    ports = ", ".join(str(port.device) for port in list_ports.comports())
    return f"ports here: {ports}" if ports else "this computer has no serial ports"


def _is_board(port: ListPortInfo) -> bool:
    by_name = "micropython" in (port.manufacturer or "").lower()
    return port.vid in _BOARDS or (by_name and port.vid in _MAYBE_BOARDS)


def _is_other(port: ListPortInfo) -> bool:
    told = f"{getattr(port, 'product', '')} {getattr(port, 'description', '')}".lower()
    return (port.vid, port.pid) in _OTHERS or any(word in told for word in _PROBE_WORDS)
