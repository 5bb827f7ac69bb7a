"""Records activity on the bus and in the flash of a world while its host runs."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise

from stm32sim.chip.flash import TAPS
from stm32sim.forum.lanes import OUTAGE, SWITCHED_OFF, Lane
from stm32sim.forum.supply_failures import Struck
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench, Event


@dataclass
class Span:
    """An activity from `start` to `end`, in ns after the recording began."""

    what: str  # "bus"; "erase", "program", "option" in the target's flash; "off": no supply
    start: int
    end: int


@dataclass
class Recording:
    """One run: the activities and the host's events, in ns after the host started."""

    spans: list[Span] = field(default_factory=list)
    told: list[tuple[int, Event]] = field(default_factory=list)
    end: int = 0
    outcome: str = ""  # after a loss of supply, see Lane.afterwards

    def of(self, *kinds: str) -> list[Span]:
        return [span for span in self.spans if span.what in kinds]

    @property
    def window(self) -> int:
        """ns during which a loss of supply locks the chip, because its option bytes are being
        programmed."""
        return sum(span.end - span.start for span in self.of("option"))


def record(lane: Lane, cut_at: int | None = None) -> tuple[Recording, Bench]:
    """Record one run; return it and its world. `cut_at`: ns after which the supply fails; then the
    recovery is recorded too."""
    bench = lane.build()
    recorder = Recorder(bench)
    recording = recorder.recording
    struck = Struck(bench, f"{lane.name} {cut_at}")
    if cut_at is not None:
        bench.clock.after(cut_at, struck.now)
    try:
        for event in lane.work(bench):
            recording.told.append((recorder.now, event))
            if event["event"] == SWITCHED_OFF:
                recorder.supply_is_off()
    except HostPowerLost:
        struck.is_over()
        recorder.supply_is_off()
        recording.outcome = lane.afterwards(bench)
    recorder.detach()
    return recording, bench


class Recorder:
    """Records a bench from now on."""

    def __init__(self, bench: Bench) -> None:
        self.recording = Recording()
        self._clock = bench.clock
        self._began = bench.clock.now
        self._trace: Callable[[str, int], None] = bench.trace.tap
        self._bus: Span | None = None
        self._flash: Span | None = None
        self._bench = bench
        bench.world.bus.tap = self._on_bus
        bench.target.flash.tap = self._on_flash

    def detach(self) -> None:
        """End the recording. Option programmings without a gap between them become one."""
        self.recording.end = self.now
        for before, after in pairwise(self.recording.of("option")):
            if before.end == after.start:
                after.start = before.start
                self.recording.spans.remove(before)
        self._bench.world.bus.tap = self._trace
        self._bench.target.flash.tap = None

    @property
    def now(self) -> int:
        """ns since the recording began."""
        return self._clock.now - self._began

    def supply_is_off(self) -> None:
        if self._flash is not None:
            self._flash.end = min(self._flash.end, self.now)
        self._bus = self._flash = None
        off = self._begin("off")
        off.end += OUTAGE

    def _begin(self, what: str) -> Span:
        span = Span(what, self.now, self.now)
        self.recording.spans.append(span)
        return span

    def _on_bus(self, what: str, value: int) -> None:
        self._trace(what, value)
        if what == "start" and self._bus is None:
            self._bus = self._begin("bus")
        elif what == "stop" and self._bus is not None:
            self._bus.end = self.now
            self._bus = None

    def _on_flash(self, what: str, point: int) -> None:
        """The points of an operation have equal distances from each other and from its end."""
        if point == 0 or self._flash is None:
            self._flash = self._begin(what)
        else:
            gone = self.now - self._flash.start
            self._flash.end = self._flash.start + gone * TAPS[what] // point
