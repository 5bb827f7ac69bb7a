"""Calls of the updater on the board: `update`, `status`, `probe`. Its events are passed on
unchanged.
"""

from __future__ import annotations

from pathlib import Path
from typing import cast

from stm32up.errors import DeviceError, HostUnfit, NoBoard, NoUpdater, UpdateFailed
from stm32up.events import InterruptedPush, Report, Status, from_board
from stm32up.host import host_facts
from stm32up.host.paths import BOARD_JSON, FOLDER, INBOX
from stm32up.host.push import push
from stm32up.host.transport import Connection
from stm32up.image import image_format, images

# A board without a sign of life for this long is lost: the updater calls `feed` at least every 100
# ms while it waits. A simulated board on a busy computer takes longer than a real one.
SILENCE_S = 6.0

# Known errors of the updater arrive as a result event. Any other exception is a bug or a missing
# updater, and arrives as a traceback.
_CALL = """
import json
from stm32_updater import Updater, UpdaterError
try:
 u = Updater.from_board({board!r}, feed=feed)
 {call}
except UpdaterError as e:
 d = {{"event": "result", "ok": False}}
 d.update(e.as_dict())
 print(json.dumps(d))
"""

CONFIRMED = "confirmed.img"
# Reads the record and makes the check of [confirm] with the updater's own classes. Does not reset
# the target.
_RUNS = """
 from stm32_rom.clock import Clock
 from stm32_updater.board import Board
 from stm32_updater.image import open_image
 from stm32_updater.record import IDLE
 from stm32_updater.store import Store, hands_off
 store = Store({folder!r})
 record = store.load()
 runs = (
  record is not None and record.phase == IDLE and record.installed == {digest!r}
  and not store.inbox_images() and hands_off({folder!r}) is None
  and Board.load({board!r}, Clock(feed)).confirm(open_image(store.confirmed))
 )
 print(json.dumps({{"event": "result", "ok": True, "runs": bool(runs)}}))
"""

_BEGINNINGS = """
 d = {{"event": "result", "ok": True}}
 for path in {paths!r}:
  with open(path, "rb") as file: d[path] = file.read({length}).hex()
 print(json.dumps(d))
"""


def update(
    connection: Connection, image: Path, report: Report, *, force: bool = False
) -> dict[str, object]:
    """Push the image and run the updater; return the values of its result. An image that is
    already installed is not pushed; `force` writes it.

    Raises UpdateFailed with the updater's own result, NoUpdater, and what `push` raises.
    """
    described = images.verify(image)
    if not force and _runs(connection, described["sha256"]):
        return {"status": "up-to-date", "version": described["version"]}
    pushed = push(connection, image, report)
    report({"event": "pushed", **pushed})
    resets = connection.resets
    result = run(connection, report, force=force)
    by_itself = connection.resets != resets and result.get("status") == "idle"
    if by_itself and status(connection).get("confirmed") == pushed["version"]:
        # The program on the board had continued an earlier update before it was stopped.
        return {"status": "installed", "version": pushed["version"]}
    if result.get("version") != pushed["version"]:
        raise UpdateFailed(
            f"{result.get('version') or 'no image'} was installed, not {pushed['version']}",
            "Read the lines above, and run: stm32up status.",
            {**result, "ok": False, "error": "another-image"},
        )
    return result


def run(connection: Connection, report: Report, *, force: bool = False) -> dict[str, object]:
    """Run the updater once, as the product does at boot."""
    how = "force=True" if force else ""
    call = f"for event in u.events({how}): print(json.dumps(event))"
    return _call(connection, call, report)


def _runs(connection: Connection, digest: str | None) -> bool:
    """Whether the image with this digest is installed, according to the board's record, and proves
    itself now. False if the updater has anything else to do.
    """
    if not any(file.name == CONFIRMED for file in connection.list_folder(FOLDER)):
        return False  # nothing is installed, or there is no updater
    installed = None if digest is None else bytes.fromhex(digest)
    call = _RUNS.format(folder=FOLDER, digest=installed, board=BOARD_JSON)
    return bool(_call(connection, call)["runs"])


