"""stm32flash, a program for Linux that speaks to the same loader, on a simulated STM32.

It is the Debian package, unmodified: the one that is installed, or else one that `fetched` unpacks
in build/.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

from benchmarks import i2c_dev
from benchmarks.i2c_dev import Computer
from benchmarks.preload import Finished, NotAvailable
from stm32sim.chip.loader_steps import I2C_ADDRESS

BUILD = Path(__file__).parents[1] / "build"
_UNPACKED = BUILD / "stm32flash"
_NAME = "stm32flash"
_PACKAGE = "stm32flash_*.deb"


def found() -> Path | None:
    """The program, if it is installed or was fetched before."""
    installed = shutil.which(_NAME)
    if installed is not None:
        return Path(installed)
    unpacked = _UNPACKED / "usr" / "bin" / _NAME
    return unpacked if unpacked.exists() else None


def fetched() -> Path:
    """The program; its package is downloaded if need be. Raises NotAvailable."""
    program = found()
    if program is None:
        _UNPACKED.mkdir(parents=True, exist_ok=True)
        try:
            _run("apt-get", "download", _NAME)
            (package,) = _UNPACKED.glob(_PACKAGE)
            _run("dpkg", "-x", package, ".")
        except (OSError, ValueError, subprocess.CalledProcessError) as error:
            told = str(getattr(error, "stderr", "") or error).strip()
            raise NotAvailable(
                f"stm32flash is not installed, and its package cannot be downloaded ({told});"
                " install it, e.g. sudo apt-get install stm32flash"
            ) from None
        program = found()
        assert program is not None
    return program


def _run(*command: str | Path) -> None:
    subprocess.run(command, cwd=_UNPACKED, check=True, capture_output=True, text=True)


def run(program: Path, computer: Computer, *arguments: str | Path) -> Finished:
    """Run it, with arguments such as "-w", PATH, "-v". Raises NotAvailable."""
    command = [program, "-a", f"{I2C_ADDRESS:#x}", *arguments, "/dev/i2c-1"]
    return i2c_dev.run(i2c_dev.build(BUILD), command, computer)


def version(output: str) -> str:
    """What it calls itself in its output, e.g. "stm32flash 0.7"."""
    return next(line for line in output.splitlines() if re.fullmatch(rf"{_NAME} [\d.]+", line))
