"""From facts to findings: `diagnose` applies the rules to what the doctor saw, the likeliest
first.

A rule is a function that returns the evidence, or nothing if it does not apply. Above it are the
texts: what is wrong, the cause, the next step. docs/doctor.md has the same texts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Required, TypedDict

from stm32up import device
from stm32up.board.model import BoardJson
from stm32up.events import Finding
from stm32up.host.host_facts import HostFacts
from stm32up.host.logs import Entry, Log
from stm32up.say.words import UNDER_WAY

SLOW_MS = 20  # for Get Version, which takes 5 ms even at 20 kHz: more means a held clock
_WIRING = ("chip", "i2c", "uart", "pins", "enter")  # sections of board.json

Evidence = list[str]


class Severity(StrEnum):
    WRONG = "wrong"
    BEYOND_HELP = "beyond help"
    NOTICE = "notice"  # everything works


class Image(TypedDict, total=False):
    """A file in place of an image: its properties, or why the updater refuses it."""

    path: Required[str]
    version: str
    version_bytes: str
    error: str
    message: str
    next_step: str


class Record(TypedDict, total=False):
    phase: str
    installed: str | None
    failed: str | None


class HandsOff(TypedDict):
    """The note of a bench operation."""

    what: str
    stage: str


class Files(TypedDict):
    """The updater's folder, as host.facts of stm32_doctor describes it."""

    record: Record | None
    slots: int
    inbox: list[Image]
    candidate: Image | None
    confirmed: Image | None
    hands_off: HandsOff | None


@dataclass(frozen=True)
class Rule:
    """`group`: the first rule of a group that applies is the finding, the others are other
    possible causes. `unless`: codes and groups that already explain it."""

    code: str
    severity: Severity
    what: str
    cause: str
    next_step: str
    seen: Callable[[Facts], Evidence]
    group: str = ""
    unless: tuple[str, ...] = ()

    def finding(self, evidence: Evidence) -> Finding:
        return Finding(
            code=self.code,
            severity=self.severity,
            what=self.what,
            evidence=evidence,
            cause=self.cause,
            next_step=self.next_step,
        )


class Rules(list[Rule]):
    """Rules, in the order in which they are applied."""

    def add(
        self,
        what: str,
        cause: str,
        next_step: str,
        *,
        severity: Severity = Severity.WRONG,
        group: str = "",
        unless: tuple[str, ...] = (),
    ) -> Callable[[Callable[[Facts], Evidence]], Callable[[Facts], Evidence]]:
        """Make a rule of the decorated function: its name, with hyphens, is the code."""

        def added(seen: Callable[[Facts], Evidence]) -> Callable[[Facts], Evidence]:
            code = seen.__name__.replace("_", "-")
            self.append(Rule(code, severity, what, cause, next_step, seen, group, unless))
            return seen

        return added


@dataclass(frozen=True)
class Diagnosis:
    """`findings`: the first is the diagnosis; `otherwise`: other possible causes of the first."""

    findings: list[Finding]
    otherwise: list[Finding]

    @property
    def healthy(self) -> bool:
        return all(finding["severity"] == Severity.NOTICE for finding in self.findings)


