"""Calls of the updater on the board: `update`, `status`, `probe`. Its events are passed on
unchanged.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import cast

from stm32up.errors import DeviceError, NoUpdater, UpdateFailed
from stm32up.events import Event, InterruptedPush, Report, Status, from_board
from stm32up.host import bus_trace, host_clock, host_facts
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

# States of an image on the host.
RUNS, UNDER_WAY, NOTHING = "runs", "under way", "nothing"

# Where an image stands, according to the updater's own classes, with as few imports as possible.
# RUNS: the record says that it is installed, and it proves itself now, by the check of [confirm].
# UNDER_WAY: it is the candidate, so the next run continues with it. NOTHING: this host has no
# image. None: push it; also if the updater has anything else to do. Does not reset the target.
_STANDS = """
import json, os
def _is_there(path):
 try: os.stat(path); return True
 except OSError: return False
def _stands(folder, digest, board):
 from stm32_rom.clock import Clock
 from stm32_updater.store import Store, hands_off
 store = Store(folder)
 if store.inbox_images() or hands_off(folder) is not None: return
 from stm32_updater.errors import ImageError
 from stm32_updater.image import open_image
 from stm32_updater.record import IDLE
 try:
  if _is_there(store.candidate):
   image = open_image(store.candidate)
   if image.digest != digest: return
   image.check_digest(Clock(feed))
   return {under_way!r}
  record = store.load()
  if record is None or record.phase != IDLE or record.installed != digest: return
  from stm32_updater.board import Board
  wired = Board.load(board, Clock(feed))
  if getattr(wired, 'asks', True) and wired.confirm(open_image(store.confirmed)): return {runs!r}
 except ImageError: return
d = {{"event": "result", "ok": True, "stands": {nothing!r}}}
if _is_there({folder!r} + '/confirmed.img') or _is_there({folder!r} + '/candidate.img'):
 from stm32_updater import UpdaterError
 try: d["stands"] = _stands({folder!r}, {digest!r}, {board!r})
 except UpdaterError as e:
  d["ok"] = False
  d.update(e.as_dict())
print(json.dumps(d))
"""

# What is on the bus, if BOOT0 is the way into the loader. Without it an idle loader that is looked
# at may not come back: see Target.at_work.
_WAY_IN = """
 d = {{"event": "result", "ok": True}}
 try:
  with open({board!r}) as file: way = json.load(file)["enter"]["method"]
 except OSError: way = None
 if way == "boot0": d.update(u.probe())
 print(json.dumps(d))
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
    installed is not pushed, nor one whose update was interrupted; `force` pushes and writes it.

    Raises UpdateFailed with the updater's own result, or for a target that must be provisioned
    first, NoUpdater, and what `push` raises.
    """
    described = images.verify(image)
    version = described["version"]
    stands = None if force else _stands(connection, described["sha256"])
    if stands == RUNS:
        return {"status": "up-to-date", "version": version}
    if stands == NOTHING:
        _check_provisioned(connection)
    if stands == UNDER_WAY:
        connection.persistently(lambda: host_clock.set_if_unset(connection), report)
    else:
        report({"event": "pushed", **push(connection, image, report)})
    resets = connection.resets
    skipped: list[object] = []

    def noting(event: Event) -> None:
        if event["event"] == "superseded":
            skipped.append(event["version"])
        report(event)

    result = run(connection, noting, force=force)
    is_installed = result.get("version") == version
    # The program on the board may have continued an earlier update before it was stopped.
    by_itself = connection.resets != resets and result.get("status") == "idle"
    if by_itself or (is_installed and version in skipped):
        is_installed = status(connection).get("installed") == described["sha256"]
    if not is_installed:
        message, next_step = _another(result.get("version"), version, skipped)
        raise UpdateFailed(message, next_step, {**result, "ok": False, "error": "another-image"})
    return {"status": "installed", "version": version} if by_itself else result


def _another(installed: object, version: object, skipped: list[object]) -> tuple[str, str]:
    """Why another image than this one was installed, and the next step."""
    if version not in skipped:
        return (
            f"{installed or 'no image'} was installed, not {version}",
            "Read the lines above, and run: stm32up status.",
        )
    if installed == version:
        return (
            f"another image of version {version} waited in the inbox, and was installed",
            "Run this command again; to tell them apart, build them with different versions.",
        )
    return (
        f"{installed} was installed, not {version}: it waited in the inbox and is newer",
        f"Run this command again for {version}. If it then counts as older, build it with "
        "--security-counter.",
    )


def run(connection: Connection, report: Report, *, force: bool = False) -> dict[str, object]:
    """Run the updater once, as the product does at boot."""
    how = "force=True" if force else ""
    call = f"for event in u.events({how}): print(json.dumps(event))"
    return _call(connection, call, report)


def _stands(connection: Connection, digest: str | None) -> object:
    """RUNS, UNDER_WAY, or NOTHING or None if the image with this digest has to be pushed."""
    raw = None if digest is None else bytes.fromhex(digest)
    known = {"folder": FOLDER, "digest": raw, "board": BOARD_JSON}
    code = _STANDS.format(runs=RUNS, under_way=UNDER_WAY, nothing=NOTHING, **known)
    return _repeated(connection, code)["stands"]


def _check_provisioned(connection: Connection) -> None:
    """Raise UpdateFailed if a first installation would be the last one: BOOT0 is ignored, and the
    loader starts only while the flash is blank (AN2606, boot patterns)."""
    try:
        found = _call(connection, _WAY_IN.format(board=BOARD_JSON))
    except UpdateFailed as error:
        if error.result.get("error") == "hands-off":
            raise
        return  # the update meets the same error, and reports it with its events
    options = found.get("option_bytes")
    ignored = isinstance(options, dict) and options.get("nBOOT_SEL") == 1
    if ignored and found.get("application") == "blank":
        raise UpdateFailed(
            "the target ignores its BOOT0 pin (nBOOT_SEL is 1, as from the factory): its loader "
            "could not be reached again after this installation; nothing was pushed",
            "Set nBOOT_SEL to 0 while the flash is blank: over I2C stm32up provision, over UART "
            "STM32CubeProgrammer. Or install it in spite of that: --force.",
            {**found, "ok": False, "error": "boot0-ignored"},
        )


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
    return _repeated(connection, _CALL.format(board=BOARD_JSON, call=call), report)


def _repeated(
    connection: Connection, code: str, report: Report = lambda event: None
) -> dict[str, object]:
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
        bus_trace.run(connection, code, on_line, silence_s or SILENCE_S)
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


_MODULE = re.compile(r"stm32_(rom|updater)\.\w+")  # of a package that is there
_OLD = "the board's updater is older than this stm32up"
_DEPLOY = "Run: stm32up deploy."


def _explained(connection: Connection, error: DeviceError) -> Exception:
    """The cause of an exception, if it is the host itself; otherwise the exception in words."""
    error = host_facts.cause(connection, error)
    if error.kind == "ImportError" and "stm32_bench" in error.message:
        return NoUpdater("the board has no bench package", "Install it: stm32up deploy --bench.")
    if error.kind == "ImportError" and (lost := _MODULE.search(error.message)):
        return NoUpdater(f"the host has no module {lost[0]}: it was lost, or {_OLD}", _DEPLOY)
    if error.kind == "ImportError" and "stm32_updater" in error.message:
        return NoUpdater("the board has no updater", "Install it: stm32up deploy.")
    old = "stm32_rom" in error.message or "can't import name" in error.message
    if error.kind == "ImportError" and old:
        return NoUpdater(_OLD, _DEPLOY)
    return error
