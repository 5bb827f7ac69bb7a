"""`read` and `verify`: reads the target's flash through the host, and changes nothing.

The code on the host is sent into its RAM; it uses the installed updater.
"""

from __future__ import annotations

from binascii import a2b_base64
from collections.abc import Sequence

from stm32up import device
from stm32up.device import Chip
from stm32up.errors import DeviceError, UpdateFailed
from stm32up.events import Event, Report, progress
from stm32up.host import ram
from stm32up.host.calls import collect
from stm32up.host.deploy import compiled
from stm32up.host.paths import BOARD_JSON, FOLDER
from stm32up.host.transport import Connection
from stm32up.image.expected import Piece

SHOWN = 8  # pages whose difference is told
_SHOWN_BYTES = 8
_TOLD = 2048  # bytes between two reports of progress
_MODULES = ("__init__.mpy", "flash.mpy")
_CALL = """
import json
from stm32_updater import UpdaterError
try:
 from stm32_doctor.flash import read
 for e in read({board!r}, {folder!r}, {ranges!r}, feed): print(json.dumps(e))
except UpdaterError as e:
 d = {{"event": "result", "ok": False}}
 d.update(e.as_dict())
 print(json.dumps(d))
"""

Range = tuple[int, int]  # address, length in bytes


def read(connection: Connection, ranges: Sequence[Range], report: Report) -> list[bytes]:
    """The content of each range of the target's flash.

    Resets the target into its loader and back. Raises UpdateFailed with the updater's own error,
    also for a target under readout protection; NoUpdater, DeviceError.
    """
    total = sum(length for _, length in ranges)

    def work() -> list[bytes]:
        code = compiled(device.DOCTOR)
        ram.send(connection, {f"{device.DOCTOR.name}/{name}": code[name] for name in _MODULES})
        content = bytearray()

        def on_event(event: Event) -> None:
            if event["event"] != "flash":
                report(event)
                return
            content.extend(_data(event))
            if len(content) % _TOLD == 0 or len(content) >= total:
                report(progress("read", min(len(content), total), total))

        call = _CALL.format(board=BOARD_JSON, folder=FOLDER, ranges=[*ranges])
        collect(connection, call, on_event)
        if len(content) != total:
            raise DeviceError(f"the board sent {len(content)} of {total} bytes", "Try again.")
        ends = [sum(length for _, length in ranges[: n + 1]) for n in range(len(ranges))]
        return [
            bytes(content[end - length : end])
            for end, (_, length) in zip(ends, ranges, strict=True)
        ]

    return connection.persistently(work, report)


def _data(event: Event) -> bytes:
    try:
        return a2b_base64(str(event["data"]))
    except (ValueError, KeyError):
        raise DeviceError("the board sent flash in an unknown form", "Try again.") from None


def verify(
    connection: Connection,
    expected: Sequence[Piece],
    chip: Chip,
    report: Report,
    name: object,
    advice: str,
) -> dict[str, object]:
    """Compare the target's flash with these pieces; return what was compared.

    Reports the first difference in each page, at most SHOWN. Raises UpdateFailed if anything
    differs, and what `read` raises.
    """
    found = read(connection, [(piece.address, len(piece.data)) for piece in expected], report)
    total = sum(len(piece.data) for piece in expected)
    wrong = [
        (piece.address + index, is_there, byte)
        for piece, content in zip(expected, found, strict=True)
        for index, (is_there, byte) in enumerate(zip(content, piece.data, strict=True))
        if is_there != byte
    ]
    if not wrong:
        return {"status": "same", "bytes": total}
    pages: dict[int, list[tuple[int, int, int]]] = {}
    for place in wrong:
        pages.setdefault((place[0] - chip.flash_start) // chip.page_size, []).append(place)
    for page, places in [*pages.items()][:SHOWN]:
        report(_difference(page, places))
    if len(pages) > SHOWN:
        text = f"{len(pages) - SHOWN} more pages differ"
        report({"event": "note", "text": text})
    address, is_there, byte = wrong[0]
    raise UpdateFailed(
        f"flash differs from {name} in {len(wrong)} of {total} bytes, in {len(pages)} "
        f"{'page' if len(pages) == 1 else 'pages'}; first at 0x{address:08X}: {is_there:02X} in "
        f"flash, {byte:02X} in the file",
        advice,
        {
            "status": "differs",
            "error": "flash-differs",
            "bytes": total,
            "differing_bytes": len(wrong),
            "differing_pages": [*pages],
        },
    )


def _difference(page: int, places: list[tuple[int, int, int]]) -> Event:
    """The first difference in a page: the bytes from there that differ without a gap."""
    first = places[0][0]
    run = [place for n, place in enumerate(places[:_SHOWN_BYTES]) if place[0] == first + n]
    return {
        "event": "differs",
        "page": page,
        "address": first,
        "bytes": len(places),
        "flash": bytes(there for _, there, _ in run).hex(" "),
        "file": bytes(byte for _, _, byte in run).hex(" "),
    }
