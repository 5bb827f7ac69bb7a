"""The supported chips: loader address, page size and memory map of a part. Table: families.py."""

import sys

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

# Loader start-up, beyond the minimum after reset that AN2606 table 227 gives.
STARTUP_MS = const(20)
# AN2606 table 108, V11.3: after a page erase the host must send nothing for this long.
ERASE_SETTLE_MS = const(40)

# Flash size in KB by the eleventh character of a part number (STM32G071RB: B); ordering
# information in ST's data sheets.
SIZE_LETTERS = {
    "4": 16,
    "6": 32,
    "8": 64,
    "B": 128,
    "C": 256,
    "E": 512,
    "Y": 640,
    "G": 1024,
    "I": 2048,
}

RAM_START = const(0x20000000)


class Chip:
    """One part. `name`, `product_id`, `loader_address` (7 bits), `page_size`, `flash_start`,
    `flash_size`, `ram_size` (bytes), `is_largest` (no part of the family has more flash),
    `loader_id_address`, `options_address`, `flash_size_address` (0 if unknown), `bus_limit` (Hz),
    `startup_ms` (from a reset until the loader listens), `loader_timeout_ms` (after this much
    silence inside a command the loader resets itself), `release_ms` (after this much it has),
    `free_ram` (address of RAM for code that sets the EMPTY flag; 0 if there is none).

    `second_bank`: the first page whose number is not known to the loader by its place in flash;
    see `Flasher`. The number of pages if there is none. `erases_all`: whether all of the flash may
    be erased in one operation. `has_dbank`: the page size is right only if DBANK is 1."""

    def __init__(self, name, flash_size, columns):
        self.name = name
        self.flash_start = FLASH_START
        self.flash_size = flash_size
        product_id, _, address, page_size, largest, ram, loader_id, options, size = columns[:9]
        bus, startup, timeout, free_ram = columns[9:13]
        notes = columns[13].split(",") if columns[13:] else ()
        self.product_id = int(product_id, 16)
        self.loader_address = int(address, 16)
        self.page_size = int(page_size)
        self._largest = _largest(largest)
        self.is_largest = flash_size == self._largest
        self.ram_size = int(ram) * 1024
        self.loader_id_address = 0 if "wide-id" in notes else int(loader_id, 16)
        self.options_address = int(options, 16)
        self.flash_size_address = int(size, 16)
        self.bus_limit = int(bus) * 1000
        self.startup_ms = STARTUP_MS + int(float(startup))
        self.loader_timeout_ms = int(timeout)
        self.release_ms = self.loader_timeout_ms * 3 // 2
        self.free_ram = int(free_ram, 16)
        two_banks = "two-banks" in notes
        self.second_bank = self.pages // 2 if two_banks else self.pages
        self.erases_all = not two_banks and "never-all" not in notes
        self.has_dbank = "dbank" in notes
        self._clears_empty_flag = "clears-empty" in notes

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

    @property
    def second_bank_numbers(self):
        """Numbers that the loader may want for page `second_bank`, in the order in which to try
        them. Each may also mean page 0 or no page, but no other one.

        Counted on through both banks; counted on from half of the family's largest part, as ST's
        open bootloader does; from 256, as RM0444 and RM0351 do. The ROM is documented nowhere."""
        numbers = []
        for number in (self.second_bank, self._largest // 2 // self.page_size, 256):
            if number not in numbers:
                numbers.append(number)
        return numbers

    def quirks(self, loader_id):
        """The Quirks of the loader whose ID byte is `loader_id` (None: unreadable)."""
        quirks = Quirks(self.product_id, loader_id)
        quirks.clears_empty_flag |= self._clears_empty_flag
        return quirks


class Quirks:
    """Work-arounds for one loader version (AN2606 table 108, V11.3).

    `erase_settle_ms`: silence after each page erase. `clears_empty_flag`: after an NRST pulse on
    empty flash with BOOT0 low, the loader does not start again before the next power-on."""

    def __init__(self, product_id, loader_id):
        flawed = product_id == 0x460 and loader_id in (0xB3, None)
        self.version = "?" if loader_id is None else "%d.%d" % (loader_id >> 4, loader_id & 15)
        self.erase_settle_ms = ERASE_SETTLE_MS if flawed else 0
        self.clears_empty_flag = flawed


def _families():
    """The module families.py. It is dropped again: it is large, and needed once in a run."""
    from . import families

    package = families.__name__.rpartition(".")[0]
    del sys.modules[families.__name__]
    del sys.modules[package].families
    return families


def _names(parts):
    return ["STM32" + part for part in parts.split(",")]


def _largest(column):
    """Bytes of flash of the family's largest part."""
    return int(column.rpartition("=")[2]) * 1024


def _size(letter, column):
    """Bytes of flash by the letter in a part number; None if no part of the family has it."""
    own, _, kilobytes = column.rpartition("=")
    size = int(kilobytes) if own and own == letter else SIZE_LETTERS.get(letter, 0)
    return size * 1024 if 0 < size * 1024 <= _largest(column) else None


def by_name(name):
    """The Chip called `name`, e.g. "STM32G071RB" or "STM32G071RBT6". Raises UnknownChip."""
    part = name.upper()
    sound = all("0" <= char <= "9" or "A" <= char <= "Z" for char in part)
    families = _families()
    known = []
    for row in families.SUPPORTED:
        columns = row.split()
        prefixes = _names(columns[1])
        if sound and part[:9] in prefixes:
            size = _size(part[10:11], columns[4])
            if size is None:
                letters = [letter for letter in SIZE_LETTERS if _size(letter, columns[4])]
                raise UnknownChip(
                    "%s: the flash size letter is missing or wrong; it is the second one after "
                    "%s: %s" % (name, part[:9], ", ".join(letters))
                )
            return Chip(part, size, columns)
        known += prefixes
    if not part.startswith("STM32"):
        raise UnknownChip("%s is not a part number such as STM32G071RB" % name)
    why = None
    for _, parts, reason in families.REFUSED if sound else ():
        if why is None and any(part.startswith(prefix) for prefix in _names(parts)):
            why = ": " + reason
    if why is None:
        why = "; supported: " + ", ".join(known)
    raise UnknownChip("%s is not a supported chip%s" % (name, why))


def largest(product_id):
    """The Chip with the most flash of the family with this product ID; None if it is not
    supported."""
    for row in _families().SUPPORTED:
        columns = row.split()
        if int(columns[0], 16) == product_id:
            name = "STM32%s, largest part" % columns[1].split(",")[0]
            return Chip(name, _largest(columns[4]), columns)
    return None


def family_name(product_id):
    """The part numbers with this product ID, for messages; for a family that is recognised but not
    supported also why."""
    families = _families()
    wanted = "%03X" % product_id
    for row in families.SUPPORTED:
        columns = row.split()
        if columns[0] == wanted:
            return "/".join(_names(columns[1]))
    for product_ids, parts, reason in families.REFUSED:
        if wanted in product_ids.split(","):
            return "%s, not supported: %s" % ("/".join(_names(parts)), reason)
    return "unknown family"
