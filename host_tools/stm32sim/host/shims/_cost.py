# mypy: ignore-errors
"""The time of computations on a simulated board, in virtual time: only those that take
milliseconds.

Measured with MicroPython's rp2 port in an emulation of an RP2040 at 125 MHz, not on hardware. All
other computations take no time here.
"""

from _host import call

_SHA256_NS_PER_BYTE = 1100
_LEAST_HASHED = 256  # bytes; less is not worth a call
# pow() with a modulus of at least so many bits, and the exponent 65537; grows with their square
_RSA_US = ((2561, 274_500), (1537, 122_000), (513, 30_500))


def hashed(count):
    """Take the time to hash `count` bytes."""
    if count >= _LEAST_HASHED:
        call("compute_us", count * _SHA256_NS_PER_BYTE // 1000)


def timed(power):
    """The builtin `pow`, which takes time for long numbers."""

    def pow(base, exponent, modulus=None):
        if modulus is None:
            return power(base, exponent)
        for bits, duration in _RSA_US:
            if modulus >> (bits - 1):
                call("compute_us", duration)
                break
        return power(base, exponent, modulus)

    return pow