@dataclass
class Facts:
    """What was seen. `target` and `files` come from stm32_doctor on the host, and its docstrings
    describe them. `target` is None if the target was left alone."""

    settings: BoardJson  # the board.json that was used
    files: Files
    log: Log
    target: dict[str, object] | None
    updater: bool = True  # the host has one
    bare: bool = False  # the host has none of our files
    board_json: str = "sound"  # or "missing", "broken"
    board_trouble: str = ""  # what is wrong with it
    differs: list[str] = field(default_factory=list)  # sections that differ from --board
    hands_off: HandsOff | None = None  # the note of a bench operation
    host: HostFacts = field(default_factory=HostFacts)
    import_trouble: str = ""  # why the deployed updater cannot be imported
    power_cycled: bool = False  # the target, by hand, with no debugger connected

    # --- the target ---

    def seen(self, *path: str) -> Any:  # its type is in the docstrings of stm32_doctor
        """A value of `target`; None if a key on the path is missing."""
        value: object = self.target
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        return value

    @property
    def chip(self) -> device.Chip:
        return device.chip(self.settings["chip"])

    def pin(self, name: str) -> str:
        """ "SDA (host pin 4)"."""
        link: Mapping[str, object] = self.settings["i2c"] or self.settings.get("uart") or {}
        pins = {**link, **self.settings["pins"]}
        return f"{name.upper()} (host pin {pins[name]})"

    @property
    def frequency(self) -> int:
        """Of the I2C bus, in Hz; 0 if the target is wired to a UART."""
        i2c = self.settings["i2c"]
        return i2c["freq"] if i2c else 0

    @property
    def baudrate(self) -> int:
        """Of the UART; 0 if the target is wired to I2C."""
        uart = self.settings.get("uart")
        return uart["baudrate"] if uart else 0

    def low(self, line: str) -> bool:
        """Whether "scl" or "sda" stays low, even while the target is in reset."""
        levels = self.seen("reset", "lines", line) or self.seen("lines", line)
        return bool(levels) and levels[0] == 0

    @property
    def reached(self) -> bool:
        """Whether any loader answered."""
        return self.seen("reached_by") is not None

    @property
    def silent(self) -> bool:
        """The target was examined, and no loader was found."""
        looked = self.target is not None and self.seen("spared") != "at-work"
        return looked and not self.reached and self.seen("elsewhere") is None

    @property
    def application(self) -> str | None:
        """The last answer of the application."""
        for stage in ("start", "entry", "found"):
            if self.seen(stage, "application"):
                return str(self.seen(stage, "application"))
        version = self.seen("application")
        return None if version is None else str(version)

    @property
    def boot0_wired(self) -> bool:
        return self.settings["pins"]["boot0"] is not None

    @property
    def boot0_works(self) -> bool:
        """An application ran, and BOOT0 brought the target from it into the loader."""
        return self.seen("found", "application") is not None and self.seen("reached_by") == "own"

    @property
    def boot0_stops(self) -> bool:
        """An application runs, but not after a reset with BOOT0 high: so BOOT0 is not ignored."""
        asked = self.boot0_wired and self.seen("entry") is not None
        return asked and self.application is not None and not self.seen("entry", "application")

    @property
    def boot0_seems_ignored(self) -> bool:
        """BOOT0 is wired and shows no effect."""
        return self.silent and self.boot0_wired and not self.boot0_stops

    @property
    def boot0_worked(self) -> bool:
        """The log shows that the loader was entered after a confirmed installation, so not by the
        EMPTY flag of a blank chip."""
        installed = False
        for entry in self.log.entries:
            if entry.get("event") == "loader" and installed:
                return True
            installed = installed or entry.get("status") == "installed"
        return False

    @property
    def off_and_on(self) -> bool:
        """The target was switched off and on since it was last seen: by hand, or by the supply
        pin."""
        return self.power_cycled or self.settings["pins"]["supply"] is not None

    @property
    def options(self) -> dict[str, object]:
        """Option bytes by name; empty if they were not read."""
        data = self.seen("loader", "option_bytes")
        return device.option_bytes(bytes.fromhex(data)) if data else {}

    @property
    def entry_ms(self) -> int:
        """How long Get Version took after a reset; 0 if there was no answer."""
        ms = self.seen("entry", "patient_ms") or self.seen("entry", "loader", "ms") or 0
        return int(ms)

    # --- the host ---

    @property
    def record(self) -> Record:
        return self.files["record"] or {}

    @property
    def under_way(self) -> str | None:
        """The phase of an update that has not ended."""
        phase = self.record.get("phase")
        return phase if phase in UNDER_WAY else None

    @property
    def other_wiring(self) -> list[str]:
        return [section for section in self.differs if section in _WIRING]

    @property
    def last_failure(self) -> Entry | None:
        """The last result of an update in the log, if it was a failure."""
        results = [entry for entry in self.log.entries if entry.get("event") == "result"]
        return results[-1] if results and not results[-1].get("ok") else None


def diagnose(facts: Facts, rules: Iterable[Rule]) -> Diagnosis:
    """Apply every rule once, in order."""
    findings: list[Finding] = []
    otherwise: list[Finding] = []
    present: set[str] = set()  # codes and groups
    for rule in rules:
        if present.intersection(rule.unless):
            continue
        evidence = rule.seen(facts)
        if not evidence:
            continue
        competes = bool(rule.group) and rule.group in present
        (otherwise if competes else findings).append(rule.finding(evidence))
        present |= {rule.code, rule.group} - {""}
    findings.sort(key=lambda finding: finding["severity"] == Severity.NOTICE)
    return Diagnosis(findings, otherwise)