def status(connection: Connection) -> Status:
    """State and images, as the updater reports them, and interrupted pushes. Does not touch the
    target.
    """
    known = cast(Status, _call(connection, _print_result("status")))
    interrupted = _interrupted_pushes(connection)
    if interrupted:
        known["interrupted_pushes"] = interrupted
    return known


def _interrupted_pushes(connection: Connection) -> list[InterruptedPush]:
    files = {
        f"{INBOX}/{file.name}": file.size
        for file in connection.list_folder(INBOX)
        if file.name.endswith(".part") and not file.is_folder
    }
    if not files:
        return []
    call = _BEGINNINGS.format(paths=list(files), length=image_format.HEADER.size)
    said = _call(connection, call)
    return [
        {"file": path, "done": size, "bytes": image_format.signed_size(_bytes(said.get(path)))}
        for path, size in files.items()
    ]


def _bytes(digits: object) -> bytes:
    """The bytes of hex digits from a board; empty if they are not hex digits."""
    try:
        return bytes.fromhex(str(digits))
    except ValueError:
        return b""


def probe(connection: Connection) -> dict[str, object]:
    """Read what is on the bus: chip, loader version, option bytes, application. Writes nothing."""
    return _call(connection, _print_result("probe"))


def _print_result(method: str) -> str:
    return f'd = {{"event": "result", "ok": True}}; d.update(u.{method}()); print(json.dumps(d))'


def _call(
    connection: Connection, call: str, report: Report = lambda event: None
) -> dict[str, object]:
    """Call the updater. After a reset of the board call it again: it continues where it
    stopped."""
    code = _CALL.format(board=BOARD_JSON, call=call)
    return connection.persistently(lambda: collect(connection, code, report), report)


def collect(
    connection: Connection, code: str, report: Report, silence_s: float | None = None
) -> dict[str, object]:
    """Run code that prints events and report them; return the values of the result, the last
    event.

    Raises UpdateFailed with a result that is not ok, NoUpdater, DeviceError.
    """
    results: list[dict[str, object]] = []
    # Raised at the end: an invalid event must not interrupt an update.
    faults: list[DeviceError] = []

    def on_line(line: str) -> None:
        try:
            event = from_board(line)
        except DeviceError as error:
            faults.append(error)
            return
        if event["event"] == "result":
            results.append({**event})
        else:
            report(event)

    try:
        connection.exec(code, on_line, silence_s=silence_s or SILENCE_S)
    except DeviceError as error:
        raise _explained(connection, error) from None
    if faults:
        raise faults[0]
    if not results:
        raise DeviceError("the updater ended without a result", "Read the log: stm32up logs pull.")
    result = results[-1]
    if not result.pop("ok", False):
        message = str(result.get("message", "the update failed"))
        raise UpdateFailed(message, str(result.get("next_step", "")), result)
    result.pop("event")
    return result


def _explained(connection: Connection, error: DeviceError) -> Exception:
    """The cause of an exception, if it is the host itself; otherwise the exception in words."""
    if error.kind == "MemoryError":
        return error
    try:
        host_facts.check(host_facts.look(connection))
    except HostUnfit as unfit:
        return unfit
    except (DeviceError, NoBoard):
        pass  # the first exception says more
    if error.kind == "ImportError" and "stm32_bench" in error.message:
        return NoUpdater("the board has no bench package", "Install it: stm32up deploy --bench.")
    if error.kind == "ImportError" and "stm32_rom" in error.message:
        return NoUpdater("the board's updater is older than this stm32up", "Run: stm32up deploy.")
    if error.kind == "ImportError" and "stm32_updater" in error.message:
        return NoUpdater("the board has no updater", "Install it: stm32up deploy.")
    return error
