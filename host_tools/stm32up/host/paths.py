"""Paths on the host's filesystem."""

from __future__ import annotations

LIB = "/lib"
ROM_LIBRARY = f"{LIB}/stm32_rom"
LIBRARY = f"{LIB}/stm32_updater"
BENCH_LIBRARY = f"{LIB}/stm32_bench"
FROZEN = ".frozen"  # in sys.path: the modules in MicroPython's own firmware
BOARD_JSON = "/board.json"
MAIN = "/main.py"
FOLDER = "/updater"
INBOX = f"{FOLDER}/inbox"
KEYS = f"{FOLDER}/keys"
HANDS_OFF = f"{FOLDER}/hands-off"
