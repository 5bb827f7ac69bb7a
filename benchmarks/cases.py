"""What is measured: a target with an application, and another image to install."""

from __future__ import annotations

from dataclasses import dataclass, replace

from benchmarks.rows import I2C, NONE, UART
from stm32sim.chip.application import known_images
from stm32sim.chip.flash import ERASED_BYTE, GRANULE, PAGE, SLOWEST, TYPICAL, FlashTimes
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_MS
from tests.support import image, known, over_uart, payload

KB = 1024
FLASH_SIZE = 128 * KB
OLD, NEW = payload(FLASH_SIZE, 1), payload(FLASH_SIZE, 2)
VERSIONS = "1.0.0", "1.1.0"
OFF = 100 * NS_PER_MS
BLINKS_MS = 20  # the heartbeat that proves an application over UART


@dataclass(frozen=True)
class Case:
    """`before` is installed and confirmed, `after` is pushed.

    `hertz`: of the bus, or with `link` "uart" baud.
    `resumes`: the host lost its power when half of `after` was programmed, and now starts again.
    """

    name: str
    before: bytes = OLD
    after: bytes = NEW
    hertz: int = 400_000
    loader: int = 4
    times: FlashTimes = TYPICAL
    resumes: bool = False
    link: str = I2C

    @property
    def has_work(self) -> bool:
        return self.before != self.after

    def bench(self, host: str, verify: str) -> Bench:
        """Host and target before the run that is measured."""
        old, new = VERSIONS
        wanted = {} if verify == NONE else {"verify": verify}
        if self.link == UART:
            wires = over_uart(self.hertz, **wanted)
        else:
            wires = {"settings": {"i2c": {"freq": self.hertz}, **wanted}}
        bench = Bench(
            host=host,
            loader=self.loader,
            times=self.times,
            applications=known_images(
                known(self.before, old, blinks_ms=BLINKS_MS),
                known(self.after, new, blinks_ms=BLINKS_MS),
            ),
            **wires,
        )
        _must_be_ok(bench.install(image(self.before, old)))
        bench.target.power(False)
        bench.clock.advance(OFF)
        bench.target.power(True)
        bench.clock.advance(OFF)
        bench.boot()
        if self.has_work:
            bench.push(image(self.after, new))
        if self.resumes:
            self._run_half(bench)
            bench.boot()
        return bench

    def _run_half(self, bench: Bench) -> None:
        left = len(self.after) // GRANULE // 2

        def tap(what: str, point: int) -> None:
            nonlocal left
            if what == "program" and point == 0:
                left -= 1
                if left == 0:
                    raise HostPowerLost

        bench.target.flash.tap = tap
        try:
            raise AssertionError(f"it was not cut: {bench.run()[-1]}")
        except HostPowerLost:
            bench.target.flash.tap = None


def _must_be_ok(result: dict[str, object]) -> None:
    if not result["ok"]:
        raise AssertionError(f"the world cannot be prepared: {result}")


def _changed(*pages: int) -> bytes:
    content = bytearray(OLD)
    for page in pages:
        content[page * PAGE : (page + 1) * PAGE] = NEW[page * PAGE : (page + 1) * PAGE]
    return bytes(content)


FULL = Case("full")
ONE_PAGE = Case("one page", after=_changed(32))
NOTHING = Case("nothing to do", after=OLD)
OVER_UART = Case("full, UART", link=UART)
CASES = (
    replace(FULL, hertz=100_000),
    FULL,
    replace(FULL, hertz=1_000_000),
    Case("40 KB", OLD[: 40 * KB], payload(40 * KB, 2)),
    Case("half blank", after=NEW[: 64 * KB] + bytes([ERASED_BYTE]) * 64 * KB),
    Case("10 % of pages", after=_changed(*range(5, 64, 10))),
    ONE_PAGE,
    Case("resume at 50 %", resumes=True),
    Case("slowest flash", times=SLOWEST),
    Case("loader 11.3", loader=3),
    NOTHING,
    *(replace(OVER_UART, hertz=rate) for rate in (115_200, 460_800, 1_000_000)),
)
