"""One measurement, and the file that keeps them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

CHECKSUM, READ, NONE = "checksum", "read", "none"
LINUX = "linux"
I2C, UART = "i2c", "uart"
HOSTS = "rp2", "esp32"
LATEST = Path(__file__).parent / "results" / "latest.json"


@dataclass(frozen=True)
class Row:
    """Times in seconds. `hz`: of the bus, or baud of the UART, as `link` says. `verify`: what the
    case asks for. `checksums` and `read`: what the host did ask the loader for, the latter in
    bytes. `split`: see timeline.KINDS."""

    case: str
    host: str
    program: str
    loader: str
    hz: int
    verify: str
    seconds: float
    floor: float
    efficiency: float | None
    split: dict[str, float]
    checksums: int
    read: int
    link: str = "i2c"

    @property
    def read_instead(self) -> bool:
        """It asked for checksums and got none: the host read all of it."""
        return self.verify == CHECKSUM and not self.checksums


def save(rows: Sequence[Row], path: Path) -> None:
    """A line for each."""
    lines = ",\n".join(json.dumps(asdict(row)) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'{{"rows": [\n{lines}\n]}}\n', encoding="utf-8")


def load(path: Path = LATEST) -> list[Row]:
    return [Row(**row) for row in json.loads(path.read_text(encoding="utf-8"))["rows"]]
