# mypy: ignore-errors
"""How not to do it: a host that removes readout protection and polls until the chip is ready.

Runs on the simulated host as any MicroPython program does. The wiring is that of
boards/pico_nucleo_g071rb.
"""

import time

from machine import I2C, Pin

LOADER = 0x51
BUSY = 0x76
GET_ID = 0x02
NS_READOUT_UNPROTECT = 0x93

i2c = I2C(0, scl=Pin(5), sda=Pin(4), freq=400_000)
boot0 = Pin(3, Pin.OUT, value=0)
nrst = Pin(2, Pin.OPEN_DRAIN, value=1)


def enter_loader():
    boot0.value(1)
    nrst.value(0)
    time.sleep_ms(10)
    nrst.value(1)
    time.sleep_ms(100)


def command(code):
    i2c.writeto(LOADER, bytes([code, code ^ 0xFF]))
    return i2c.readfrom(LOADER, 1)[0]


def get_id():
    command(GET_ID)
    answer = i2c.readfrom(LOADER, 3)
    i2c.readfrom(LOADER, 1)
    return answer[1] << 8 | answer[2]


def wait_while_busy():
    while i2c.readfrom(LOADER, 1)[0] == BUSY:  # without any limit
        time.sleep_ms(10)
