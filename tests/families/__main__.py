"""Writes the tables of docs/families.md from the device's table: `python -m tests.families`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from stm32sim.chip.families import family_of
from stm32up import device
from stm32up.doctor.rules_bus import COMMON_PARTS
from tests.families.facts import FACTS
from tests.support import between_marks

DOCUMENT = Path(__file__).parents[2] / "docs" / "families.md"
_ROW = '    "'


class Row(NamedTuple):
    """A line of SUPPORTED: its columns, the comment that states its evidence, and the one with the
    known faults of its loader."""

    columns: list[str]
    evidence: str
    faults: str


def rows() -> list[Row]:
    """SUPPORTED with its comments, which only the source has."""
    source = (device.ROM / "families.py").read_text("utf-8")
    lines = source.partition("SUPPORTED = (\n")[2].partition("\n)\n")[0].splitlines()
    columns = iter(device.families().SUPPORTED)
    found: list[Row] = []
    evidence: list[str] = []
    faults: list[str] = []
    is_new = True  # the next hyphen begins other evidence
    for line in lines:
        if line.startswith("    # - "):
            evidence = [*([] if is_new else evidence), line[8:]]
            is_new = False
        elif line.startswith("    # "):
            faults.append(line[6:])
        elif line[5:8].isalnum() and line[8] == " ":  # not the rest of a long line
            is_new = True
            found.append(Row(next(columns).split(), " ".join(evidence), " ".join(faults)))
            faults = []
    assert next(columns, None) is None
    return found


def supported() -> list[str]:
    lines = [
        "| parts | product ID | I2C address, also of | page | largest flash | bus | start-up |"
        " second bank | known faults of its loader | simulated as | over UART |",
        "|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    examples = {fact.product_id: fact.part for fact in FACTS}
    for columns, _, faults in rows():
        product_id, parts, address, page, largest = columns[:5]
        notes = columns[13].split(",") if columns[13:] else []
        common = COMMON_PARTS.get(int(address, 16))
        part = examples.get(int(product_id, 16))
        assert part, f"product ID 0x{product_id} has no line in tests/families/facts.py"
        uart = family_of(part).uart
        lines.append(
            "| "
            + " | ".join(
                (
                    parts.replace(",", ", "),
                    f"0x{product_id}",
                    f"0x{address}" + (f": {common}" if common else ""),
                    page,
                    f"{largest.rpartition('=')[2]} KB",
                    f"{columns[9]} kHz",
                    f"{columns[10]} ms",
                    "proven first" if "two-banks" in notes else "-",
                    faults.removesuffix(".") or "none listed",
                    part,
                    f"to {uart.fastest / 1000:g} kBd" if uart else "-",
                )
            )
            + " |"
        )
    return lines


def evidence() -> list[str]:
    return [f"- {told}" for told in dict.fromkeys(row.evidence for row in rows())]


def refused() -> list[str]:
    lines = ["| parts | product IDs | why |", "|---|---|---|"]
    for product_ids, parts, why in device.families().REFUSED:
        shown = ", ".join(f"0x{number}" for number in product_ids.split(",") if number)
        lines.append(f"| {parts.replace(',', ', ')} | {shown or '-'} | {why} |")
    return lines


def sections() -> dict[str, list[str]]:
    """The parts of the document that are made here, by the name in its marks."""
    return {"supported": supported(), "evidence": evidence(), "refused": refused()}


if __name__ == "__main__":
    for name, lines in sections().items():
        between_marks(DOCUMENT, name, lines)
