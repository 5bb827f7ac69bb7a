# mypy: ignore-errors
"""MicroPython's `micropython`, for device code that runs in CPython."""


def const(value):
    return value


def native(function):
    return function


viper = native
bytecode = native


def opt_level(*level):
    return 0


def mem_info(*verbose):
    pass


def qstr_info(*verbose):
    pass


def stack_use():
    return 0


def kbd_intr(char):
    pass


def alloc_emergency_exception_buf(size):
    pass


def schedule(function, arg):
    function(arg)


def heap_lock():
    pass


def heap_unlock():
    pass
