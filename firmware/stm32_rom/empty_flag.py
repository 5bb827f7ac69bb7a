"""Corrects the EMPTY flag, by a few instructions in the target's RAM.

EMPTY (FLASH_ACR bit 16) is set or cleared at power-on, and decides where a reset leads: into the
loader or the application. After the first installation on a blank chip it is still set. The code
sets it to what the first word of flash says, as a power-on would, and resets the chip. It changes
nothing else: no flash, no option bytes. The ROM cannot do it: its commands reach no registers.

ACR of G0, C0 and U0: CMSIS. stm32flash leaves the loader of an STM32L45x in the same way.
"""

import struct

from .errors import LoaderError

# Begins with a vector table, as Go wants it: stack pointer, and the address of the first
# instruction with bit 0 set. The code needs no stack and runs at any address that is a multiple
# of 4.
#
#           ldr     r0, flash_acr
#           ldr     r1, flash_start
#           ldr     r1, [r1]            @ 0xFFFFFFFF if it is erased
#           movs    r2, #1
#           lsls    r2, r2, #16         @ EMPTY
#           ldr     r3, [r0]
#           bics    r3, r2
#           adds    r1, #1
#           bne     write
#           orrs    r3, r2
#   write:  str     r3, [r0]
#           ldr     r3, [r0]            @ the write has arrived
#           ldr     r0, aircr
#           ldr     r1, reset
#           str     r1, [r0]
#   wait:   b       wait                @ the reset takes a few cycles to arrive
#   flash_acr:      .word 0x40022000
#   flash_start:    .word 0x08000000
#   aircr:          .word 0xE000ED0C
#   reset:          .word 0x05FA0004    @ VECTKEY, SYSRESETREQ
_CODE = (
    b"\x07\x48\x08\x49\x09\x68\x01\x22\x12\x04\x03\x68\x93\x43\x01\x31\x00\xd1\x13\x43"
    b"\x03\x60\x03\x68\x03\x48\x04\x49\x01\x60\xfe\xe7"
    b"\x00\x20\x02\x40\x00\x00\x00\x08\x0c\xed\x00\xe0\x04\x00\xfa\x05"
)
_VECTORS = 8  # bytes
_STACK = 256  # bytes of RAM, the code included
_PART = 32  # most bytes of one Loader.write


def program(address):
    """The bytes for RAM at `address`: vector table and code."""
    return struct.pack("<II", address + _STACK, (address + _VECTORS) | 1) + _CODE


def correct(loader, read_memory, address):
    """Write the code to free RAM at `address`, read it back, and start it.
    Raises LoaderError, BusError; nothing is started unless RAM holds exactly this code."""
    code = program(address)
    for start in range(0, len(code), _PART):
        loader.write(address + start, code[start : start + _PART])
    if read_memory(address, len(code)) != code:
        raise LoaderError("RAM at 0x%08X does not hold what was written" % address)
    loader.go(address)
