"""The families of STM32: one line of text for each, because tuples of numbers are hard to read.

chips.py reads this table when it looks up a part, and drops it again. docs/families.md is made
from it: a comment that begins with a hyphen states the evidence of the lines below it, and any
other comment the known faults of the loader in the next line.

Address, loader ID, bus limit, start-up time and timeout: AN2606 (2026), device tables and tables
3, 226 (with the free RAM), 227, 230. Sizes: data sheets. Every flash begins at 0x08000000. Where
a source leaves something open, the value is 0, or the family is in REFUSED.
"""

# Columns:
#   product ID; part numbers without "STM32"; the loader's I2C address; page size in bytes; flash
#   and RAM of the largest part in KB (C=320: part numbers with the letter C have 320 KB; RAM: one
#   block from 0x20000000); addresses of the loader's ID byte, of option bytes laid out as a G0's,
#   and of the flash size register; bus limit in kHz; start-up in ms, at least; timeout in ms;
#   first address of RAM that the loader does not use, if the EMPTY flag is bit 16 of FLASH_ACR, as
#   in G0, C0 and U0 (else 0; of C011 and C031 it is misprinted in AN2606);
# and notes:
#   clears-empty   every version of the loader clears the EMPTY flag
#   wide-id        the loader ID has 12 bits, in an order that is not stated: it is not read
#   two-banks      which page numbers the loader wants for the second bank is not stated
#   dbank          the page size is another one if option bit DBANK is 0
#   never-all      erasing all of the flash would erase what does not belong to the application
SUPPORTED = (
    # - C0: page size from ST's HAL and the Black Magic Probe; flash size register from CMSIS and
    # - stlink; option bytes from RM0490 table 18. C091 has 36 KB of RAM, C092 30 KB.
    "443 C011 64 2048 32 6 1FFF17FE 1FFF7800 1FFF75A0 1000 2.1 2000 0",
    "453 C031 63 2048 32 12 1FFF17FE 1FFF7800 1FFF75A0 1000 2.1 2000 0",
    # V11.0 clears the EMPTY flag
    "44C C051 76 2048 64 12 1FFF2FFE 1FFF7800 1FFF75A0 400 2.3 2200 20001400 clears-empty",
    # V13.1 clears the EMPTY flag
    "493 C071 71 2048 128 24 1FFF67FE 1FFF7800 1FFF75A0 1000 2.4 2000 20002300 clears-empty",
    # V18.1 clears the EMPTY flag
    "44D C091,C092 77 2048 256 36 1FFF3FFE 1FFF7800 1FFF75A0 400 1.5 2000 20002400 "
    "clears-empty,wide-id",
    # - G0: page size from stlink; flash size register from CMSIS; option bytes from RM0490
    # - table 18, which is for the same flash, and CMSIS.
    # V5.1, V5.2: with PA3 low, no interface but its UART works
    "466 G030,G031,G041 56 2048 64 8 1FFF1FFE 1FFF7800 1FFF75E0 1000 0.39 1000 20001000",
    # V5.1: No-Stretch Erase stretches the clock and never answers BUSY
    "456 G050,G051,G061 62 2048 64 18 1FFF1FFE 1FFF7800 1FFF75E0 1000 0.39 1000 20001000",
    # V11.3 clears the EMPTY flag, does not wait for an erase, and holds the clock if PC11 is low
    "460 G070,G071,G081 51 2048 128 36 1FFF6FFE 1FFF7800 1FFF75E0 1000 0.39 1000 20002700",
    # V13.0, V9.2: only one page of the second bank in each erase command; clear the EMPTY flag.
    # Was seen to acknowledge writes at addresses that are no multiple of 8 and not to do them.
    # PA12 must not float: it may hold SCL low.
    "467 G0B0,G0B1,G0C1 5D 2048 512 144 1FFF9FFE 0 1FFF75E0 1000 0.39 1000 20004000 "
    "clears-empty,two-banks",
    # - G4: page size from stlink; flash size register from CMSIS; where G4 keeps its option bytes
    # - is disputed, and they are laid out differently.
    # V13.3 cannot use CCM RAM
    "468 G431,G441 54 2048 128 32 1FFF6FFE 0 1FFF75E0 1000 0.39 1000 0",
    "479 G491,G4A1 5F 2048 512 112 1FFF6FFE 0 1FFF75E0 1000 0.39 1000 0",
    # V13.3 cannot boot from the second bank
    "469 G471,G473,G474,G483,G484 53 2048 512 128 1FFF6FFE 0 1FFF75E0 1000 0.39 1000 0 "
    "two-banks,dbank",
    # - L4: page size from stlink; flash size register from CMSIS; its option bytes are laid out
    # - differently. No internal pull-ups.
    # Cannot write PCROP option bytes
    "435 L431,L432,L433,L442,L443 48 2048 256 64 1FFF6FFE 0 1FFF75E0 1000 0.86 1000 0",
    # Cannot write PCROP option bytes
    "462 L451,L452,L462 4A 2048 512 160 1FFF6FFE 0 1FFF75E0 1000 0.86 1000 0",
    # V13.1 answers the first byte on a UART twice
    "464 L412,L422 52 2048 128 40 1FFF6FFE 0 1FFF75E0 1000 0.86 1000 0",
    # V10.1, V9.0 damage what is written to RAM. Starts in 55 ms with LSE, in 2560 ms without.
    "415 L471,L475,L476,L486 43 2048 1024 96 1FFF6FFE 0 1FFF75E0 400 2560 1000 0 two-banks",
    # V9.3 refuses to erase a bank
    "461 L496,L4A6 4C 2048 1024 320 1FFF6FFE 0 1FFF75E0 1000 77 1000 0 two-banks",
    "470 L4R5,L4R7,L4R9,L4S5,L4S7,L4S9 50 4096 2048 640 1FFF6FFE 0 1FFF75E0 1000 10 1000 0 "
    "two-banks,dbank",
    # Cannot write PCROP option bytes
    "471 L4P5,L4Q5 5B 4096 1024 320 1FFF6FFE 0 1FFF75E0 1000 10 1000 0 two-banks,dbank",
    # - U0: page size from ST's HAL; flash size register from CMSIS; option bytes not looked up.
    # V11.1 clears the EMPTY flag
    "459 U031 6B 2048 64 12 1FFF37FE 0 1FFF3EA0 400 4.5 1000 20001500 clears-empty",
    # V13.0 clears the EMPTY flag
    "489 U073,U083 6A 2048 256 40 1FFF67FE 0 1FFF6EA0 400 5.6 1000 20002170 clears-empty",
    # - WB: page size and single bank from embassy's chip files and stlink; flash size register
    # - from CMSIS. A wireless stack lies in the upper flash: name it in [flash] preserve.
    # Write Unprotect (0x73) performs a Readout Unprotect, which erases everything
    "494 WB10,WB15 4F 2048 C=320 12 1FFF6FFE 0 1FFF75E0 1000 0.39 1000 0 never-all",
    # Write Unprotect (0x73) performs a Readout Unprotect, which erases everything
    "495 WB30,WB35,WB50,WB55 4F 4096 1024 256 1FFF6FFE 0 1FFF75E0 1000 0.39 1000 0 never-all",
)

