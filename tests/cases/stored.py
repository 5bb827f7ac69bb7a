"""The host's files: the last good image is kept, and exactly the checked bytes are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from stm32sim.chip.application import known_images
from stm32sim.in_process import Bench
from stm32up.host import logs
from tests.cases.case import Cases, expect
from tests.cases.device_worlds import (
    NEW,
    NEWER,
    OLD,
    calls,
    push,
    runs,
    settled,
    told,
    update,
)
from tests.support import image, known, run_until_cut, signing_key

CASES = Cases()
CANDIDATE, CONFIRMED = "/updater/candidate.img", "/updater/confirmed.img"
BAD_NEWER = known_images(
    known(OLD, "1.0.0"), known(NEW, "1.1.0"), known(NEWER, "1.2.0", answers=False)
)


def at_event(bench: Bench, name: str, strike: Callable[[], object]) -> dict[str, Any]:
    """Run the updater; call `strike` once, after the first event or phase with this name."""
    struck = False
    for event in bench.updater().events():
        if not struck and name in (event["event"], event.get("phase")):
            struck = True
            strike()
    expect(struck, f"there was no event {name}")
    return dict(event)


# --- a rename that fails ---


Rename = Callable[[str, str], None]


def vanish(bench: Bench, rename: Rename, source: str, destination: str) -> None:
    bench.files.fs_remove(source)
    rename(source, destination)


def refuse(number: int) -> Callable[..., None]:
    def fails(bench: Bench, rename: Rename, source: str, destination: str) -> None:
        raise OSError(number)

    return fails


RENAMES: dict[str, Callable[..., None]] = {
    "a candidate that vanishes takes no last good image along": vanish,
    "a rename that fails with EIO takes no last good image along": refuse(5),
    "a rename that fails with EEXIST takes no last good image along": refuse(17),
    "a rename that fails with ENOSPC takes no last good image along": refuse(28),
    "a rename that fails with EACCES takes no last good image along": refuse(13),
}


def last_good_image_stays(renames: Callable[..., None]) -> str:
    """`renames` replaces every rename to confirmed.img until the next start; then an image is
    pushed that does not work."""
    board = update(applications=BAD_NEWER)
    calls = board.world.file_calls
    rename, failed = calls["fs_rename"], 0

    def fails(source: str, destination: str) -> None:
        nonlocal failed
        if destination != CONFIRMED:
            rename(source, destination)
            return
        failed += 1
        renames(board, rename, source, destination)

    calls["fs_rename"] = fails
    first = board.run()[-1]
    calls["fs_rename"] = rename
    expect(failed, "there was no rename to confirmed.img")
    expect(not first["ok"] and first["next_step"], told(first))
    kept = board.exists(CONFIRMED) and board.read_file(CONFIRMED)
    expect(kept == image(OLD, "1.0.0"), f"{told(first)}; no last good image")
    settled(board)
    push(board, "1.2.0")
    result = settled(board)
    back = runs(board, "1.0.0") or runs(board, "1.1.0")
    return expect(back, f"{first['status']}; then a bad image: {told(result)}")


for name, strike in RENAMES.items():
    tried = "it fails when 1.1.0 is committed, then an image that does not work"
    CASES.add(name, tried, last_good_image_stays, strike)


# --- bytes that change after the check ---

WRONG_PAYLOAD = NEW[:3000] + b"NOT WHAT IT WAS!" + NEW[3016:]
SIGNED = image(NEW, "1.1.0", key=signing_key())
HEADER = SIGNED.index(NEW)
WRONG = SIGNED.replace(NEW, WRONG_PAYLOAD)
WITH_WRONG = known_images(known(OLD, "1.0.0"), known(NEW, "1.1.0"), known(WRONG_PAYLOAD, "1.1.0"))
EVENTS = ("checked", "installing", "loader", "compare", "write", "verify", "written", "starting")


def unchecked_bytes_stay_out(board: Bench, result: dict[str, Any]) -> str:
    confirmed = board.read_file(CONFIRMED)
    right = (
        (runs(board, "1.1.0") or not board.flash_holds(WRONG_PAYLOAD))
        and WRONG_PAYLOAD not in confirmed
        and not (result["ok"] and not runs(board, "1.1.0"))
    )
    expect(right, f"{told(result)}; confirmed.img is wrong: {WRONG_PAYLOAD in confirmed}")
    again = settled(board)
    whole = runs(board, "1.1.0") or runs(board, "1.0.0")
    return expect(whole, f"{told(result)}; then {told(again)}")


def overwritten(event: str) -> str:
    board = update(signed=True, applications=WITH_WRONG)

    def strike() -> None:
        path = CANDIDATE if board.exists(CANDIDATE) else "/updater/inbox/1.1.0.img"
        board.write_file(path, WRONG)

    return unchecked_bytes_stay_out(board, at_event(board, event, strike))


for event in EVENTS:
    name = f"an image overwritten at {event} is not installed"
    CASES.add(name, "another task writes other bytes into its file", overwritten, event)


@CASES("one bit of candidate.img reads differently from the event 'loader' on")
def a_bit_that_rots_after_the_check_is_not_installed() -> str:
    board = update(signed=True, applications=WITH_WRONG)
    rotten = False
    places: dict[int, list[Any]] = {}  # handle: [path, position]

    def call(real: Any, name: str, *args: Any) -> Any:
        answer = real(name, *args)
        if name == "fs_open":
            places[answer] = [args[0], 0]
        elif name == "fs_seek":
            places[args[0]][1] = answer
        elif name == "fs_read":
            path, position = places[args[0]]
            places[args[0]][1] += len(answer)
            offset = HEADER + 4000 - position
            if rotten and path == CANDIDATE and 0 <= offset < len(answer):
                return answer[:offset] + bytes([answer[offset] ^ 4]) + answer[offset + 1 :]
        return answer

    def rot() -> None:
        nonlocal rotten
        rotten = True

    calls(board, call)
    board.boot()
    result = at_event(board, "loader", rot)
    rotten_payload = NEW[:4000] + bytes([NEW[4000] ^ 4]) + NEW[4001:]
    expect(not board.flash_holds(rotten_payload) or not result["ok"], told(result))
    expect(rotten_payload not in board.read_file(CONFIRMED), "the rotten image was confirmed")
    again = settled(board)
    whole = runs(board, "1.0.0") or runs(board, "1.1.0")
    return expect(whole, f"{told(result)}; then {told(again)}")


# --- the log ---


@CASES("confirm() raises texts of 3000 to 6000 characters, nothing to go back to, two more starts")
def an_error_of_any_length_leaves_the_log_in_order() -> str:
    count = 0
    for text in ("x" * 3000, '"\\' * 3000, "\u20ac" * 4000, "\n" * 3000, "\0" * 3000):
        board = update()
        board.forget("confirmed.img")  # so that the text is in the last line, the result

        def confirm(image: object, text: str = text) -> bool:
            raise ValueError(text)

        list(board.updater(confirm=confirm).events())
        for _ in range(2):
            board.boot()
            board.run()
        files = [board.read_file(path) for path in logs.FILES if board.exists(path)]
        lines = [line for content in files for line in content.splitlines()]
        numbers = [json.loads(line)["n"] for line in lines]
        expect(numbers == sorted(set(numbers)), f"numbers {numbers}")
        count = len(logs.merge(files).entries)
        expect(count == len(lines), f"logs pull gives {count} of {len(lines)} lines")
    return f"{count} lines, and logs pull gives them all"


# --- memory ---


def short_of_memory(board: Bench, at: int, lasting: bool) -> tuple[str, int]:
    """The at-th transfer of more than 64 bytes fails without memory; return how the run ended, and
    the number of transfers."""
    seen = 0
    active = True

    def call(real: Any, name: str, *args: Any) -> Any:
        nonlocal seen
        size = 0
        if name in ("fs_read", "i2c_read"):
            size = max((arg for arg in args[1:] if isinstance(arg, int)), default=0)
        elif name == "fs_write":
            size = len(args[1])
        if active and size > 64:
            seen += 1
            if seen == at or (lasting and seen > at):
                raise MemoryError("memory allocation failed")
        return real(name, *args)

    calls(board, call)
    board.boot()
    try:
        end = told(list(board.updater().events())[-1])
    except MemoryError as error:
        end = f"raised {error!r}"
    active = False
    return end, seen


@CASES("a MemoryError at every 16th large transfer of an update, once or from then on")
def a_memory_error_anywhere_is_mended_by_the_next_start() -> str:
    end, count = short_of_memory(update(), 1 << 30, False)
    expect("installed" in end and count > 20, f"{end}, {count} transfers")
    tried = 0
    for lasting in (False, True):
        for at in range(1, count + 1, 16):
            board = update()
            end, _ = short_of_memory(board, at, lasting)
            result = settled(board)
            expect(runs(board, "1.1.0"), f"at {at}: {end}; then {told(result)}")
            tried += 1
    return f"{tried} of {tried} mended"


@CASES("an update was cut; every look at another image in the inbox ends in MemoryError")
def a_pushed_image_without_memory_for_it_hinders_no_interrupted_update() -> str:
    board = update()
    run_until_cut(board)
    push(board, "1.2.0")

    def call(real: Any, name: str, *args: Any) -> Any:
        if name == "fs_open" and "1.2.0" in args[0]:
            raise MemoryError("memory allocation failed")
        return real(name, *args)

    calls(board, call)
    result = settled(board)
    return expect(runs(board, "1.1.0"), told(result))


# --- versions ---


@CASES("an old application that answers the version of the pushed image")
def the_answer_of_the_old_application_does_not_stand_for_the_new_one() -> str:
    both = known_images(known(OLD, "1.1.0"), known(NEW, "1.1.0"))
    board = Bench(applications=both)
    board.target.flash.load(OLD, 0)
    board.target.power(False)
    board.clock.advance(10**9)
    board.target.power(True)
    board.clock.advance(10**9)
    push(board, "1.1.0")
    result = board.run()[-1]
    return expect(runs(board, "1.1.0"), told(result))
