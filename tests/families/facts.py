"""What AN2606 (2026), CMSIS and the data sheets say about each family, written down once more, to
check the tables of the device and of the simulator."""

from __future__ import annotations

from typing import NamedTuple


class Fact(NamedTuple):
    """`part`: an example; of a family with two banks, a small one."""

    part: str
    flash_kb: int
    product_id: int
    address: int
    page: int
    ram_kb: int
    loader_id_at: int
    flash_size_at: int
    options_at: int
    bus_khz: int
    start_up_ms: float
    timeout_ms: int
    free_ram: int = 0  # of families whose FLASH_ACR has EMPTY; AN2606 table 226
    uart_baud: int = 0  # where UART is simulated: 24 MHz / 16; AN3155 section 2.2


FACTS = (
    Fact("STM32C011F6", 32, 0x443, 0x64, 2048, 6, 0x1FFF17FE, 0x1FFF75A0, 0x1FFF7800,
         1000, 2.1, 2000),
    Fact("STM32C031C6", 32, 0x453, 0x63, 2048, 12, 0x1FFF17FE, 0x1FFF75A0, 0x1FFF7800,
         1000, 2.1, 2000, uart_baud=115_200),
    Fact("STM32C051C8", 64, 0x44C, 0x76, 2048, 12, 0x1FFF2FFE, 0x1FFF75A0, 0x1FFF7800,
         400, 2.3, 2200, 0x20001400),
    Fact("STM32C071RB", 128, 0x493, 0x71, 2048, 24, 0x1FFF67FE, 0x1FFF75A0, 0x1FFF7800,
         1000, 2.4, 2000, 0x20002300),
    Fact("STM32C092RC", 256, 0x44D, 0x77, 2048, 36, 0x1FFF3FFE, 0x1FFF75A0, 0x1FFF7800,
         400, 1.5, 2000, 0x20002400),
    Fact("STM32G031K8", 64, 0x466, 0x56, 2048, 8, 0x1FFF1FFE, 0x1FFF75E0, 0x1FFF7800,
         1000, 0.39, 1000, 0x20001000),
    Fact("STM32G051K8", 64, 0x456, 0x62, 2048, 18, 0x1FFF1FFE, 0x1FFF75E0, 0x1FFF7800,
         1000, 0.39, 1000, 0x20001000),
    Fact("STM32G071RB", 128, 0x460, 0x51, 2048, 36, 0x1FFF6FFE, 0x1FFF75E0, 0x1FFF7800,
         1000, 0.39, 1000, 0x20002700, 1_500_000),
    Fact("STM32G431KB", 128, 0x468, 0x54, 2048, 32, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.39, 1000),
    Fact("STM32G491RE", 512, 0x479, 0x5F, 2048, 112, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.39, 1000),
    Fact("STM32L432KC", 256, 0x435, 0x48, 2048, 64, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.86, 1000),
    Fact("STM32L452RE", 512, 0x462, 0x4A, 2048, 160, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.86, 1000),
    Fact("STM32L412KB", 128, 0x464, 0x52, 2048, 40, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.86, 1000),
    Fact("STM32U031R8", 64, 0x459, 0x6B, 2048, 12, 0x1FFF37FE, 0x1FFF3EA0, 0,
         400, 4.5, 1000, 0x20001500),
    Fact("STM32U083RC", 256, 0x489, 0x6A, 2048, 40, 0x1FFF67FE, 0x1FFF6EA0, 0,
         400, 5.6, 1000, 0x20002170),
    Fact("STM32G0B1RC", 256, 0x467, 0x5D, 2048, 144, 0x1FFF9FFE, 0x1FFF75E0, 0,
         1000, 0.39, 1000, 0x20004000),
    Fact("STM32G474RB", 128, 0x469, 0x53, 2048, 128, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.39, 1000),
    Fact("STM32L476RC", 256, 0x415, 0x43, 2048, 96, 0x1FFF6FFE, 0x1FFF75E0, 0, 400, 2560, 1000),
    Fact("STM32L496RE", 512, 0x461, 0x4C, 2048, 320, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 77, 1000),
    Fact("STM32L4R5ZG", 1024, 0x470, 0x50, 4096, 640, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 10, 1000),
    Fact("STM32L4P5RE", 512, 0x471, 0x5B, 4096, 320, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 10, 1000),
    Fact("STM32WB15CC", 320, 0x494, 0x4F, 2048, 12, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.39, 1000),
    Fact("STM32WB55CE", 512, 0x495, 0x4F, 4096, 256, 0x1FFF6FFE, 0x1FFF75E0, 0, 1000, 0.39, 1000),
)  # fmt: skip
WIDE_ID = 0x44D  # 12 bits, in an order that is not stated
# The largest parts of those with two banks, of which the small ones are in FACTS.
TWO_BANKS = {
    "STM32G0B1RC": "STM32G0B1RE",
    "STM32G474RB": "STM32G474RE",
    "STM32L476RC": "STM32L476RG",
    "STM32L496RE": "STM32L496RG",
    "STM32L4R5ZG": "STM32L4R5ZI",
    "STM32L4P5RE": "STM32L4P5RG",
}
DBANK = ("STM32G474RB", "STM32L4R5ZG", "STM32L4P5RE")
CLEARS_EMPTY = (
    *("STM32C051C8", "STM32C071RB", "STM32C092RC", "STM32U031R8", "STM32U083RC", "STM32G0B1RC"),
)
# Parts that are recognised and not written: an example, its product ID if one is known, and a word
# of the reason.
REFUSED = (
    ("STM32L552RE", 0x472, "8 or 16 bytes"),
    ("STM32H503RB", 0x474, "product states"),
    ("STM32H533RE", 0x478, "product states"),
    ("STM32H563ZI", 0x484, "product states"),
    ("STM32H5F5ZJ", 0x47A, "product states"),
    ("STM32U385RG", 0x454, "0x6C or 0x5A"),
    ("STM32U3C5RI", 0x42A, "second bank"),
    ("STM32U545RE", 0x455, "16 bytes"),
    ("STM32U575ZI", 0x482, "16 bytes"),
    ("STM32U5A9NJ", 0x481, "16 bytes"),
    ("STM32U5G9NJ", 0x476, "16 bytes"),
    ("STM32WBA55CG", 0x492, "16 bytes"),
    ("STM32WBA65RI", 0x4B0, "16 bytes"),
    ("STM32WBA25CE", 0x4B2, "reserved"),
    ("STM32L073RZ", 0x447, "zeros"),
    ("STM32H723ZG", 0x483, "sectors"),
    ("STM32H743ZI", 0x450, "sectors"),
    ("STM32H7A3ZI", 0x480, "misprinted"),
    ("STM32H7S3L8", 0x485, "I3C"),
    ("STM32F446RE", 0x421, "byte by byte"),
    ("STM32F767ZI", 0x451, "byte by byte"),
    ("STM32F070RB", 0x448, "clock"),
    ("STM32F303RE", 0x446, "not confirmed"),
    ("STM32C552RE", 0x44E, "no I2C"),
    ("STM32WB05KZ", 0, "no I2C"),
    ("STM32WLE5JC", 0, "no I2C"),
    ("STM32L053R8", 0x417, "no I2C"),
    ("STM32L152RE", 0x437, "no I2C"),
    ("STM32F103C8", 0x410, "no I2C"),
    ("STM32F207ZG", 0x411, "no I2C"),
)
