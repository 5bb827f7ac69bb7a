"""What a newcomer sees first: a board from nothing to an updated target, with the commands to
type.

    python -m stm32up.demo

Everything runs on a simulated board: real MicroPython, reached by mpremote, wired to a simulated
STM32G071RB that executes the application it is given.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
from pathlib import Path

from stm32up import boards, cli, device, inputs, session

APPLICATION = device.PROJECT / "boards" / "nucleo_g071rb_app"


def main() -> int:
    """Run all commands; exit status 0 if every one of them succeeds."""
    with tempfile.TemporaryDirectory(prefix="stm32up-demo-") as name:
        folder = Path(name)
        board = boards.load(cli.DEFAULT_BOARD)
        _full_size(board, folder / "app-1.1.0.bin")
        print("A simulated Pico with MicroPython, wired to a simulated NUCLEO-G071RB.")
        with session.simulated("sim", board, lambda event: None, options=[session.BLANK]) as port:
            return _commands(port, folder)


def _commands(port: str, folder: Path) -> int:
    key, first, second = folder / "demo.pem", folder / "app-1.0.0.img", folder / "app-1.1.0.img"
    on_board = ["--port", port]
    steps: list[tuple[str, list[str]]] = [
        ("A key to sign images with.", ["keys", "new", str(key)]),
        (
            "An image of the application: its LED blinks, it answers its version over I2C.",
            ["image", "build", str(APPLICATION / "app-1.0.0.hex"), "--version", "1.0.0"]
            + ["--key", str(key), "-o", str(first)],
        ),
        (
            "The next version, filled up to the whole 128 KB of flash.",
            ["image", "build", str(folder / "app-1.1.0.bin"), "--version", "1.1.0"]
            + ["--key", str(key), "-o", str(second)],
        ),
        ("The updater goes onto the Pico.", [*on_board, "deploy", "--key", str(key), "--main"]),
        ("What is on the bus: a blank chip.", [*on_board, "probe"]),
        ("The first installation.", [*on_board, "update", str(first)]),
        ("The update.", [*on_board, "update", str(second)]),
        ("The application runs and answers its version.", [*on_board, "probe"]),
        ("The log, as a product in the field keeps it.", [*on_board, "logs", "pull"]),
    ]
    for text, command in steps:
        print(f"\n{text}\n$ stm32up {' '.join(command)}", flush=True)
        status = subprocess.run([sys.executable, "-m", "stm32up.cli", *command]).returncode
        if status:
            return status
    print("\nThat was the whole path without hardware; README.md tells how to do it with boards.")
    return 0


def _full_size(board: boards.Board, path: Path) -> None:
    """The second version of the application, and random bytes behind it up to the end of flash."""
    application = inputs.read(APPLICATION / "app-1.1.0.hex", board.chip, None).data
    rest = random.Random(0).randbytes(board.chip.flash_size - len(application))
    path.write_bytes(application + rest)


if __name__ == "__main__":
    sys.exit(main())
