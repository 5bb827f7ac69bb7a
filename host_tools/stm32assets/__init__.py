"""The files that are installed with the desktop code: firmware/ and boards/.

In a clone they are at the top level; in a wheel they are in this folder.
"""

from pathlib import Path

_HERE = Path(__file__).resolve().parent

ROOT = _HERE if (_HERE / "firmware").is_dir() else _HERE.parents[1]
FIRMWARE = ROOT / "firmware"
BOARDS = ROOT / "boards"
DEMO_APPLICATION = BOARDS / "nucleo_g071rb_app"
