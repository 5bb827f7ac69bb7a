"""`bench`: update cycles under disturbances. Two images take turns; after each cycle flash is read
back from the target, and the application must answer.

A cycle pushes its image and runs the updater until it has settled. The first runs are struck at
instants that only the seed, the number of the cycle and of the run determine. Then come runs
without strikes: the first may fail on what the strikes left, a later one must repair it, and none
may roll back. Only a final state that is wrong, and such a rollback, is a failure.

stm32_cycles on the host strikes and reads back. It is sent into the host's RAM after each reset.
"""

from __future__ import annotations

import hashlib
import json
import random
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from stm32up import device
from stm32up.board.model import Board
from stm32up.errors import (
    BoardReset,
    ContactLost,
    DeviceError,
    Stm32upError,
    UpdateFailed,
    UsageError,
)
from stm32up.events import Event, Report
from stm32up.host import calls, logs, ram
from stm32up.host.deploy import compiled
from stm32up.host.push import push
from stm32up.host.transport import Connection, understood
from stm32up.image import image_format, images

HOST_KINDS = ("watchdog", "reset", "soft-reset")
# Of a line that is pulled low, the shortest and longest time in us.
_LENGTHS_US = {"nrst": (1, 20_000), "supply": (2_000, 800_000), "short": (20, 100_000)}
_STRIKES = (1, 1, 1, 2, 2, 3)  # how many in one run
_STRUCK_RUNS = 3  # the second and third by chance
_CLEAN_RUNS = 3  # the run, its repair, and a push after a rollback
MOST_IN_A_ROW = 3  # failed cycles: the board is broken, and more of them tell nothing
_KEPT_EVENTS = 200  # of a cycle, for the report of a failure
_KEPT_LOG = 40  # lines of the log on the host
_ROLLED_BACK, _IDLE = "rolled-back", "idle"

_RUN = """
import json
import stm32_cycles
from stm32_updater import UpdaterError
try: {call}
except UpdaterError as e:
 d = {{"event": "result", "ok": False}}
 d.update(e.as_dict())
 print(json.dumps(d))
"""
_DISTURBED = "stm32_cycles.run({strikes!r}, feed, lambda e: print(json.dumps(e)), {force!r})"
IDENTIFIED = (
    'd = {{"event": "result", "ok": True}}; d.update(stm32_cycles.identity({at!r}, feed)); '
    "print(json.dumps(d))"
)
_CHECKED = (
    'd = {{"event": "result", "ok": True}}; d["found"] = stm32_cycles.check({stretches!r}, feed); '
    "print(json.dumps(d))"
)


class Strike(NamedTuple):
    """`kind`: one of HOST_KINDS, or a line that is pulled low for `for_us`."""

    kind: str
    at_us: int  # since the start of the run
    for_us: int


class Candidate:
    """An image of the pair, and what the target must hold after its installation."""

    def __init__(self, path: Path) -> None:
        shown = images.verify(path)
        parsed = image_format.parse(path.read_bytes(), path)
        self.path = path
        self.version = shown["version"]
        self.counter = shown["security_counter"]
        self.stretches = [
            (part["address"], part["length"])
            for part in shown["layout"] or []
            if part["what"] == "written"
        ]
        content = hashlib.sha256()
        for address, length in self.stretches:
            start = address - parsed.load_address
            content.update(parsed.payload[start : start + length])
        self.content = content.hexdigest()


@dataclass
class Cycle:
    """What came of one cycle; a line of the state file. Times of `phases` in ms: of "push",
    "read back" and "cycle" on this computer, of the others on the host, over all runs."""

    cycle: int
    version: str
    cuts: list[dict[str, object]] = field(default_factory=list)
    runs: int = 0
    retries: int = 0  # runs after an error or a cut
    resets: int = 0  # of the host that the bench did not make
    phases: dict[str, int] = field(default_factory=dict)
    failure: dict[str, object] | None = None

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def strikes(seed: int, cycle: int, run: int, kinds: Sequence[str], span_ms: int) -> list[Strike]:
    """The strikes of one run of the updater, which takes `span_ms` without any."""
    chance = random.Random(f"{seed}/{cycle}/{run}")
    if not kinds or run >= _STRUCK_RUNS or chance.random() >= 0.5**run:
        return []
    lines = [kind for kind in kinds if kind not in HOST_KINDS]
    hosts = [kind for kind in kinds if kind in HOST_KINDS]
    found = []
    for at in sorted(chance.random() for _ in range(chance.choice(_STRIKES))):
        kind = chance.choice(chance.choice([group for group in (lines, hosts) if group]))
        shortest, longest = _LENGTHS_US.get(kind, (0, 0))
        # As often between 10 and 100 us as between 1 and 10 ms.
        length = round(shortest * (longest / shortest) ** chance.random()) if shortest else 0
        found.append(Strike(kind, int(at * span_ms * 1000), length))
        if kind in HOST_KINDS:
            break
    return found


