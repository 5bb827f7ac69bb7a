"""The part of MicroPython's `machine` that board.py needs. It refuses what the real one refuses;
an access to the wires is a Finding."""

from __future__ import annotations

from tests.fuzz.finding import Finding

driven: list[object] = []  # pins that were driven


class Pin:
    IN, OUT, OPEN_DRAIN, PULL_UP, PULL_DOWN = range(5)

    def __init__(self, id: object, mode: int = -1, pull: int = -1, *, value: object = None):
        if isinstance(id, Pin):
            return
        if not isinstance(id, int | str):
            raise TypeError("can't convert to int")  # mp_obj_get_int
        if isinstance(id, str) or not 0 <= id <= 29:
            raise ValueError("unknown named pin" if isinstance(id, str) else "invalid pin")
        if value is not None:
            driven.append(id)

    def __call__(self, *args: object) -> int:
        return 0

    value = __call__


class SoftI2C:
    def __init__(self, *, scl: Pin, sda: Pin, freq: object, timeout: object):
        for number in (freq, timeout):
            if not isinstance(number, int):
                raise TypeError("can't convert to int")
            if not -(1 << 31) <= number < 1 << 32:
                raise OverflowError("overflow converting long int to machine word")
        if freq == 0:
            raise ZeroDivisionError  # the half period is 500000 / freq

    def _wire(self, *args: object, **kwargs: object) -> None:
        raise Finding("it reached the wires")

    writeto = readfrom_into = readfrom = scan = _wire


class I2C(SoftI2C):
    def __init__(self, id: object, *, scl: Pin, sda: Pin, freq: object, timeout: object):
        if not isinstance(id, int):
            raise TypeError("can't convert to int")
        if id not in (0, 1):
            raise ValueError(f"I2C({id}) doesn't exist")
        super().__init__(scl=scl, sda=sda, freq=freq, timeout=timeout)


class UART:
    def __init__(self, id: object, *, baudrate: object, tx: Pin, rx: Pin, **others: int):
        for number in (id, baudrate):
            if not isinstance(number, int):
                raise TypeError("can't convert to int")
        if id not in (0, 1, 2):  # 2: esp32 alone
            raise ValueError(f"UART({id}) doesn't exist")

    def _wire(self, *args: object) -> None:
        raise Finding("it reached the wires")

    any = read = readinto = write = flush = _wire

    def deinit(self) -> None:
        pass
