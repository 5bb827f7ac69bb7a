"""Calls into the updater on the board: `update`, `status`, `probe`. What it says is passed on as
it is.
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

# A board that gives no sign of life for so long is lost: the updater calls `feed` at least every
# 100 ms of any wait. A simulated board on a busy computer takes longer than a real one.
SILENCE_S = 6.0

# Known errors of the updater come as an event like any other result; what else is raised is a bug
# or a missing updater, and comes as a traceback.
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
# The record and the proof of board.json, by the updater's own classes. The target is not reset.
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
    """Pushes the image and runs the updater; returns the values of its result. An image that is
    installed already is not even pushed; `force` writes it.

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
        # The program on the board had gone on with it before it was stopped again.
        return {"status": "installed", "version": pushed["version"]}
    if result.get("version") != pushed["version"]:
        raise UpdateFailed(
            f"{result.get('version') or 'no image'} was installed, not {pushed['version']}",
            "Look at what was said before, and run: stm32up status.",
            {**result, "ok": False, "error": "another-image"},
        )
    return result


def run(connection: Connection, report: Report, *, force: bool = False) -> dict[str, object]:
    """Runs the updater once, as the product does at boot, with whatever lies in its inbox."""
    how = "force=True" if force else ""
    call = f"for event in u.events({how}): print(json.dumps(event))"
    return _call(connection, call, report)


def _runs(connection: Connection, digest: str | None) -> bool:
    """Whether the image with this digest is installed, by the board's record, and proves itself
    now. Where anything else is to be done the answer is False.
    """
    if not any(file.name == CONFIRMED for file in connection.list_folder(FOLDER)):
        return False  # nothing is installed, or there is no updater
    call = _RUNS.format(folder=FOLDER, digest=digest, board=BOARD_JSON)
    return bool(_call(connection, call)["runs"])


def status(connection: Connection) -> Status:
    """State and images, as the updater sees them, and what was not pushed to the end. Does not
    touch the target.
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
    """What hex digits from a board stand for; nothing if they are none."""
    try:
        return bytes.fromhex(str(digits))
    except ValueError:
        return b""


def probe(connection: Connection) -> dict[str, object]:
    """What is on the bus: chip, loader version, option bytes, application. Read-only."""
    return _call(connection, _print_result("probe"))


def _print_result(method: str) -> str:
    return f'd = {{"event": "result", "ok": True}}; d.update(u.{method}()); print(json.dumps(d))'


def _call(
    connection: Connection, call: str, report: Report = lambda event: None
) -> dict[str, object]:
    """After a reset of the board the updater is called again: it goes on where it was."""
    code = _CALL.format(board=BOARD_JSON, call=call)
    return connection.persistently(lambda: collect(connection, code, report), report)


def collect(
    connection: Connection, code: str, report: Report, silence_s: float | None = None
) -> dict[str, object]:
    """Runs code that prints events and reports them; returns the values of the result, the last.

    Raises UpdateFailed with a result that is not ok, NoUpdater, DeviceError.
    """
    results: list[dict[str, object]] = []
    faults: list[DeviceError] = []  # told at the end: an update must not be cut for its words

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
        raise DeviceError("the updater ended without a result", "Look at: stm32up logs pull.")
    result = results[-1]
    if not result.pop("ok", False):
        message = str(result.get("message", "the update failed"))
        raise UpdateFailed(message, str(result.get("next_step", "")), result)
    result.pop("event")
    return result


def _explained(connection: Connection, error: DeviceError) -> Exception:
    """What an exception came of, if the host itself is the cause; else the exception in words."""
    if error.kind == "MemoryError":
        return error
    try:
        host_facts.check(host_facts.look(connection))
    except HostUnfit as unfit:
        return unfit
    except (DeviceError, NoBoard):
        pass  # the exception that there was tells more
    if error.kind == "ImportError" and "stm32_bench" in error.message:
        return NoUpdater("the board has no bench package", "Put it there: stm32up deploy --bench.")
    if error.kind == "ImportError" and "stm32_rom" in error.message:
        return NoUpdater("the board's updater is older than this stm32up", "Run: stm32up deploy.")
    if error.kind == "ImportError" and "stm32_updater" in error.message:
        return NoUpdater("the board has no updater", "Put it there: stm32up deploy.")
    return error
