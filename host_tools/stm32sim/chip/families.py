"""The families that can be simulated, read from the sources and not from the device's table.

Evidence: AN2606 (2026), device tables and tables 3, 226, 227, 230, if nothing else is stated. What
the sources leave open is refused: option bytes of another layout than a G0's, 0xA1 with protocol
V2.0, erasing a bank, a UART without a row in which its rates are stated.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, replace
from typing import Any

from stm32sim.chip.quirks import Quirks, quirks_of
from stm32sim.wires.clock import NS_PER_MS, NS_PER_US

KB = 1024
# How a loader may number the pages of a second bank; no source states it for a ROM. "through": on
# from the first bank. "linear": from half of the family's largest part, as ST's open bootloader.
# "256": from 256, as RM0444 and RM0351 count. "drops": as "256", but the hardware ignores the
# upper bits of a number, as it was seen to do on a G0B1. "none": there is no number.
NUMBERINGS = ("through", "linear", "256", "drops", "none")


@dataclass(frozen=True)
class LoaderUart:
    """The loader on a USART that measures the rate in hardware [AN2606 table 6], from a clock of
    24 MHz. `fastest`: baud; `connection`: ns from 0x7F to its ACK [AN2606 table 228; reading:
    D]."""

    fastest: int
    connection: int


@dataclass(frozen=True)
class Family:
    """`versions`: the loaders by ID byte, with what differs in their Quirks, the best one last."""

    parts: str
    product_id: int
    address: int  # of the loader on I2C
    page: int  # bytes
    largest: int  # bytes of flash of the largest part
    ram: int  # bytes from 0x2000_0000
    loader_ram_end: int
    system_end: int  # of system memory, which begins at 0x1FFF_0000
    loader_id_address: int
    flash_size_address: int
    versions: dict[int, dict[str, Any]]
    start_up: int  # ns, at least, from reset until the loader listens
    timeout: int = 1000 * NS_PER_MS
    protocol: int = 0x12
    has_options: bool = False  # option bytes laid out as a G0's [V RM0490, CMSIS-G0]
    two_banks: bool = False
    # OPTR has bit 22, which is 1 for two banks [V CMSIS-G4; R for L4+]; its value. None: no bit.
    dbank: bool | None = None
    bfb2: bool = False  # bit 20 of OPTR, likewise: boot from the second bank; not modelled further
    second_system: tuple[int, int] | None = None
    uart: LoaderUart | None = None  # None: not simulated

    @property
    def empty_in_acr(self) -> bool:
        """EMPTY is bit 16 of FLASH_ACR [V CMSIS-G0; C0 and U0 have the same flash registers: BMP
        drives all three with one driver]."""
        return self.parts[:2] in ("G0", "C0", "U0")

    def quirks(self, loader_id: int | None = None) -> Quirks:
        """Those of the version with this ID byte; None: the last one."""
        if self is G071:
            return quirks_of(4 if loader_id is None else loader_id & 15)
        if loader_id is None:
            loader_id = list(self.versions)[-1]
        without_checksum = self.protocol != 0x12  # 0xA1 came with V1.2; V2.0 varies [V AN4221]
        base = Quirks(
            loader_id & 15,
            self.product_id,
            loader_id=loader_id,
            checksum="unlisted" if without_checksum else "served",
        )
        return replace(base, **self.versions[loader_id])

    def page_of(self, number: int, pages: int, numbering: str) -> int | None:
        """The page that a number in an erase command means, on a part with so many pages; None:
        none."""
        if numbering not in NUMBERINGS:
            raise ValueError(f"no such numbering: {numbering!r}")
        if not self.two_banks or numbering == "through":
            return number if number < pages else None
        half = pages // 2
        begins = {"linear": self.largest // 2 // self.page, "none": 1 << 16}.get(numbering, 256)
        second = number >= begins
        place = number - begins if second else number
        if numbering == "drops":
            place %= half
        return place + half * second if place < half else None


def _ms(number: float) -> int:
    return round(number * NS_PER_MS)


_CLEARS: dict[str, Any] = {"clears_empty_flag": True}
_G0: dict[str, Any] = {"flash_size_address": 0x1FFF_75E0}  # [V CMSIS-G0, -G4, -L4, -WB]
_C0: dict[str, Any] = {
    "flash_size_address": 0x1FFF_75A0,
    "has_options": True,
}  # [V CMSIS-C0, RM0490]
_L4: dict[str, Any] = {"loader_id_address": 0x1FFF_6FFE, "system_end": 0x1FFF_7000, **_G0}

G071 = Family(
    "G070 G071 G081", 0x460, 0x51, 2 * KB, 128 * KB, 36 * KB, 0x2000_2700,
    0x1FFF_7000, 0x1FFF_6FFE, 0x1FFF_75E0, {0xB0 | n: {} for n in range(5)}, _ms(0.39),
    has_options=True,
    # USART1 and USART2; V3.1 [V table 3]. Fastest: 24 MHz / 16 [R RM0444, oversampling by 16].
    uart=LoaderUart(1_500_000, 110 * NS_PER_US),
)  # fmt: skip

FAMILIES = (
    Family(
        "C011", 0x443, 0x64, 2 * KB, 32 * KB, 6 * KB, 0x2000_1000, 0x1FFF_1800,
        0x1FFF_17FE, versions={0x51: {}}, start_up=_ms(2.1), timeout=_ms(2000), protocol=0x11,
        **_C0,
    ),
    # On UART: USART1 alone, PA9 and PA10; V3.1, without 0xA1 [V tables 3, 12; AN3155 section 3.1].
    # Flashed over it at 57600 baud [V ST community, "STM32C071 impossible to flash through UART"].
    # Fastest: the highest rate that ST tested [V AN3155 section 2.2]. Its USART may measure more,
    # as a G071's, but no source shows it.
    Family(
        "C031", 0x453, 0x63, 2 * KB, 32 * KB, 12 * KB, 0x2000_2000, 0x1FFF_1800,
        0x1FFF_17FE, versions={0x52: {}}, start_up=_ms(2.1), timeout=_ms(2000), protocol=0x11,
        uart=LoaderUart(115_200, 168 * NS_PER_US), **_C0,
    ),
    Family(
        "C051", 0x44C, 0x76, 2 * KB, 64 * KB, 12 * KB, 0x2000_1400, 0x1FFF_3000,
        0x1FFF_2FFE, versions={0xB0: _CLEARS}, start_up=_ms(2.3), timeout=_ms(2200),
        protocol=0x20, **_C0,
    ),
    Family(
        "C071", 0x493, 0x71, 2 * KB, 128 * KB, 24 * KB, 0x2000_2300, 0x1FFF_7000,
        0x1FFF_67FE, versions={0xD1: _CLEARS}, start_up=_ms(2.4), timeout=_ms(2000), **_C0,
    ),
    Family(  # the ID is 0x121; the order of its bytes is not stated
        "C091 C092", 0x44D, 0x77, 2 * KB, 256 * KB, 36 * KB, 0x2000_2400, 0x1FFF_4000,
        0x1FFF_3FFE, versions={0x21: _CLEARS}, start_up=_ms(1.5), timeout=_ms(2000),
        protocol=0x20, **_C0,
    ),
    Family(
        "G030 G031 G041", 0x466, 0x56, 2 * KB, 64 * KB, 8 * KB, 0x2000_1000, 0x1FFF_2000,
        0x1FFF_1FFE, versions={0x51: {}, 0x52: {}, 0x53: {}, 0x54: {}}, start_up=_ms(0.39),
        has_options=True, **_G0,
    ),
    Family(
        "G050 G051 G061", 0x456, 0x62, 2 * KB, 64 * KB, 18 * KB, 0x2000_1000, 0x1FFF_2000,
        0x1FFF_1FFE, versions={0x51: {"erase_stretches": True}}, start_up=_ms(0.39),
        has_options=True, **_G0,
    ),
    G071,
    Family(  # its option bytes have wider fields than a G071's
        "G0B0 G0B1 G0C1", 0x467, 0x5D, 2 * KB, 512 * KB, 144 * KB, 0x2000_4000, 0x1FFF_7000,
        0x1FFF_9FFE, start_up=_ms(0.39), two_banks=True, second_system=(0x1FFF_8000, 0x1FFF_F000),
        versions={
            0xD0: {"one_page_in_bank_2": True, **_CLEARS},
            0x92: {"one_page_in_bank_2": True, **_CLEARS},
        }, **_G0,
    ),
    Family(
        "G431 G441", 0x468, 0x54, 2 * KB, 128 * KB, 32 * KB, 0x2000_4000,
        versions={0xD3: {}, 0xD4: {}}, start_up=_ms(0.39), **_L4,
    ),
    Family(
        "G471 G473 G474 G483 G484", 0x469, 0x53, 2 * KB, 512 * KB, 128 * KB, 0x2000_4000,
        versions={0xD3: {}, 0xD4: {}, 0xD5: {}}, start_up=_ms(0.39), two_banks=True, dbank=True,
        **_L4,
    ),
    Family(
        "G491 G4A1", 0x479, 0x5F, 2 * KB, 512 * KB, 112 * KB, 0x2000_4000,
        versions={0xD2: {}}, start_up=_ms(0.39), **_L4,
    ),
    Family(
        "L412 L422", 0x464, 0x52, 2 * KB, 128 * KB, 40 * KB, 0x2000_2100,
        versions={0xD1: {}}, start_up=_ms(0.86), **_L4,
    ),
    Family(
        "L431 L432 L433 L442 L443", 0x435, 0x48, 2 * KB, 256 * KB, 64 * KB, 0x2000_3100,
        versions={0x91: {}}, start_up=_ms(0.86), **_L4,
    ),
    Family(
        "L451 L452 L462", 0x462, 0x4A, 2 * KB, 512 * KB, 160 * KB, 0x2000_3100,
        versions={0x92: {}}, start_up=_ms(0.86), **_L4,
    ),
    Family(  # 55 ms with LSE
        "L471 L475 L476 L486", 0x415, 0x43, 2 * KB, 1024 * KB, 96 * KB, 0x2000_3100,
        versions={0xA1: {"damages_ram": True}, 0x92: {}, 0xA3: {}}, start_up=_ms(2560),
        two_banks=True, **_L4,
    ),
    Family(
        "L496 L4A6", 0x461, 0x4C, 2 * KB, 1024 * KB, 320 * KB, 0x2000_3100,
        versions={0x93: {}}, start_up=_ms(77), two_banks=True, **_L4,
    ),
    Family(
        "L4R5 L4R7 L4R9 L4S5 L4S7 L4S9", 0x470, 0x50, 4 * KB, 2048 * KB, 640 * KB, 0x2000_3200,
        versions={0x95: {}}, start_up=_ms(10), two_banks=True, dbank=True, **_L4,
    ),
    Family(
        "L4P5 L4Q5", 0x471, 0x5B, 4 * KB, 1024 * KB, 320 * KB, 0x2000_4000,
        versions={0x90: {}}, start_up=_ms(10), two_banks=True, dbank=True, **_L4,
    ),
    Family(
        "U031", 0x459, 0x6B, 2 * KB, 64 * KB, 12 * KB, 0x2000_1500, 0x1FFF_3800,
        0x1FFF_37FE, 0x1FFF_3EA0, {0xB0: _CLEARS}, _ms(4.5),
    ),
    Family(
        "U073 U083", 0x489, 0x6A, 2 * KB, 256 * KB, 40 * KB, 0x2000_2170, 0x1FFF_6800,
        0x1FFF_67FE, 0x1FFF_6EA0, {0xD0: _CLEARS}, _ms(5.6),
    ),
    Family(  # one bank [V EMB]
        "WB10 WB15", 0x494, 0x4F, 2 * KB, 320 * KB, 12 * KB, 0x2000_5000,
        versions={0xB1: {"write_unprotect_erases": True}}, start_up=_ms(0.39), **_L4,
    ),
    Family(
        "WB30 WB35 WB50 WB55", 0x495, 0x4F, 4 * KB, 1024 * KB, 256 * KB, 0x2000_4000,
        versions={0xD5: {"write_unprotect_erases": True}}, start_up=_ms(0.39), **_L4,
    ),
)  # fmt: skip


# KB of flash by the eleventh character of a part number [V data sheets, ordering information].
SIZES = {"4": 16, "6": 32, "8": 64, "B": 128, "C": 256, "E": 512, "Y": 640, "G": 1024, "I": 2048}


def flash_size_of(part: str) -> int:
    """Bytes of flash of a part number, such as "STM32G0B1RE"."""
    size = SIZES[part[10]] * KB
    if part[5:8] == "WB1":
        size = 320 * KB  # the only size, with the letter C
    if size > family_of(part).largest:
        raise ValueError(f"there is no {part}")
    return size


@functools.cache
def family_of(part: str) -> Family:
    """The family of a part number, such as "STM32G0B1RE"."""
    for family in FAMILIES:
        if part[5:9] in family.parts.split():
            return family
    raise ValueError(f"{part} cannot be simulated")
