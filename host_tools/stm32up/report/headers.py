"""The pins of boards, where they are on the headers: the one table of each type of board."""

from __future__ import annotations

from typing import NamedTuple


class Pin(NamedTuple):
    label: str  # its number as the board's manual counts: "6", or "J1-9"
    name: str  # "GP4", "GPIO25", "GND"


class Host(NamedTuple):
    """Two columns of pins, from the top, as the board lies with `top` upwards."""

    title: str
    top: str
    left: tuple[Pin, ...]
    right: tuple[Pin, ...]
    gpio: str  # how a pin of board.toml is named: "GP{}"
    power: str  # the name of the pin that gives 3.3 V
    source: str


class Target(NamedTuple):
    """Two connectors of two columns each, pin 1 at the top left, pin 2 at the top right."""

    title: str
    connectors: dict[str, tuple[str, ...]]  # its name: the names of its pins, from pin 1
    signals: dict[str, str]  # what the updater needs: "SDA": "CN7-21"
    source: str


def _names(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _numbered(text: str, prefix: str = "") -> tuple[Pin, ...]:
    return tuple(Pin(f"{prefix}{number}", name) for number, name in enumerate(_names(text), 1))


_PICO = _numbered(
    "GP0 GP1 GND GP2 GP3 GP4 GP5 GND GP6 GP7 GP8 GP9 GND GP10 GP11 GP12 GP13 GND GP14 GP15 "
    "GP16 GP17 GND GP18 GP19 GP20 GP21 GND GP22 RUN GP26 GP27 GND GP28 VREF 3V3(OUT) 3V3_EN GND "
    "VSYS VBUS"
)
_DEVKITC = (
    _numbered(
        "3V3 EN GPIO36 GPIO39 GPIO34 GPIO35 GPIO32 GPIO33 GPIO25 GPIO26 GPIO27 GPIO14 GPIO12 GND "
        "GPIO13 GPIO9 GPIO10 GPIO11 5V",
        "J1-",
    ),
    _numbered(
        "GND GPIO23 GPIO22 GPIO1 GPIO3 GPIO21 GND GPIO19 GPIO18 GPIO5 GPIO17 GPIO16 GPIO4 GPIO0 "
        "GPIO2 GPIO15 GPIO8 GPIO7 GPIO6",
        "J3-",
    ),
)

HOSTS = {
    "rp2": Host(
        "Raspberry Pi Pico",
        "USB",
        _PICO[:20],
        _PICO[:19:-1],
        "GP{}",
        "3V3(OUT)",
        "Raspberry Pi Pico datasheet, pinout; the same for Pico W, Pico 2 and Pico 2 W",
    ),
    "esp32": Host(
        "ESP32-DevKitC V4",
        "antenna",
        *_DEVKITC,
        "GPIO{}",
        "3V3",
        "ESP-IDF, ESP32-DevKitC V4 Getting Started Guide, header block",
    ),
}

_NUCLEO = Target(
    "NUCLEO-G071RB",
    {
        "CN7": _names(
            "PC10 PC11 PC12 PD2 VDD E5V PA14 GND PD0 PD1 PD3 IOREF PA13 NRST PD4 3V3 PA15 5V GND "
            "GND PB7 GND PC13 VIN PC14 PD5 PC15 PA0 PF0 PA1 PF1 PA4 VBAT PB1 PC2 PB11 PC3 PB12"
        ),
        "CN10": _names(
            "PC9 PC8 PB8 PC6 PB9 PA3 AVDD 5V_CHG GND PD6 PA5 PA12 PA6 PA11 PA7 PC1 PB0 PC0 PC7 "
            "GND PA9 PB2 PA8 PB6 PB14 PB15 PB4 PB10 PB5 PB13 PB3 AGND PA10 PA2 PC4 PD8 PC5 PD9"
        ),
    },
    {
        "SDA": "CN7-21",
        "SCL": "CN10-24",
        "RX": "CN10-33",
        "TX": "CN10-21",
        "NRST": "CN7-14",
        "BOOT0": "CN7-7",
        "LED": "CN10-11",
        "GND": "CN7-20",
        "3V3": "CN7-16",
    },
    "UM2324, figure 17, as modm-data has copied it; Zephyr's st_morpho_connector.dtsi agrees",
)

# Its manual shows no connectors in the text; copied as printed, with its misprints: PD2, PB12 and
# PB0 stand there twice.
_NUCLEO_C031 = Target(
    "NUCLEO-C031C6",
    {
        "CN7": _names(
            "PD0 PD1 PD2 PD2 VDD E5V PA14 GND NC NC NC IOREF PA13 NRST NC 3V3 PC6 5V GND GND NC "
            "GND PC13 VIN PC14 NC NC PA0 PF0 PA1 PF1 PA4 NC PB1 PB11 PA11/PB9 PA2 PA12/PB8"
        ),
        "CN10": _names(
            "PD3 NC PB8 NC PB9 NC AVDD 5V_CHG GND PA3 PA5 PC15 PA6 PB12 PA7 PB12 PB0 PB2 PC7 GND "
            "PA9 PF3 PA15 PA8 PB5 PB15 PB4 PB14 PB10 PB13 PB3 AGND PA10 PB0 PB6 NC PB7 NC"
        ),
    },
    {
        "SDA": "CN10-37",
        "SCL": "CN10-35",
        "RX": "CN10-33",
        "TX": "CN10-21",
        "NRST": "CN7-14",
        "BOOT0": "CN7-7",
        "LED": "CN10-11",
        "GND": "CN7-20",
        "3V3": "CN7-16",
    },
    "UM2953, figure 7, as modm-data has copied it; Zephyr's arduino_r3_connector.dtsi agrees that "
    "PB7, PB6, PA10 and PA9 are D0, D1, D2 and D8, which these pins are on Nucleo-64 boards",
)

TARGETS = {"STM32G071RB": _NUCLEO, "STM32C031C6": _NUCLEO_C031}
