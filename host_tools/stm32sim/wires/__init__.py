"""Between host and target: the clock, the bus, the UART line, and the host's controllers."""

from stm32sim.wires.bus import Bus, I2CDevice
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S, NS_PER_US, Clock
from stm32sim.wires.uart import Line

__all__ = ["NS_PER_MS", "NS_PER_S", "NS_PER_US", "Bus", "Clock", "I2CDevice", "Line"]
