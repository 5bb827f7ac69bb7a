"""Between host and target: the clock, the bus, and the host's I2C controllers."""

from stm32sim.wires.bus import Bus, I2CDevice
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock

__all__ = ["NS_PER_MS", "NS_PER_S", "NS_PER_US", "Bus", "Clock", "I2CDevice"]
