"""The supported chips: loader address, page size and memory map of each family.

A family is listed if AN2606 gives its I2C address in the family's table and a second source
(stlink's chip files, the reference manual) confirms its page size. Not listed, among others: C051,
C071, C091, U0 (page size not confirmed), G0B0/G0B1/G0C1 and G47x/G48x (two banks: how the loader
numbers the pages of the second bank is not confirmed).
"""

from micropython import const

from .errors import UnknownChip

FLASH_START = const(0x08000000)
GRANULE = const(8)  # bytes programmed at once: a double word; RM0444 section 3.3.8
BLOCK = const(256)  # most bytes of one Read or Write Memory command; AN4221 sections 2.4, 2.6

# Durations in us: (typical, longest), DS12232 table "Flash memory characteristics"; not verified.
# And the 1 s that ST's driver (HAL) allows for any operation.
PAGE_ERASE_US = (22_000, 41_000)
MASS_ERASE_US = (22_100, 41_000)
BLOCK_WRITE_US = (2_720, 4_000)  # 32 double words of 85 to 125 us
OPERATION_LIMIT_MS = const(1000)
# A checksum: an estimate of 12 cycles of the loader's 24 MHz for each word, and a guess.
CHECKSUM_US = (256, 2_000)
CHECKSUM_BYTES = const(2048)

# Loader start-up: AN2606 table 227 gives a minimum of 0.39 ms (G0) to 2.4 ms (C0) after reset.
STARTUP_MS = const(20)
# AN2606 table 230: after this much silence inside a command the loader resets itself.
LOADER_TIMEOUT_MS = const(1000)
# AN2606 table 108, V11.3: after a page erase the host must send nothing for this long.
ERASE_SETTLE_MS = const(40)

# Flash size in KB by the eleventh character of a part number (STM32G071RB: B); ordering
# information in ST's data sheets.
_SIZE_LETTERS = {"4": 16, "6": 32, "8": 64, "B": 128, "C": 256, "E": 512}

# The chip's flash size in KB, u16: RM0444 section 41.2, FLASHSIZE_BASE in CMSIS of G0, G4 and L4.
# C0 has another address, which is not confirmed.
_SIZE = const(0x1FFF75E0)
_ID = const(0x1FFF6FFE)  # the loader's ID byte; AN2606 table 3
_OPTIONS = const(0x1FFF7800)  # start of the option bytes; RM0490 table 18

# product ID, prefixes of the part numbers, I2C address, page size, largest flash and RAM in KB,
# addresses of the loader's ID byte, the option bytes and the flash size register (0: unknown).
# From AN2606 tables 3, 226 and the family's own table; sizes from the data sheets.
_FAMILIES = (
    (0x443, ("STM32C011",), 0x64, 2048, 32, 6, 0, _OPTIONS, 0),
    (0x453, ("STM32C031",), 0x63, 2048, 32, 12, 0, _OPTIONS, 0),
    (0x466, ("STM32G030", "STM32G031", "STM32G041"), 0x56, 2048, 64, 8, 0, _OPTIONS, _SIZE),
    (0x456, ("STM32G050", "STM32G051", "STM32G061"), 0x62, 2048, 64, 18, 0, _OPTIONS, _SIZE),
    (0x460, ("STM32G070", "STM32G071", "STM32G081"), 0x51, 2048, 128, 36, _ID, _OPTIONS, _SIZE),
    (0x468, ("STM32G431", "STM32G441"), 0x54, 2048, 128, 32, 0, 0, _SIZE),
    (0x479, ("STM32G491", "STM32G4A1"), 0x5F, 2048, 512, 112, 0, 0, _SIZE),
    (0x435, ("STM32L431", "STM32L432", "STM32L433"), 0x48, 2048, 256, 64, 0, 0, _SIZE),
    (0x435, ("STM32L442", "STM32L443"), 0x48, 2048, 256, 64, 0, 0, _SIZE),
    (0x462, ("STM32L451", "STM32L452", "STM32L462"), 0x4A, 2048, 512, 160, 0, 0, _SIZE),
)

RAM_START = const(0x20000000)


class Chip:
    """One part: `name`, `product_id`, `loader_address` (7 bits), `flash_start`, `flash_size`,
    `is_largest` (no part of the family has more flash), `page_size`, `ram_size` (bytes),
    `loader_id_address`, `options_address`, `flash_size_address` (0 if unknown)."""

    def __init__(self, name, flash_size, family):
        self.name = name
        self.flash_start = FLASH_START
        self.flash_size = flash_size
        self.product_id, _, self.loader_address, self.page_size, largest_kb, ram_kb = family[:6]
        self.is_largest = flash_size == largest_kb * 1024
        self.ram_size = ram_kb * 1024
        self.loader_id_address, self.options_address, self.flash_size_address = family[6:]

    @property
    def flash_end(self):
        return self.flash_start + self.flash_size

    @property
    def pages(self):
        return self.flash_size // self.page_size

    def page_of(self, address):
        """Number of the page that holds `address`."""
        return (address - self.flash_start) // self.page_size

    def page_address(self, page):
        return self.flash_start + page * self.page_size

    def quirks(self, loader_id):
        """The Quirks of the loader whose ID byte is `loader_id` (None: unreadable)."""
        return Quirks(self.product_id, loader_id)


class Quirks:
    """Work-arounds for one loader version (AN2606 table 108, V11.3).

    `erase_settle_ms`: silence after each page erase. `clears_empty_flag`: after an NRST pulse on
    empty flash with BOOT0 low, the loader does not start again before the next power-on."""

    def __init__(self, product_id, loader_id):
        flawed = product_id == 0x460 and loader_id in (0xB3, None)
        self.version = "?" if loader_id is None else "%d.%d" % (loader_id >> 4, loader_id & 15)
        self.erase_settle_ms = ERASE_SETTLE_MS if flawed else 0
        self.clears_empty_flag = flawed


def by_name(name):
    """The Chip called `name`, e.g. "STM32G071RB" or "STM32G071RBT6". Raises UnknownChip."""
    part = name.upper()
    sound = all("0" <= char <= "9" or "A" <= char <= "Z" for char in part)
    for family in _FAMILIES if sound else ():
        _, parts = family[:2]
        if part[:9] in parts:
            size = _SIZE_LETTERS.get(part[10:11])
            if size is None:
                raise UnknownChip(
                    "%s: the flash size letter is missing, as in %sRB" % (name, part[:9])
                )
            return Chip(part, size * 1024, family)
    known = ", ".join([prefix for _, parts, *_ in _FAMILIES for prefix in parts])
    raise UnknownChip("%s is not a supported chip; supported: %s" % (name, known))


def family_name(product_id):
    """The part numbers with this product ID, for messages."""
    for known, parts, *_ in _FAMILIES:
        if known == product_id:
            return "/".join(parts)
    return "unknown family"