_ZEROS = (
    "it programs 16 bytes at once, and whether zeros can be written over them is not known: an "
    "interrupted update could leave a damaged application that runs"
)
_STATES = "it has product states instead of readout protection; " + _ZEROS
_TRUSTZONE = "TrustZone may divide its flash; "
_SECTORS = "its flash has sectors of up to 128 KB, whose erase takes seconds"
_BYTES = _SECTORS + ", and its loader programs byte by byte"
_NO_I2C = "its loader has no I2C, and only families with I2C are described"

# (product IDs, beginnings of the part numbers without "STM32", why such a chip is not written). A
# part belongs to the first line that fits.
REFUSED = (
    ("472", "L55,L56", _TRUSTZONE + "sources differ whether it programs 8 or 16 bytes at once"),
    ("474", "H503", _STATES),
    ("478", "H523,H533", _STATES),
    ("484", "H562,H563,H573", _STATES),
    ("47A", "H5E,H5F", _STATES),
    ("454", "U37,U38", _TRUSTZONE + "sources differ about its loader's address: 0x6C or 0x5A"),
    ("42A", "U3B,U3C", _TRUSTZONE + "the page numbers of its second bank are not known"),
    ("455,482", "U53,U54,U57,U58", _TRUSTZONE + _ZEROS),
    ("481", "U59,U5A", _TRUSTZONE + _ZEROS),
    ("476", "U5F,U5G", _TRUSTZONE + _ZEROS),
    ("492", "WBA5", _TRUSTZONE + _ZEROS),
    ("4B0", "WBA6", _TRUSTZONE + _ZEROS),
    ("4B2", "WBA2", "its loader has a reserved I2C address, 0x78; " + _ZEROS),
    ("447", "L07,L08", "its erased flash reads as zeros, which are no proof of an erase here"),
    ("483", "H72,H73", _SECTORS),
    ("450", "H74,H75", _SECTORS),
    ("480", "H7A,H7B", "its loader's address is misprinted in AN2606"),
    ("485", "H7R,H7S", "its loader's start depends on an option bit for I3C"),
    ("413,419,423,433,458,431,441,463,421,434", "F4", _BYTES),
    ("449,451,452", "F7", _BYTES),
    (
        "442,445,448",
        "F0",
        "its loader has no No-Stretch commands: it holds the clock for an erase",
    ),
    ("438,439,446,422,432", "F3", "its loader's address is not confirmed"),
    ("44E,44F,45A", "C5", _NO_I2C),
    ("", "WB0,WL", _NO_I2C),
    ("457,425,417", "L0", _NO_I2C),
    ("416,429,427,436,437", "L1", _NO_I2C),
    ("412,410,414,420,428,418,430", "F1", _NO_I2C),
    ("411", "F2", _NO_I2C),
)
