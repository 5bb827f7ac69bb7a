"""`doctor`: examines host, bus and target, and says what is wrong, why, and what to do next.

It writes nothing, neither to the target nor to the host's files. The host needs no updater: the
code that runs there is sent into its RAM.
"""

from __future__ import annotations

import json
from typing import Any, Protocol, cast

from stm32up import device, plain_json
from stm32up.board.model import Board, BoardJson
from stm32up.doctor import rules_bus, rules_first, rules_state
from stm32up.doctor.diagnosis import Diagnosis, Facts, Files, diagnose
from stm32up.errors import UsageError
from stm32up.events import Examined, Values
from stm32up.host import bus_trace, host_facts, logs, ram
from stm32up.host.deploy import compiled
from stm32up.host.host_facts import HostFacts
from stm32up.host.paths import BOARD_JSON, FOLDER
from stm32up.host.transport import Connection, nonsense

RULES = (*rules_first.RULES, *rules_bus.RULES, *rules_state.RULES)
# The modules of the updater that stm32_doctor imports. Not its __init__, which imports the flow of
# an update.
_MODULES = (
    "errors",
    "settings",
    "board",
    "image",
    "signature",
    "record",
    "store",
    "run_events",
    "admission",
)
_CALL = """
import json
from stm32_doctor import discover, host, target, walk
from stm32_rom.clock import Clock
print(json.dumps({function}(*json.loads({arguments!r}), Clock())))
"""
# The answer of host.facts of stm32_doctor for an empty folder.
_FIRST = "Deploy first, which identifies the chip: stm32up deploy"
_NO_FILES = Files(record=None, slots=0, inbox=[], candidate=None, confirmed=None, hands_off=None)
# Each silent address and each controller takes its time, and an application may take several times
# the limit in board.toml, 60 s.
_SILENCE_S = 400.0


class Host(Protocol):
    """The host MCU: a board behind a port, or one in a test."""

    @property
    def facts(self) -> HostFacts: ...
    @property
    def import_trouble(self) -> str: ...
    def read_file(self, path: str) -> bytes | None: ...
    def call(self, function: str, *arguments: object) -> Any:  # JSON: the caller knows its form
        """Call a function of stm32_doctor, such as "target.facts", with JSON values."""
        ...


class ConnectedHost:
    """The host behind a connection. Nothing is installed on it."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self.facts = host_facts.look(connection)
        self.import_trouble = ""
        if self.facts.interpreter_trouble:
            return  # it is asked nothing else
        self.import_trouble = host_facts.import_trouble(connection, self.facts)
        host_facts.alone(connection, self.facts)
        self.read_file = connection.read_file
        ram.send(connection, _modules())

    def call(self, function: str, *arguments: object) -> object:
        """The answer is the last line: an ESP32 may print messages of its I2C driver before."""
        code = _CALL.format(function=function, arguments=json.dumps(arguments))
        lines: list[str] = []
        bus_trace.run(self._connection, code, lines.append, _SILENCE_S)
        try:
            return plain_json.parse(lines[-1])
        except (ValueError, IndexError):
            raise nonsense("\n".join(lines)) from None


def doctor(connection: Connection, board: Board, *, power_cycled: bool = False) -> Examined:
    """Examine the board and return the values of the result.

    `power_cycled`: the target's supply was switched off and on by hand just before, with no
    debugger connected. That excludes causes, and ends the wait for an interrupted bench operation.
    """
    facts = examine(ConnectedHost(connection), board.as_json(), power_cycled=power_cycled)
    return values(facts, diagnose(facts, RULES))


def examine(host: Host, wanted: BoardJson, *, power_cycled: bool = False) -> Facts:
    """All facts. Uses the host's board.json if usable, otherwise `wanted`, the one of --board. A
    target with an unfinished bench operation is left alone. An interpreter that cannot run the
    doctor is asked nothing else."""
    if host.facts.interpreter_trouble:
        return Facts(wanted, _NO_FILES, logs.merge([]), target=None, host=host.facts)
    text = host.read_file(BOARD_JSON)
    found, trouble = _parsed(text)
    if found is not None:
        trouble = host.call("host.trouble_with", found)
    settings = wanted if found is None or trouble else found
    if settings["chip"] == device.AUTO:
        raise UsageError(
            'board.toml says chip = "auto", and the host does not know it yet', _FIRST
        )
    if wanted["chip"] == device.AUTO:
        wanted = {**wanted, "chip": settings["chip"]}
    files = host.call("host.facts", settings, FOLDER) if host.facts.block else _NO_FILES
    log = logs.merge(host.read_file(path) or b"" for path in logs.FILES)
    touchable = files["hands_off"] is None or power_cycled
    updater = host.facts.updater
    return Facts(
        settings=settings,
        files=files,
        log=log,
        target=_target(host, settings, power_cycled) if touchable else None,
        updater=updater,
        bare=not updater and text is None and not files["slots"] and not log.entries,
        board_json="missing" if text is None else "broken" if trouble else "sound",
        board_trouble=trouble or "",
        differs=[] if settings is wanted else _differences(settings, wanted),
        hands_off=files["hands_off"],
        host=host.facts,
        import_trouble=host.import_trouble,
        power_cycled=power_cycled,
    )


def values(facts: Facts, diagnosis: Diagnosis) -> Examined:
    """The result: the findings, the diagnosis first, and the facts they rely on. If something is
    wrong, the diagnosis is also in "error", "message" and "next_step", as for any failure."""
    result: Examined = {
        "ok": diagnosis.healthy,
        "status": "healthy",
        "findings": diagnosis.findings,
        "otherwise": diagnosis.otherwise,
        "facts": {"target": facts.target, "host": facts.files, "free": facts.host.free},
    }
    if not diagnosis.healthy:
        first = diagnosis.findings[0]
        result["status"] = first["severity"].replace(" ", "-")
        result["error"], result["message"] = first["code"], first["what"]
        result["next_step"] = first["next_step"]
    return result


def _modules() -> dict[str, bytes]:
    """The modules that the host needs, by path."""
    updater = compiled(device.PACKAGE)
    modules = {f"stm32_updater/{name}.mpy": updater[f"{name}.mpy"] for name in _MODULES}
    for package in (device.ROM, device.DOCTOR):
        modules |= {f"{package.name}/{name}": code for name, code in compiled(package).items()}
    return modules


def _parsed(text: bytes | None) -> tuple[BoardJson | None, str | None]:
    """board.json, or what is wrong with it."""
    if text is None:
        return None, None
    try:
        content = plain_json.parse(text)
    except ValueError as error:
        return None, f"/board.json is not JSON: {error}"
    if not isinstance(content, dict):
        return None, "/board.json is not an object"
    return cast(BoardJson, content), None  # the code on the host checks it


def _differences(settings: BoardJson, wanted: BoardJson) -> list[str]:
    said: Values = settings
    return sorted(key for key, value in wanted.items() if said.get(key) != value)


def _target(host: Host, settings: BoardJson, power_cycled: bool) -> dict[str, object]:
    own = device.chip(settings["chip"]).loader_address
    addresses = [at for at in device.loaders() if at != own]
    facts: dict[str, object] = host.call("target.facts", settings, addresses, power_cycled)
    return facts
