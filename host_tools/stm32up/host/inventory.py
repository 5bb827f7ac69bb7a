"""The units that a production line has made: a row for each try, good or not.

units.jsonl is the original, a journal. units.csv is for spreadsheets: after each row it is
replaced by a new one, made of the journal. So neither ever holds half a row.
"""

from __future__ import annotations

import contextlib
import csv
import io
import os
import re
from pathlib import Path
from typing import Any

from stm32up import journal
from stm32up.errors import UsageError

PASS, FAIL = "PASS", "FAIL"
COLUMNS = (
    *("serial_number", "result", "time", "try"),
    *("target_id", "host_id", "board", "version", "flash_sha256", "loader", "updater"),
    *("failed_step", "message", "seconds"),
)
_KEYS = {"unit", "serial_number"}  # a row of the journal has at least these
AUTO = "auto"
_NUMBERED = re.compile(r"(.*?)(\d+)")


class Inventory:
    """Its rows. `path`: the CSV file; the journal has the same name with .jsonl. Raises
    UsageError."""

    def __init__(self, path: Path) -> None:
        if path.suffix.lower() != ".csv":
            raise UsageError(f"--inventory {path} is not named .csv", "As --inventory units.csv.")
        self.path = path
        self.journal = path.with_suffix(".jsonl")
        self.rows = self._read()
        if path.exists() and not self.rows:
            raise UsageError(
                f"{path} is there, but its journal {self.journal} has no row, so numbers could "
                "be given twice",
                "Bring that file back, or give the name of a new one.",
            )

    def check(self, wanted: str) -> None:
        """Raise UsageError, before anything is done, if there can be no such serial number, or if
        the row could not be written at the end."""
        with journal.locked(self.journal):
            pass
        if wanted == AUTO:
            self._next()
        elif not wanted.strip() or not wanted.isprintable():
            raise UsageError("--serial-number is empty, or does not print")

    def tries(self, unit: str) -> list[dict[str, Any]]:
        """The rows of the unit with this ID."""
        return [row for row in self.rows if row["unit"] == unit]

    def serial_for(self, unit: str, wanted: str) -> str:
        """The serial number that `unit` gets, or has already. Raises UsageError if another unit
        has `wanted`, or this unit another number."""
        own = [row["serial_number"] for row in self.tries(unit) if row["serial_number"]]
        if own and wanted in (AUTO, own[-1]):
            return str(own[-1])
        if own:
            raise UsageError(
                f"this unit is {own[-1]} already, not {wanted}", "Give that number, or auto."
            )
        if wanted == AUTO:
            return self._next()
        other = next((row for row in self.rows if row["serial_number"] == wanted), None)
        if other is not None:
            raise UsageError(
                f"serial number {wanted} is that of another unit ({other['unit']})",
                "Give another number, or auto.",
            )
        return wanted

    def add(self, unit: str, wanted: str, row: dict[str, Any]) -> dict[str, Any]:
        """Add a row, with a serial number if its result is PASS or the unit has one; return it. A
        number is taken and written in one step, so two lines never take the same one."""
        with journal.locked(self.journal):
            self.rows = self._read()
            tries = self.tries(unit) if unit else []
            serial = ""
            if row["result"] == PASS or any(each["serial_number"] for each in tries):
                serial = self.serial_for(unit, wanted)
            row = {**row, "unit": unit, "serial_number": serial, "try": len(tries) + 1}
            journal.append(self.journal, row)
            self.rows.append(row)
            self._write_csv()
        return row

    def _read(self) -> list[dict[str, Any]]:
        rows = journal.read(self.journal)
        if any(not row.keys() >= _KEYS for row in rows):
            raise journal.not_ours(self.journal)
        return rows

    def _next(self) -> str:
        """One more than the last number, with as many digits."""
        given = [str(row["serial_number"]) for row in self.rows if row["serial_number"]]
        numbers = [found for serial in given if (found := _NUMBERED.fullmatch(serial))]
        if not numbers:
            raise UsageError(
                f"{self.path} has no serial number to count from",
                "Give the first one: --serial-number 0001.",
            )
        prefix = numbers[-1][1]
        last = max((one for one in numbers if one[1] == prefix), key=lambda one: int(one[2]))
        return f"{prefix}{int(last[2]) + 1:0{len(last[2])}}"

    def _write_csv(self) -> None:
        text = io.StringIO()
        writer = csv.DictWriter(text, COLUMNS, extrasaction="ignore", restval="")
        writer.writeheader()
        writer.writerows({key: _plain(row.get(key)) for key in COLUMNS} for row in self.rows)
        temporary = self.path.with_name(f"{self.path.name}.part")
        try:
            with temporary.open("w", encoding="utf-8", newline="") as file:
                file.write(text.getvalue())
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(self.path)
        except OSError as error:
            with contextlib.suppress(OSError):
                temporary.unlink()
            raise UsageError(
                f"cannot write {self.path}: {error.strerror}; the row is in {self.journal}",
                "Close other programs that have the file open; the next unit writes it.",
            ) from None


def _plain(value: object) -> str:
    """A cell. Spreadsheets take a text that begins with one of these for a formula."""
    text = "" if value is None else str(value)
    return f"'{text}" if text.startswith(("=", "+", "-", "@")) else text
