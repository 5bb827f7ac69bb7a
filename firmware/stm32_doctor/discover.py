"""Which chip is on the board, if nothing says so: `chip = "auto"` in board.toml.

Each family's loader has its own address, and a command to an address may mean anything to another
device. So an address gets one only if nothing acknowledges it while NRST is low.
"""

from stm32_rom import chips
from stm32_rom.commands import Loader
from stm32_rom.errors import BusError, LoaderError
from stm32_rom.i2c import I2CLink
from stm32_rom.target import NRST_LOW_MS, Target

from .wires import Wires

_WAITS_MS = (20, 2600)  # most loaders start at once, that of an L47x without LSE after 2560 ms


def chip(settings, addresses, clock):
    """{"address", "product_id", "flash_size"} of the chip whose loader answers at one of
    `addresses`; None if none does. "flash_size" in bytes, None if the loader does not tell it or
    the family is not supported. Resets the target into its loader and back; BOOT0 must be wired.
    Raises BusStuck."""
    wires = Wires(settings)
    bus, pins = wires.patient_bus(), wires.pins()
    pins.boot0(1)
    pins.nrst(0)
    clock.sleep(NRST_LOW_MS)
    free = [address for address in addresses if not _acknowledged(bus, address)]
    pins.nrst(1)
    for wait_ms in _WAITS_MS:
        clock.sleep(wait_ms)
        for address in free:
            link = I2CLink(bus, address)
            try:
                loader = Loader(link, clock)
                loader.get_version()
                product_id = loader.get_id()
            except (BusError, LoaderError):
                continue
            size = _flash_size(chips.largest(product_id), pins, link, clock)
            return {"address": address, "product_id": product_id, "flash_size": size}
    _leave(pins, clock)
    return None


def _acknowledged(bus, address):
    try:
        bus.send(address, b"")
    except BusError:
        return False
    return True


def _flash_size(part, pins, link, clock):
    """The flash size that the chip states, or None. Starts the application again."""
    if part is None:
        _leave(pins, clock)
        return None
    target = Target(part, pins, link, clock)
    try:
        return target.read_flash_size()
    except (BusError, LoaderError):
        return None
    finally:
        target.start_application()


def _leave(pins, clock):
    pins.boot0(0)
    pins.nrst(0)
    clock.sleep(NRST_LOW_MS)
    pins.nrst(1)
