"""What must be true after any cut, checked in the simulated world itself, not by the device
code."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from stm32sim.chip.flash import GRANULE
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS, NS_PER_S

SETTLING_LIMIT = 60 * NS_PER_S  # from power-on to the application running
ENDED = "ended"  # event and status: the host's program has ended, and nothing starts it again
_UNTOLD = 4  # lines: of two cuts, each can interrupt the report of two events
DANGEROUS = (0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93)  # AN4221 table 2


class Kind(StrEnum):
    """Kinds of violations."""

    UNRECOVERED = "unrecovered"  # not in time, or not with the right image and files
    PARTIAL = "partial"  # an incomplete application ran
    MARGINAL = "marginal"  # the content of flash may change by itself
    OPCODES = "opcodes"  # option bytes or protection were changed
    PRESERVED = "preserved"
    LOG = "log"


@dataclass
class Violation:
    kind: Kind
    text: str

    def __str__(self) -> str:
        return self.text


@dataclass
class Verdict:
    """The result of one case. `violations` is empty if all is right."""

    settled_on: str  # "new", "old" or "nothing"
    boots: int
    recovery_ms: int
    violations: list[Violation] = field(default_factory=list)
    wrong_doors: int = 0  # how often the core entered the complete application at a wrong address


@dataclass
class Judge:
    """Knows the state before the cut."""

    new: bytes  # what the target should hold in the end
    old: bytes | None  # what it may hold instead if `old_is_fine`
    old_is_fine: bool
    option_bytes: bytes
    option_operations: int
    preserved: dict[int, bytes]  # offset in flash -> content that must not change
    may_run: tuple[bytes, ...]  # what else may run before the end
    forgets: bool  # the host's files are lost, with the log and confirmed.img
    known: int  # number of log lines before the cut
    erases: int | None = None  # erases of the target so far, if no more are allowed
    within: int = SETTLING_LIMIT
    hears_all: bool = True  # False: only the results of the host are heard
    told: list[dict[str, Any]] = field(default_factory=list)  # the host's events since then

    @classmethod
    def of(
        cls,
        bench: Bench,
        new: bytes,
        old: bytes | None = None,
        *,
        old_is_fine: bool = False,
        preserved: tuple[tuple[int, int], ...] = (),
        may_run: tuple[bytes, ...] = (),
        forgets: bool = False,
        untouched: bool = False,
    ) -> Judge:
        flash = bench.target.flash.data
        bench.target.boots.clear()
        return cls(
            new,
            old,
            old_is_fine,
            bytes(bench.target.option_bytes.data),
            bench.target.flash.option_operations,
            {start: bytes(flash[start : start + length]) for start, length in preserved},
            may_run,
            forgets,
            max((line["n"] for line in _log(bench)[0]), default=-1) + 1,
            sum(bench.target.flash.erase_counts) if untouched else None,
        )

    def heard(self, event: dict[str, Any]) -> None:
        """The host reports an event, which its log must contain."""
        logged = event["event"] not in ("progress", ENDED) and event.get("status") != "idle"
        if logged:  # a run with nothing to do has no line
            self.told.append(_event(json.loads(json.dumps(event))))

    def verdict(
        self, bench: Bench, boots: int, took: int, result: dict[str, Any] | None
    ) -> Verdict:
        """The verdict when the host reports that nothing is left to do."""
        if bench.target.running is not Running.APPLICATION:
            settled_on = "nothing"
        elif bytes(bench.target.flash.data[: len(self.new)]) == self.new:
            settled_on = "new"
        elif self.old and bytes(bench.target.flash.data[: len(self.old)]) == self.old:
            settled_on = "old"
        else:
            settled_on = "nothing"
        violations = [*self._on_the_way(bench), *self._in_the_end(bench, settled_on, result)]
        if took > self.within:
            violations.append(Violation(Kind.UNRECOVERED, f"took {took // NS_PER_MS} ms"))
        return Verdict(settled_on, boots, took // NS_PER_MS, violations, _wrong_doors(bench))

    def unsettled(self, bench: Bench, boots: int, result: dict[str, Any] | None) -> Verdict:
        violations = list(self._on_the_way(bench))
        violations.append(Violation(Kind.UNRECOVERED, f"never settled: {result}"))
        return Verdict("nothing", boots, 0, violations, _wrong_doors(bench))

    def _in_the_end(
        self, bench: Bench, settled_on: str, result: dict[str, Any] | None
    ) -> Iterator[Violation]:
        """Violations in the final state."""
        if settled_on == "nothing" or (settled_on == "old" and not self.old_is_fine):
            yield Violation(Kind.UNRECOVERED, f"settled on {settled_on}: {result}")
            return
        image = self.new if settled_on == "new" else self.old or b""
        weak = bench.target.flash.weak_granules(0, len(image) + -len(image) % GRANULE)
        if weak:
            text = f"{len(weak)} marginal granules, the first at {weak[0]:#x}"
            yield Violation(Kind.MARGINAL, text)
        wrong = self._wrong_in_memory(bench, image)
        if wrong:
            yield Violation(Kind.UNRECOVERED, wrong)

    def _on_the_way(self, bench: Bench) -> Iterator[Violation]:
        """Violations during the run."""
        target = bench.target
        for boot in target.boots:
            if boot.running is Running.CRASHED and boot.ran_partial_application:
                yield Violation(Kind.PARTIAL, f"a partial application ran at {boot.instant} ns")
            if boot.running is Running.APPLICATION and not self._may_run(boot.flash or b""):
                text = f"another application ran at {boot.instant} ns"
                yield Violation(Kind.UNRECOVERED, text)
        if bytes(target.option_bytes.data) != self.option_bytes:
            yield Violation(Kind.OPCODES, "option bytes changed")
        if target.flash.option_operations != self.option_operations:
            yield Violation(Kind.OPCODES, "option bytes were programmed")
        if self.erases not in (None, sum(target.flash.erase_counts)):
            text = "a page was erased for an image that must be refused"
            yield Violation(Kind.UNRECOVERED, text)
        for start, content in self.preserved.items():
            if bytes(target.flash.data[start : start + len(content)]) != content:
                text = f"the preserved region at {start:#x} changed"
                yield Violation(Kind.PRESERVED, text)
        for opcode in bench.trace.commands():
            if opcode in DANGEROUS:
                yield Violation(Kind.OPCODES, f"opcode {opcode:#x} on the wire")
        wrong = self._wrong_in_log(bench)
        if wrong:
            yield Violation(Kind.LOG, wrong)

    def _may_run(self, flash: bytes) -> bool:
        images = (self.new, self.old, *self.may_run)
        return any(image and flash.startswith(image) for image in images)

    def _wrong_in_memory(self, bench: Bench, image: bytes) -> str | None:
        """What is wrong with the host's files: nothing may be under way, and the last good image
        must be the installed one."""
        if not bench.exists("/updater/confirmed.img"):
            return None if self.forgets else "the host keeps no image"
        if payload_of(bench.read_file("/updater/confirmed.img")) != image:
            return "the last good image on the host is another than the installed one"
        record = bench.record()
        if record is None:
            return "the host has no record"
        if not record.is_idle:
            return f"the record is in phase {record.phase}"
        return None

    def _wrong_in_log(self, bench: Bench) -> str | None:
        """What is wrong with the log. Each run begins with a line about the run. Else the log must
        hold all of the host's events in order and little more: the two events that a cut
        interrupted, or a line torn by one. It ends with a result, or with the last event before a
        result that a cut interrupted."""
        lines, bad = _log(bench)
        numbers = [line["n"] for line in lines]
        if len(set(numbers)) != len(numbers):
            return "log lines share a number"
        lines.sort(key=lambda line: line["n"])
        if self.forgets:
            return None
        last = _event(lines[-1]) if lines else {}
        if self.hears_all and last.get("event") != "result" and last not in self.told[-1:]:
            return "the log does not end with a result"
        since = [_event(line) for line in lines if line["n"] >= self.known]
        missing = list(self.told)
        if not _runs_begin_with_a_line(since):
            return "a run does not begin with the line about it"
        since = [event for event in since if event["event"] != "run"]
        for event in since:
            if missing and event == missing[0]:
                del missing[0]
        if missing:
            return f"the log does not contain {missing[0]}"
        if self.hears_all and bad + len(since) - len(self.told) > _UNTOLD:
            return f"the log holds {len(since)} lines for {len(self.told)} events, {bad} torn"
        return None


def _runs_begin_with_a_line(events: list[dict[str, Any]]) -> bool:
    begins = [True] + [event["event"] == "result" for event in events[:-1]]
    return all(
        event["event"] == "run" for event, begin in zip(events, begins, strict=False) if begin
    )


def payload_of(image: bytes) -> bytes:
    """The payload that an MCUboot image puts into flash."""
    header, size = struct.unpack_from("<H2xI", image, 8)  # ih_hdr_size, ih_img_size
    return image[header : header + size]


def _wrong_doors(bench: Bench) -> int:
    return sum(boot.by_wrong_door for boot in bench.target.boots)


def _event(line: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in line.items() if key not in ("n", "t")}


def _log(bench: Bench) -> tuple[list[dict[str, Any]], int]:
    """The lines of the log, and the number of unreadable ones."""
    lines: list[dict[str, Any]] = []
    bad = 0
    for name in ("/updater/log.0", "/updater/log.1"):
        found: list[dict[str, Any]] = []
        for text in bench.read_file(name).splitlines() if bench.exists(name) else ():
            try:
                found.append(json.loads(text))
            except ValueError:
                bad += 1
        if [line["n"] for line in found] != sorted(line["n"] for line in found):
            bad += len(found)
        lines += found
    return lines, bad
