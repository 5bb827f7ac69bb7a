"""The serial port that is used if none is given."""

from __future__ import annotations

from typing import NamedTuple
from unittest import mock

import serial
from serial.tools import list_ports
from serial.tools.list_ports_common import ListPortInfo

from tests.cases.case import Cases, Ran, expect, stm32up

CASES = Cases()


class Port(NamedTuple):
    device: str
    vendor: int | None
    product: int | None
    name: str = ""

    def as_listed(self) -> ListPortInfo:
        info = ListPortInfo(self.device)
        info.vid, info.pid, info.product = self.vendor, self.product, self.name or None
        if self.name:
            info.description = self.name
        return info


ACM0, ACM1, USB0, USB1 = "/dev/ttyACM0", "/dev/ttyACM1", "/dev/ttyUSB0", "/dev/ttyUSB1"
PICO = Port(ACM0, 0x2E8A, 0x0005, "Board in FS mode")
ESP32_S3 = Port(ACM0, 0x303A, 0x1001, "USB JTAG/serial debug unit")
CP2102 = Port(USB0, 0x10C4, 0xEA60, "CP2102 USB to UART Bridge Controller")
FTDI = Port(USB0, 0x0403, 0x6001, "FT232R USB UART")
DEBUG_PROBE = Port(ACM1, 0x2E8A, 0x000C, "Debug Probe (CMSIS-DAP)")
PICOPROBE = Port(ACM1, 0x2E8A, 0x0004, "Picoprobe")
ST_LINK = Port(ACM1, 0x0483, 0x374B, "STM32 STLink")
J_LINK = Port(ACM1, 0x1366, 0x0105, "J-Link")
FEATHER = Port(ACM0, 0x239A, 0x80F1, "Feather RP2040")
NANO = Port(ACM0, 0x2341, 0x025E, "Arduino Nano RP2040 Connect")
SPARKFUN = Port(ACM0, 0x1B4F, 0x0026, "Pro Micro RP2040")
GENERIC = Port(ACM0, 0xF055, 0x9802, "Board in FS mode")
SECOND_PICO = PICO._replace(device=ACM1)
SERIAL = Port("/dev/ttyS0", None, None)
STRANGER = Port(ACM0, 0x1234, 0x5678, "Something")

# name: (ports, the one that is the board's)
TAKEN: dict[str, tuple[tuple[Port, ...], Port]] = {
    "a lone Pico is taken": ((PICO,), PICO),
    "an ESP32-S3 beside a debug probe is taken": ((ESP32_S3, DEBUG_PROBE), ESP32_S3),
    "a Pico beside a debug probe is taken": ((PICO, DEBUG_PROBE), PICO),
    "a Pico beside a J-Link is taken": ((J_LINK, PICO), PICO),
    "a Pico beside an ST-LINK is taken": ((PICO, ST_LINK), PICO),
    "a Pico beside an FTDI cable is taken": ((FTDI, PICO), PICO),
    "a Feather RP2040 is taken": ((FEATHER,), FEATHER),
    "a Feather RP2040 beside an FTDI cable is taken": ((FEATHER, FTDI), FEATHER),
    "a Nano RP2040 Connect is taken": ((NANO,), NANO),
    "a SparkFun Pro Micro is taken": ((SPARKFUN,), SPARKFUN),
    "MicroPython's own USB id is taken": ((GENERIC,), GENERIC),
}

# A bridge may be connected to anything: it is used with a note, or not at all.
BRIDGES: dict[str, tuple[tuple[Port, ...], Port]] = {
    "a lone FTDI cable is not taken without a word": ((FTDI,), FTDI),
    "a CP2102 beside a picoprobe is not taken without a word": ((CP2102, PICOPROBE), CP2102),
}

REFUSED: dict[str, tuple[Port, ...]] = {
    "a lone debug probe is not taken": (DEBUG_PROBE,),
    "a lone picoprobe is not taken": (PICOPROBE,),
    "a lone ST-LINK is not taken": (ST_LINK,),
    "a lone J-Link is not taken": (J_LINK,),
    "one of two Picos is not taken": (PICO, SECOND_PICO),
    "one of two bridges is not taken": (FTDI, CP2102._replace(device=USB1)),
    "a port that is no USB is not taken": (SERIAL,),
    "a port of an unknown vendor is named and not taken": (STRANGER,),
}


def status_with(ports: tuple[Port, ...]) -> tuple[Ran, list[str]]:
    """Run `stm32up status` on a computer with these ports; return which ports it opened."""
    opened: list[str] = []

    def refuse(device: str, *arguments: object, **options: object) -> object:
        opened.append(device)
        raise serial.SerialException("there is nothing behind it")

    with (
        mock.patch.object(list_ports, "comports", lambda *_: [p.as_listed() for p in ports]),
        mock.patch.object(serial, "serial_for_url", refuse),
        mock.patch.object(serial, "Serial", refuse),
    ):
        return stm32up("status"), opened


def taken(ports: tuple[Port, ...], board: Port) -> str:
    ran, opened = status_with(ports)
    return expect(set(opened) == {board.device}, f"opened {', '.join(opened) or ran.last}")


def taken_with_a_note(ports: tuple[Port, ...], board: Port) -> str:
    ran, opened = status_with(ports)
    if not opened:
        return ran.refuses(board.device, status=3)
    told = [line for line in ran.said.splitlines() if board.device in line and "bridge" in line]
    return expect(set(opened) == {board.device} and told, told[0] if told else "opened, no note")


def refused(ports: tuple[Port, ...]) -> str:
    ran, opened = status_with(ports)
    expect(not opened, f"opened {', '.join(opened)}")
    return ran.refuses("--port", *(port.device for port in ports), status=3)


def shown(ports: tuple[Port, ...]) -> str:
    return "status with " + ", ".join(port.name or port.device for port in ports)


for name, given in TAKEN.items():
    CASES.add(name, shown(given[0]), taken, *given)
for name, given in BRIDGES.items():
    CASES.add(name, shown(given[0]), taken_with_a_note, *given)
for name, ports in REFUSED.items():
    CASES.add(name, shown(ports), refused, ports)
