"""A Board that can also measure the target's supply, as [bench] of board.json says."""

from micropython import const

from stm32_rom import pins
from stm32_updater.board import Board
from stm32_updater.settings import Section

from .supply import Supply

# Limits of numbers in board.json, as in stm32_updater.board.
_MIN_MV_MIN = const(1700)
_MIN_MV_MAX = const(3600)
_DIVIDER_MIN = const(1)
_DIVIDER_MAX = const(20)
_FULL_SCALE = const(65535)
_REFERENCE_MV = const(3300)  # rp2: the ADC's reference is its supply


class BenchBoard(Board):
    """As Board, with `supply`: a Supply, or None if no ADC pin is wired to it."""

    def __init__(self, settings, clock, confirm=None):
        super().__init__(settings, clock, confirm)
        bench = settings.get("bench")
        self.supply = None if bench is None else _make_supply(Section(bench, "bench"))


def _make_supply(bench):
    from machine import ADC

    pin, min_mv = bench.pin("supply_adc"), bench.number("min_mv", _MIN_MV_MIN, _MIN_MV_MAX)
    divider = bench.get("divider")
    if type(divider) not in (int, float) or not _DIVIDER_MIN <= divider <= _DIVIDER_MAX:
        raise bench.wrong("divider", "must be a number, 1 to 20")
    try:
        adc = ADC(pins.unconfigured(pin))
    except ValueError as error:
        raise bench.wrong("supply_adc", "has no ADC: %s" % error)
    # esp32: calibrated; needs attenuation to measure up to 3.1 V.
    read_uv = getattr(adc, "read_uv", None)
    if read_uv is not None:
        adc.atten(ADC.ATTN_11DB)

    def read_mv():
        if read_uv is not None:
            at_pin = read_uv() / 1000
        else:
            at_pin = adc.read_u16() * _REFERENCE_MV / _FULL_SCALE
        return round(at_pin * divider)

    return Supply(read_mv, min_mv)
