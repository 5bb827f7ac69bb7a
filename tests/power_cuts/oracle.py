"""What must be true after any cut, asked of the simulated world itself and not of the device
code."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

from stm32sim.bench import Bench
from stm32sim.chip import Running
from stm32sim.clock import NS_PER_MS, NS_PER_S
from stm32sim.flash import GRANULE

SETTLING_LIMIT = 60 * NS_PER_S  # from power-on to the application running
DANGEROUS = (0x63, 0x64, 0x73, 0x74, 0x82, 0x83, 0x92, 0x93)  # AN4221 table 2


@dataclass
class Verdict:
    """What came of one case. `violations` is empty if all is well."""

    settled_on: str  # "new", "old" or "nothing"
    boots: int
    recovery_ms: int
    violations: list[str] = field(default_factory=list)


@dataclass
class Judge:
    """Knows what was there before the cut."""

    new: bytes  # what the target should hold in the end
    old: bytes | None  # what may be there instead if `old_is_fine`
    old_is_fine: bool
    option_bytes: bytes
    preserved: dict[int, bytes]  # offset in flash -> content that must stay

    @classmethod
    def of(
        cls,
        bench: Bench,
        new: bytes,
        old: bytes | None = None,
        *,
        old_is_fine: bool = False,
        preserved: tuple[tuple[int, int], ...] = (),
    ) -> Judge:
        flash = bench.target.flash.data
        return cls(
            new,
            old,
            old_is_fine,
            bytes(bench.target.option_bytes.data),
            {start: bytes(flash[start : start + length]) for start, length in preserved},
        )

    def verdict(
        self, bench: Bench, boots: int, took: int, results: list[dict[str, Any] | None]
    ) -> Verdict:
        """Of a host that says it has nothing left to do."""
        if bench.target.running is not Running.APPLICATION:
            settled_on = "nothing"
        elif bytes(bench.target.flash.data[: len(self.new)]) == self.new:
            settled_on = "new"
        elif self.old and bytes(bench.target.flash.data[: len(self.old)]) == self.old:
            settled_on = "old"
        else:
            settled_on = "nothing"
        violations = self._violations(bench)
        if settled_on == "nothing" or (settled_on == "old" and not self.old_is_fine):
            violations.append(f"settled on {settled_on}: {results[-1]}")
        else:
            image = self.new if settled_on == "new" else self.old or b""
            weak = bench.target.flash.weak_granules(0, len(image) + -len(image) % GRANULE)
            if weak:
                violations.append(f"{len(weak)} marginal granules, the first at {weak[0]:#x}")
        if took > SETTLING_LIMIT:
            violations.append(f"took {took // NS_PER_MS} ms")
        return Verdict(settled_on, boots, took // NS_PER_MS, violations)

    def unsettled(self, bench: Bench, results: list[dict[str, Any] | None]) -> Verdict:
        violations = [*self._violations(bench), f"never settled: {results[-1]}"]
        return Verdict("nothing", len(results), 0, violations)

    def _violations(self, bench: Bench) -> list[str]:
        """What must never happen on the way."""
        violations = []
        target = bench.target
        for boot in target.boots:
            if boot.running is Running.CRASHED and boot.ran_partial_application:
                violations.append(f"a partial application ran at {boot.instant} ns")
        if bytes(target.option_bytes.data) != self.option_bytes:
            violations.append("option bytes changed")
        for start, content in self.preserved.items():
            if bytes(target.flash.data[start : start + len(content)]) != content:
                violations.append(f"the preserved region at {start:#x} changed")
        for _, reading, data in bench.trace.transactions:
            command = not reading and len(data) == 2 and data[0] ^ data[1] == 0xFF
            if command and data[0] in DANGEROUS:
                violations.append(f"opcode {data[0]:#x} on the wire")
        return violations + self._log_violations(bench)

    def _log_violations(self, bench: Bench) -> list[str]:
        """The log is readable but for a line that a cut tore, numbered without going back, and
        its last line is the result."""
        numbers: list[int] = []
        lines: list[dict[str, Any]] = []
        for name in ("/updater/log.0", "/updater/log.1"):
            for text in bench.read_file(name).splitlines() if bench.exists(name) else ():
                try:
                    line = json.loads(text)
                except ValueError:
                    continue
                lines.append(line)
                numbers.append(line["n"])
        if len(set(numbers)) != len(numbers):
            return ["log lines share a number"]
        if not lines or max(lines, key=lambda line: line["n"])["event"] != "result":
            return ["the log does not end with a result"]
        return []
