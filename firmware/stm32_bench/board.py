"""board.json -> a Board whose loader can do damage, and the supply to watch meanwhile."""

from micropython import const

from stm32_updater.board import Board

from .loader import BenchLoader
from .supply import Supply

_FULL_SCALE = const(65535)
_REFERENCE_MV = const(3300)  # rp2: the ADC's reference is its supply


class BenchBoard(Board):
    """As Board; `supply` is a Supply, or None where no ADC pin is wired to it."""

    make_loader = BenchLoader

    def _build(self, settings, clock, confirm):
        super()._build(settings, clock, confirm)
        self.supply = _make_supply(settings.get("bench"))


def _make_supply(bench):
    if bench is None:
        return None
    from machine import ADC, Pin

    adc = ADC(Pin(bench["supply_adc"]))
    divider = bench["divider"]
    # esp32: calibrated, and to see up to 3.1 V the input must be attenuated.
    read_uv = getattr(adc, "read_uv", None)
    if read_uv is not None:
        adc.atten(ADC.ATTN_11DB)

    def read_mv():
        if read_uv is not None:
            at_pin = read_uv() / 1000
        else:
            at_pin = adc.read_u16() * _REFERENCE_MV / _FULL_SCALE
        return round(at_pin * divider)

    return Supply(read_mv, bench["min_mv"])
