"""How fast each simulated host is: the time of its Python, its calls and its files. Every such
number is here once; the time of its flash is in host_flash.py.

Python is charged by what it executes. In real MicroPython the bytecodes are counted
(count_bytecodes.mjs); in CPython an average is charged for each call over the seam. C code inside
MicroPython that runs between two calls (`int.from_bytes`, json, a garbage collection) is free,
except the functions that take milliseconds and have a shim: SHA-256 and `pow`.
"""

from __future__ import annotations

from dataclasses import dataclass

from stm32sim.wires.clock import NS_PER_MS, NS_PER_US

_DIGIT_BITS = 16  # MicroPython's long integers, on a 32-bit machine


@dataclass(frozen=True)
class Speed:
    """Durations in ns."""

    boot: int
    """From a reset to boot.py: the start of the chip and of MicroPython."""
    uncounted_start: int
    """Importing the product package and making an Updater, if nothing counts that."""
    bytecode: int
    """One bytecode, on average."""
    python_call: int
    """A call of a Python function or a resumption of a generator, without its bytecodes."""
    i2c_call: int
    """machine.I2C.writeto or readfrom_into, without the transfer."""
    i2c_bit: int
    """How much longer a bit on the bus takes than the nominal frequency says."""
    uart_call: int
    """A call of a method of machine.UART, without waiting."""
    uart_byte: int
    """A byte that such a call copies from or to the driver's buffer."""
    pin_call: int
    """A call of machine.Pin or ADC, or of a function that reads the clock."""
    file_call: int
    """Any function of the filesystem, without what follows."""
    metadata_byte: int
    """A byte that littlefs reads from flash, except a file's content: it computes a CRC."""
    data_byte: int
    """A byte of a file's content that is read."""
    bytecode_byte: int
    """A byte of a .mpy file that is imported, beyond reading it."""
    source_byte: int
    """A byte of a .py file that is compiled, beyond reading it."""
    sha256_byte: int
    digit_product: int
    """The inner loop of multiplying or dividing long integers."""

    def python(self, bytecodes: int, calls: int) -> int:
        return bytecodes * self.bytecode + calls * self.python_call

    def uncounted_python(self, name: str) -> int:
        """The Python before a call over the seam, if nothing counts it."""
        return self.python(*UNCOUNTED.get(name, UNCOUNTED_OTHERS))

    def power(self, modulus_bits: int, multiplications: int) -> int:
        """pow() with a modulus; a division follows each multiplication (py/mpz.c)."""
        digits = -(-modulus_bits // _DIGIT_BITS)
        return 2 * multiplications * digits**2 * self.digit_product


# (bytecodes, calls of Python functions) before a call over the seam: the averages of an update of
# 128 KB in MicroPython, and for pins of Heartbeat.
UNCOUNTED = {
    "i2c_write": (170, 5),
    "i2c_read": (40, 2),
    "uart_write": (170, 5),  # as I2C's: an estimate
    "uart_read": (40, 2),
    "ticks_us": (44, 3),
    "sleep_us": (23, 2),
    "pin_read": (15, 0),
    "pin_write": (20, 1),
}
UNCOUNTED_OTHERS = (65, 4)

# MicroPython v1.28 rp2 port in an emulation of an RP2040 at 125 MHz, without XIP cache misses: a
# real board is slower. Not measured on hardware. Where the emulation had the additional load of a
# USB host that polled it without pause, 1/1.2 of the measured time is used: with and without that
# load a boot differed by 20 %.
RP2 = Speed(
    boot=20 * NS_PER_MS,  # assumed
    uncounted_start=310 * NS_PER_MS,  # the product package in MicroPython
    # Python between two transactions: 2.39 s for 128 KB, 1.08 million bytecodes, 55,000 calls. A
    # loop of 7 bytecodes over 256 bytes: 2.61 ms.
    bytecode=1_200,
    python_call=8_000,
    i2c_call=40 * NS_PER_US,
    i2c_bit=211,  # 24.4 us a byte at 400 kHz, not 22.5: the driver waits for each byte
    # Estimates: both methods are loops in C over single bytes, as machine.I2C's are.
    uart_call=30 * NS_PER_US,
    uart_byte=1_500,
    pin_call=5 * NS_PER_US,
    file_call=30 * NS_PER_US,
    # os.stat: 1.5 ms with the additional load, 4.5 KB read by littlefs
    metadata_byte=290,
    data_byte=100,  # an image of 128 KB, read twice: 37 ms
    bytecode_byte=3_500,  # importing the package: 353 ms with the additional load
    source_byte=15_000,  # assumed; main.py, 1.9 KB, took less than 50 ms
    sha256_byte=1_100,
    digit_product=261,  # pow() for RSA-3072: 327 ms, 33 cycles for a product of two digits
)

# An estimate, nothing of it is measured: MicroPython's default of 160 MHz, code in flash behind a
# cache as on the RP2040, a core that does somewhat more in a cycle (two instructions for a 32-bit
# multiplication with all its bits, conditional moves). So Python takes 0.75 of the RP2040's time.
# Not faster in that proportion: `i2c_call`, because ESP-IDF's driver builds a list of commands,
# takes a mutex and waits for an interrupt, under an operating system; and reading flash, for which
# ESP-IDF switches the cache off and talks SPI. The I2C peripheral sends a list of commands without
# the CPU, so a byte takes its nominal time. ESP-IDF's SHA-256 uses the chip's accelerator.
ESP32 = Speed(
    boot=300 * NS_PER_MS,  # its own loader, then FreeRTOS
    uncounted_start=340 * NS_PER_MS,  # the product package in MicroPython
    bytecode=900,
    python_call=6_000,
    i2c_call=90 * NS_PER_US,
    i2c_bit=0,
    uart_call=40 * NS_PER_US,  # locks of the operating system
    uart_byte=300,  # its driver copies blocks
    pin_call=4 * NS_PER_US,
    file_call=30 * NS_PER_US,
    metadata_byte=400,
    data_byte=200,
    bytecode_byte=2_600,
    source_byte=11_000,
    sha256_byte=200,
    digit_product=130,
)

SPEEDS = {"rp2": RP2, "esp32": ESP32, "esp32-new": ESP32}
"""By the keys of controller.HARDWARE."""
