"""The files that are installed with the desktop code: firmware/ and boards/.

In a clone they are at the top level; in a wheel they are in this folder.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent

ROOT = _HERE if (_HERE / "firmware").is_dir() else _HERE.parents[1]
FIRMWARE = ROOT / "firmware"
BOARDS = ROOT / "boards"
DEMO_APPLICATION = BOARDS / "nucleo_g071rb_app"
DEMO_APPLICATIONS = {  # by the chip of the board
    "STM32G071RB": DEMO_APPLICATION,
    "STM32C031C6": BOARDS / "nucleo_c031c6_app",
}
