"""Where things are on the host's filesystem."""

from __future__ import annotations

LIB = "/lib"
LIBRARY = f"{LIB}/stm32_updater"
BENCH_LIBRARY = f"{LIB}/stm32_bench"
FROZEN = ".frozen"  # in sys.path: the modules in MicroPython's own firmware
FROZEN_UPDATER = f"{FROZEN}/stm32_updater"
BOARD_JSON = "/board.json"
MAIN = "/main.py"
FOLDER = "/updater"
INBOX = f"{FOLDER}/inbox"
KEYS = f"{FOLDER}/keys"
HANDS_OFF = f"{FOLDER}/hands-off"  # stm32_bench/hands_off.py
