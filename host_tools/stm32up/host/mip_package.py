"""The updater as a package for mip, in bytecode: a folder to put on a web server.

    python -m stm32up.host.mip_package FOLDER

firmware/package.json is the same package as source.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from stm32up import device, outputs
from stm32up.errors import Stm32upError, UsageError
from stm32up.host import deploy
from stm32up.host.paths import LIB


def write(folder: Path) -> None:
    """Write the package into a new or empty folder. Raises UsageError, Stm32upError."""
    modules = {
        path.removeprefix(f"{LIB}/"): code for path, code in deploy.product_modules().items()
    }
    package = {
        "urls": [[name, name] for name in sorted(modules)],
        "deps": [],
        "version": device.module("stm32_updater").__version__,
    }
    content = {"package.json": json.dumps(package, indent=2).encode() + b"\n", **modules}
    with outputs.written(folder):
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise UsageError(f"{folder} is not empty", "Give a new folder.")
        for name, code in content.items():
            path = folder / name
            path.parent.mkdir(exist_ok=True)
            path.write_bytes(code)


def main(arguments: list[str]) -> int:
    if len(arguments) != 1:
        print("usage: python -m stm32up.host.mip_package FOLDER", file=sys.stderr)
        return UsageError.exit_status
    try:
        write(Path(arguments[0]))
    except Stm32upError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_status
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
