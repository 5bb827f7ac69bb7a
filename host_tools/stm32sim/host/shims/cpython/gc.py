# mypy: ignore-errors
"""MicroPython's `gc`, for device code in CPython, where collecting would only take time."""

_FREE = 180_000


def collect():
    pass


def mem_free():
    return _FREE


def mem_alloc():
    return 0


def threshold(*amount):
    return -1


def enable():
    pass


def disable():
    pass


def isenabled():
    return True
