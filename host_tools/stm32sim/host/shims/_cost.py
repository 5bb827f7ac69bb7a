# mypy: ignore-errors
"""Computations that take milliseconds on a board: the world is told of them; see speed.py."""

from _host import call

_LEAST_HASHED = 256  # bytes; less is not worth a call
_LEAST_BITS = 512  # of a modulus


def hashed(count):
    """Take the time to hash `count` bytes."""
    if count >= _LEAST_HASHED:
        call("sha256", count)


def timed(power):
    """The builtin `pow`, which takes time for long numbers."""

    def pow(base, exponent, modulus=None):
        if modulus is None:
            return power(base, exponent)
        if modulus >> _LEAST_BITS and exponent > 1:
            call("power", _bits(modulus), _multiplications(exponent))
        return power(base, exponent, modulus)

    return pow


def _bits(number):
    """Its length in bits, rounded up to a multiple of 512: each step takes memory."""
    length = _LEAST_BITS
    while number >> length:
        length += _LEAST_BITS
    return length


def _multiplications(exponent):
    """A squaring for each bit after the first, and one more for each of these that is 1."""
    count = 0
    while exponent > 1:
        count += 1 + (exponent & 1)
        exponent >>= 1
    return count