def kinds_for(board: Board, *, target: bool, host: bool, noise: bool) -> tuple[str, ...]:
    """What the wiring of this board can disturb. Raises UsageError if it cannot."""
    if noise and board.short is None:
        raise UsageError(
            "this board has no pin that can short the bus, which --noise needs",
            "Wire a free pin of the host to SDA, and name it in board.toml: [bench] short_pin.",
        )
    found = ["nrst"] if target else []
    if target and board.supply is not None:
        found.append("supply")
    return (*found, *(["short"] if noise else []), *(HOST_KINDS if host else []))


def modules() -> dict[str, bytes]:
    """stm32_cycles, as `ram.send` takes it."""
    package = device.CYCLES
    return {f"{package.name}/{name}": code for name, code in compiled(package).items()}


def call(connection: Connection, code: str, report: Report) -> dict[str, Any]:
    """Run a call of stm32_cycles; return the values of its result. Raises as `calls.collect`."""
    return calls.collect(connection, _RUN.format(call=code), report)


class Cycles:
    """The cycles of one board. `kinds`: what strikes. Raises Stm32upError if the board is lost."""

    def __init__(
        self,
        connection: Connection,
        pair: Sequence[Candidate],
        kinds: Sequence[str],
        seed: int,
        method: str,
    ) -> None:
        self._connection = connection
        self._pair = pair
        self._kinds = kinds
        self._seed = seed
        self._method = method  # of [confirm]
        self._modules = modules()
        self._heard: list[Event] = []
        self._blamed = False  # the last run began a rollback
        self._armed = False  # a watchdog runs on the host, and will bite
        self._cycle = Cycle(0, "")
        self._send()

    def prepare(self) -> int:
        """Install the second image, undisturbed; return how long the updater runs for that, in
        ms of the host. Raises UpdateFailed if that does not work."""
        image = self._pair[1]
        self._begin(0, image)
        push(self._connection, image.path, _ignore)
        result = self._run([], force=True) or {}
        wrong = self._wrong(image, result)
        if wrong:
            message, next_step = wrong
            raise UpdateFailed(
                f"before the first cycle: {message}", next_step, {**result, "ok": False}
            )
        return max(1, sum(self._cycle.phases.values()))

    def one(self, number: int, span_ms: int) -> Cycle:
        """Cycle `number`, from 1. `span_ms`: see `prepare`."""
        image = self._pair[(number - 1) % 2]
        cycle = self._begin(number, image)
        began = time.monotonic()
        try:
            wrong = self._until_settled(cycle, image, span_ms)
        except ContactLost as lost:
            wrong = (f"the board went down again and again: {lost.message}", lost.next_step)
            self._reconnect()
        if wrong:
            message, next_step = wrong
            cycle.failure = {
                "message": message,
                "next_step": next_step,
                "events": self._heard[-_KEPT_EVENTS:],
                "log": self._log(),
            }
        cycle.phases["cycle"] = _ms_since(began)
        return cycle

    def _until_settled(
        self, cycle: Cycle, image: Candidate, span_ms: int
    ) -> tuple[str, str] | None:
        """Push and run until the state is right. Returns what is wrong at the end, and the next
        step."""
        self._push(image)
        force = False
        clean = 0
        wrong = None
        while clean < _CLEAN_RUNS:
            if cycle.runs:
                cycle.retries += 1
                self._push_again(image)
            planned = strikes(self._seed, cycle.cycle, cycle.runs, self._kinds, span_ms)
            cycle.runs += 1
            clean += not planned
            result = self._run(planned, force=force)
            if result is None:
                continue
            force = result.get("status") == _ROLLED_BACK
            if self._blamed and not planned:
                return f"{image.version} works, but was rolled back in a run without cuts", ""
            wrong = self._wrong(image, result)
            if wrong is None:
                return None
        return wrong or ("the board went down in each run", "Check its supply and its cable.")

    def _begin(self, number: int, image: Candidate) -> Cycle:
        self._heard = []
        self._cycle = Cycle(number, image.version)
        return self._cycle

    def _push(self, image: Candidate) -> None:
        began = time.monotonic()
        push(self._connection, image.path, _ignore)
        self._spent("push", _ms_since(began))

    def _push_again(self, image: Candidate) -> None:
        """Push if the host has nothing to go on with."""
        known = calls.status(self._connection)
        nothing = known.get("phase") in (_IDLE, "unknown") and not known.get("candidate")
        if nothing and not known.get("inbox") and known.get("confirmed") != image.version:
            self._push(image)

    def _run(self, planned: Sequence[Strike], *, force: bool = False) -> dict[str, Any] | None:
        """The result of one run of the updater; None if the host went down."""
        cycle = self._cycle
        last_ms = 0
        self._blamed = False
        self._ready()

        def hear(event: Event) -> None:
            nonlocal last_ms
            self._heard.append(event)
            if event["event"] == "cut":
                self._cut(event)
                self._armed = self._armed or event["kind"] == "watchdog"
                return
            self._blamed = self._blamed or event["event"] == "rolling-back"
            now = event.get("t")
            if isinstance(now, int):
                self._spent(phase_of(event), now - last_ms)
                last_ms = now

        code = _DISTURBED.format(strikes=[list(one) for one in planned], force=force)
        try:
            result = call(self._connection, code, hear)
        except UpdateFailed as error:
            result = {**error.result}
        except DeviceError as error:
            result = {"ok": False, "error": error.code, "message": error.message}
        except ContactLost as lost:
            down = planned[-1] if planned and planned[-1].kind in HOST_KINDS else None
            if self._armed:
                self._armed = False  # counted when it was started
            elif down is not None and isinstance(lost, BoardReset):
                self._cut({"event": "cut", "kind": down.kind, "t": down.at_us // 1000})
            else:
                cycle.resets += 1
                self._heard.append({"event": "note", "text": lost.message})
            self._reconnect(expected=down is not None)
            return None
        hear({"event": "result", **result})
        return result

    def _wrong(self, image: Candidate, result: dict[str, Any]) -> tuple[str, str] | None:
        """What is wrong with the state after a run, as message and next step; None if nothing."""
        if not result.get("ok", True):
            return str(result.get("message", result)), str(result.get("next_step", ""))
        began = time.monotonic()
        try:
            found = self._connection.persistently(
                lambda: self._checked(image.stretches), self._heard.append
            )
        except (UpdateFailed, DeviceError) as error:
            return f"flash cannot be read back: {error.message}", error.next_step
        self._spent("read back", _ms_since(began))
        self._heard.append({"event": "read-back", **found})
        return difference(image, found, self._method)

    def _checked(self, stretches: list[tuple[int, int]]) -> dict[str, Any]:
        self._ready()
        return checked(self._connection, stretches)

    def _cut(self, event: Event) -> None:
        self._cycle.cuts.append({key: event[key] for key in event if key != "event"})

    def _spent(self, phase: str, ms: int) -> None:
        phases = self._cycle.phases
        phases[phase] = phases.get(phase, 0) + ms

    def _reconnect(self, *, expected: bool = False) -> None:
        self._connection.reconnect(expected=expected)
        self._send()

    def _ready(self) -> None:
        """Send the code again if the host was reset since: a watchdog may bite after its run."""
        if self._resets == self._connection.resets:
            return
        if self._armed:
            self._armed = False
        else:
            self._cycle.resets += 1
        self._send()

    def _send(self) -> None:
        ram.send(self._connection, self._modules)
        self._resets = self._connection.resets

    def _log(self) -> list[logs.Entry]:
        try:
            return logs.collect(self._connection).entries[-_KEPT_LOG:]
        except Stm32upError:
            return []


def checked(connection: Connection, stretches: Sequence[tuple[int, int]]) -> dict[str, Any]:
    """What stm32_cycles.check finds. Raises as `call`."""
    result = call(connection, _CHECKED.format(stretches=[*stretches]), _ignore)
    with understood(result):
        return {**result["found"]}


def difference(image: Candidate, found: dict[str, Any], method: str) -> tuple[str, str] | None:
    """How the state that stm32_cycles.check has found differs from that after an installation of
    `image`, as message and next step; None if it does not. `method`: of [confirm]."""
    if found.get("sha256") != image.content:
        return f"flash does not hold {image.version}", "Read the log; run: stm32up doctor."
    for answer in (found.get("answers"), found.get("answers_again")):
        if not _is_right(answer, image.version, method):
            said = "another version answers" if isinstance(answer, str) else "nothing answers"
            return f"the application is not {image.version}: {said}", "Run: stm32up doctor."
    status = found.get("status") or {}
    state = {key: status.get(key) for key in ("phase", "confirmed", "candidate", "inbox")}
    if state != {"phase": _IDLE, "confirmed": image.version, "candidate": None, "inbox": []}:
        return (
            f"flash is right, but the host's record is not: {json.dumps(state)}",
            "Read the log: stm32up logs show.",
        )
    return None


def _is_right(answer: object, version: str, method: str) -> bool:
    if method == "none":
        return True
    if method == "gpio":
        return answer is True
    try:
        return device.version_text(bytes.fromhex(str(answer))) == version
    except ValueError:
        return False


def phase_of(event: Event) -> str:
    """The phase that ends with this event."""
    name = str(event["event"])
    if name == "progress":
        return str(event.get("phase"))
    if name in ("written", "retry"):
        return "write"
    if name == "loader":
        return "enter"
    return "prove" if name in ("starting", "result") else "check"


def _ms_since(began: float) -> int:
    return round((time.monotonic() - began) * 1000)


def _ignore(event: Event) -> None:
    pass
