"""The situations in which power is cut."""

from __future__ import annotations

import json
import struct
from dataclasses import replace
from pathlib import Path
from typing import Any

from stm32sim.chip.application import known_images
from stm32sim.chip.flash import PAGE
from stm32sim.chip.quirks import LOADERS, quirks_of
from stm32sim.cuts.judge import Judge
from stm32sim.cuts.rig import LONG_OUTAGES, CannotBegin, Scenario
from stm32sim.host.host_flash import BLOCK_SIZE, HostFlash
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from stm32sim.world import Wiring
from tests.families import worlds
from tests.support import FLASH, image, known, over_uart, payload, signing_key, trust


def _sparse(size: int, seed: int) -> bytes:
    """A payload with mostly blank pages: any number of pages with few bytes to write. NMI and
    HardFault have handlers."""
    content = bytearray(b"\xff" * size)
    content[:64] = payload(64, seed)
    content[8:16] = struct.pack("<II", FLASH + 0xD1 + 8 * seed, FLASH + 0xD5 + 8 * seed)
    for start in range(PAGE, size, PAGE):
        content[start + 256 : start + 272] = payload(24, seed + start)[8:]
    content[-8:] = payload(16, seed + 1)[8:]
    return bytes(content)


OLD = _sparse(2 * PAGE + 64, 1)
NEW = _sparse(PAGE + 320, 2)
CHANGED = OLD[: PAGE + 256] + b"changed!" + OLD[PAGE + 264 :]
FULL = payload(128 * 1024, 3)
FULL_OLD = payload(100_000, 4)
NINE_OLD = _sparse(9 * PAGE, 7)  # more pages than between two checkpoints
NINE = _sparse(9 * PAGE, 8)
EVERY_OLD = _sparse(64 * PAGE, 10)  # every page of the part
EVERY = _sparse(64 * PAGE, 11)
TINY = _sparse(256, 6)
DEAD = _sparse(PAGE + 320, 5)
_VERSIONS = {
    "1.0.0": OLD,
    "1.0.1": CHANGED,
    "1.1.0": NEW,
    "1.2.0": TINY,
    "2.0.0": FULL_OLD,
    "3.0.0": FULL,
    "4.0.0": NINE_OLD,
    "4.1.0": NINE,
    "5.0.0": EVERY_OLD,
    "5.1.0": EVERY,
}
# All but one answer their version over I2C, and toggle a line: over UART that is their proof.
APPLICATIONS = known_images(
    *(known(content, version, blinks_ms=20) for version, content in _VERSIONS.items()),
    known(DEAD, "1.5.0", answers=False),
)
ENTER_BY_COMMAND = {"method": "command", "address": 0x2A, "command": "10424f4f54"}

# Other device code than the product's, for the seeded bugs.
packages: Path | None = None
# How the targets of the scenarios are wired, if not over I2C: arguments of a Bench.
_link: dict[str, Any] = {}


def _bench(settings: dict[str, Any] | None = None, **arguments: Any) -> Bench:
    settings = {**_link.get("settings", {}), **(settings or {})}
    arguments = {**_link, **arguments, "settings": settings}
    return Bench(applications=APPLICATIONS, packages=packages, **arguments)


def _installed(old: bytes, version: str, **arguments: Any) -> Bench:
    """A product in the field: `old` is installed and confirmed, and the target was switched off
    since."""
    bench = _bench(**arguments)
    result = bench.install(image(old, version))
    if not result["ok"]:
        raise CannotBegin(str(result))
    bench.target.power(False)
    bench.clock.advance(10_000_000)
    bench.target.power(True)
    bench.clock.advance(10_000_000)
    bench.boot()
    return bench


def _update(name: str, **arguments: Any) -> Scenario:
    """An update from OLD to NEW, on any wiring, loader or host."""

    def build() -> Bench:
        bench = _installed(OLD, "1.0.0", **arguments)
        bench.push(image(NEW, "1.1.0"))
        return bench

    return Scenario(name, build, lambda bench: Judge.of(bench, NEW, OLD))


def _over_uart(scenario: Scenario) -> Scenario:
    """The same with a target that is wired to the host's UART. A target without a supply toggles
    no line, so after a long outage the proof of its new image may count as failed. A try takes
    longer than over I2C, and follows the one before after up to a minute."""

    def build() -> Bench:
        global _link
        _link = over_uart()
        try:
            return scenario.build()
        finally:
            _link = {}

    if scenario.outages == LONG_OUTAGES:
        scenario = replace(scenario, judge=_new_or_old)
    return replace(scenario, name=f"uart-{scenario.name}", build=build)


def _of_family(name: str, part: str, second_bank: bool = False, **world: Any) -> Scenario:
    """An update of another chip. `second_bank`: the new image reaches into it."""
    new = worlds.large if second_bank else worlds.new

    def build() -> Bench:
        bench = worlds.bench_of(part, packages=packages, **world)
        result = bench.install(worlds.image_of(part, worlds.old(part), "1.0.0"))
        if not result["ok"]:
            raise CannotBegin(str(result))
        bench.push(worlds.image_of(part, new(part), "2.0.0" if second_bank else "1.1.0"))
        return bench

    return Scenario(name, build, lambda bench: Judge.of(bench, new(part), worlds.old(part)))


def _debugger_seen() -> Bench:
    """A debugger was attached since power-on: BOOT0 is used only after a power-on, and the host
    can switch the supply."""
    bench = _installed(OLD, "1.0.0", **_SUPPLY)
    assert bench.target.attach_debugger()
    bench.push(image(NEW, "1.1.0"))
    return bench


def _full_log() -> Bench:
    """The first of the log's two files becomes full in the middle of the update."""
    bench = _installed(OLD, "1.0.0")
    log = bench.read_file("/updater/log.0")
    for number in range(log.count(b"\n"), 1000):
        line = b'{"n": %d, "t": 0, "event": "earlier"}\n' % number
        if len(log) + len(line) > 15_800:
            break
        log += line
    bench.write_file("/updater/log.0", log)
    bench.push(image(NEW, "1.1.0"))
    return bench


def _first_install() -> Bench:
    bench = _bench()
    bench.push(image(NEW, "1.1.0"))
    return bench


def _few_pages() -> Bench:
    bench = _installed(OLD, "1.0.0")
    bench.push(image(CHANGED, "1.0.1"))
    return bench


def _roll_back() -> Bench:
    bench = _installed(OLD, "1.0.0")
    bench.push(image(DEAD, "1.5.0"))
    return bench


def _forgot_roll_back() -> Bench:
    """The host lost its record, but not the image that was confirmed."""
    bench = _installed(OLD, "1.0.0")
    bench.forget("state.0", "state.1")
    bench.push(image(DEAD, "1.5.0"))
    return bench


def _heartbeat() -> Bench:
    """OLD proves itself by toggling a line; the pushed image does not."""
    bench = _installed(OLD, "1.0.0", **_BEATING)
    bench.push(image(DEAD, "1.5.0"))
    return bench


def _push_another(bench: Bench) -> None:
    """While the host was off, a newer image was put into its inbox."""
    bench.files.mount()
    bench.push(image(TINY, "1.2.0"), "newer")


def _preserved() -> Bench:
    bench = _bench(settings={"preserve": [[0x0800_0000 + 2 * PAGE, PAGE]]})
    bench.target.flash.load(b"serial number and calibration".ljust(PAGE, b"\x5a"), 2 * PAGE)
    bench.push(image(NEW, "1.1.0"))
    return bench


def _covers_preserved() -> Bench:
    bench = _installed(NEW, "1.1.0", settings={"preserve": [[0x0800_0000 + 2 * PAGE, PAGE]]})
    bench.target.flash.load(b"serial number and calibration".ljust(PAGE, b"\x5a"), 2 * PAGE)
    bench.push(image(OLD, "1.2.0"))
    return bench


def _damaged_push() -> Bench:
    bench = _installed(OLD, "1.0.0")
    damaged = bytearray(image(NEW, "1.1.0"))
    damaged[600] ^= 1
    bench.push(bytes(damaged))
    return bench


def _tiny() -> Bench:
    bench = _installed(NEW, "1.1.0")
    bench.push(image(TINY, "1.2.0"))
    return bench


def _format_and_push(bench: Bench) -> None:
    """The host's filesystem did not mount and was formatted; then it was deployed and pushed
    again."""
    assert isinstance(bench.host_flash, HostFlash)
    bench.host_flash.restore([b"\xff" * BLOCK_SIZE] * (bench.host_flash.size // BLOCK_SIZE))
    bench.files.mount()
    bench.write_file("/board.json", json.dumps(bench.settings).encode())
    bench.push(image(NEW, "1.1.0"))


def _forgotten() -> Bench:
    """The host lost its record; an image was pushed again."""
    bench = _installed(OLD, "1.0.0")
    bench.forget("state.0", "state.1", "confirmed.img")
    bench.push(image(NEW, "1.1.0"))
    return bench


def _checkpoints() -> Bench:
    bench = _installed(NINE_OLD, "4.0.0")
    bench.push(image(NINE, "4.1.0"))
    return bench


def _every_page() -> Bench:
    """All of the flash changes, so it is erased at once."""
    bench = _installed(EVERY_OLD, "5.0.0")
    bench.push(image(EVERY, "5.1.0"))
    return bench


def _full() -> Bench:
    bench = _installed(FULL_OLD, "2.0.0")
    bench.push(image(FULL, "3.0.0"))
    return bench


def _downgrade() -> Bench:
    """A sound image for this product, but with a lower security counter than the running one."""
    bench = _installed(NEW, "1.1.0")
    bench.push(image(OLD, "1.0.0"))
    return bench


def _after_roll_back() -> Bench:
    """An update failed; the next image has a lower security counter than the failed one."""
    bench = _installed(OLD, "1.0.0")
    bench.install(image(DEAD, "1.5.0"))
    bench.boot()
    bench.push(image(NEW, "1.1.0"))
    return bench


def _signed() -> Bench:
    """A product that accepts signed images only. Besides its update there is one with a signature
    of other content."""
    bench = _bench(settings={"unsigned": False})
    key = signing_key()
    trust(bench, key)
    bench.push(image(OLD, "1.0.0", key=key))
    result = bench.run()[-1]
    if not result["ok"]:
        raise CannotBegin(str(result))
    bench.boot()
    signature = image(NEW, "1.1.0", key=key)[-key.key_size() // 8 :]
    bench.push(image(TINY, "1.2.0", key=key)[: -len(signature)] + signature, "forged")
    bench.push(image(NEW, "1.1.0", key=key))
    return bench


def _keep_old(bench: Bench) -> Judge:
    return Judge.of(bench, NEW, OLD, old_is_fine=True, forgets=True)


def _new_or_old(bench: Bench) -> Judge:
    return replace(Judge.of(bench, NEW, OLD, old_is_fine=True), within=75 * NS_PER_S)


def _back_to_old(bench: Bench) -> Judge:
    return Judge.of(bench, OLD, may_run=(DEAD,))


def without_boot0(supply: int | None = None) -> dict[str, Any]:
    """Arguments of a bench: the application enters the loader. `supply`: the host's pin that
    switches it."""
    return {
        "wiring": Wiring(boot0=None, supply=supply),
        "settings": {"pins": {"boot0": None, "supply": supply}, "enter": ENTER_BY_COMMAND},
    }


_BEATING: dict[str, Any] = {
    "wiring": Wiring(heartbeat=7),
    "settings": {
        "confirm": {"method": "gpio", "pin": 7, "edges": 2, "timeout_ms": 100, "tries": 2}
    },
}
_SUPPLY: dict[str, Any] = {"wiring": Wiring(supply=6), "settings": {"pins": {"supply": 6}}}

_OVER_I2C: dict[str, Scenario] = {
    scenario.name: scenario
    for scenario in (
        Scenario("first-install", _first_install, lambda bench: Judge.of(bench, NEW)),
        _update("update"),
        Scenario("few-pages", _few_pages, lambda bench: Judge.of(bench, CHANGED, OLD)),
        Scenario("roll-back", _roll_back, _back_to_old),
        Scenario(
            "preserved-page",
            _preserved,
            lambda bench: Judge.of(bench, NEW, preserved=((2 * PAGE, PAGE),)),
        ),
        Scenario(
            "damaged-push", _damaged_push, lambda bench: Judge.of(bench, OLD, untouched=True)
        ),
        Scenario(
            "covers-preserved",
            _covers_preserved,
            lambda bench: Judge.of(bench, NEW, preserved=((2 * PAGE, PAGE),)),
        ),
        Scenario(
            "downgrade-refused", _downgrade, lambda bench: Judge.of(bench, NEW, untouched=True)
        ),
        Scenario("after-roll-back", _after_roll_back, lambda bench: Judge.of(bench, NEW, OLD)),
        Scenario("signed", _signed, lambda bench: Judge.of(bench, NEW, OLD)),
        Scenario("host-forgot", _forgotten, _keep_old),
        Scenario("forgot-roll-back", _forgot_roll_back, _back_to_old),
        Scenario("heartbeat", _heartbeat, _back_to_old),
        Scenario(
            "pushed-meanwhile",
            _update("").build,
            lambda bench: Judge.of(bench, TINY, may_run=(OLD, NEW)),
            restart=_push_another,
        ),
        Scenario(
            "host-formatted",
            _update("").build,
            lambda bench: Judge.of(bench, NEW, OLD, forgets=True),
            restart=_format_and_push,
        ),
        _update("esp32", host="esp32"),
        _update("fat", fat=True),
        _update("loader-11.1", loader=1),
        _update("loader-11.2", loader=2),
        _update("loader-11.3", loader=3),
        _update("loader-openbl", quirks=LOADERS["openbl"]),
        _update("loader-openbl-g0", quirks=LOADERS["openbl-g0"]),
        _update("ecc-resets", quirks=replace(quirks_of(4), ecc_error="reset")),
        Scenario("supply-switch", _debugger_seen, lambda bench: Judge.of(bench, NEW, OLD)),
        Scenario("full-log", _full_log, lambda bench: Judge.of(bench, NEW, OLD)),
        _update("soft-i2c", settings={"i2c": {"id": None}}),
        replace(_update("long-outage"), outages=LONG_OUTAGES),
        _update("by-command", **without_boot0()),
        _update("command-and-supply", **without_boot0(supply=6)),
        Scenario("checkpoints", _checkpoints, lambda bench: Judge.of(bench, NINE, NINE_OLD)),
        Scenario("erase-all", _every_page, lambda bench: Judge.of(bench, EVERY, EVERY_OLD)),
        _update("read-back", settings={"verify": "read"}),
        _of_family("c031", "STM32C031C6"),
        _of_family("c031-uart", "STM32C031C6", **over_uart(115_200)),
        _of_family("g0b1", "STM32G0B1RC"),
        _of_family("l476", "STM32L476RC"),
        _of_family("g474-second-bank", "STM32G474RB", second_bank=True),
        Scenario("tiny", _tiny, lambda bench: Judge.of(bench, TINY, NEW)),
        Scenario("full-size", _full, lambda bench: Judge.of(bench, FULL, FULL_OLD)),
    )
}
# What has more wires, or is about I2C itself, is not tried over UART.
_I2C_ONLY = {"heartbeat", "supply-switch", "soft-i2c", "by-command", "command-and-supply"}
_FAMILIES = {"c031", "c031-uart", "g0b1", "l476", "g474-second-bank"}
_WITH_CHECKSUM = _update("checksum", quirks=replace(quirks_of(4), checksum_over_uart=True))
TOO_OVER_UART = [name for name in _OVER_I2C if name not in _I2C_ONLY | _FAMILIES]
SCENARIOS = {
    **_OVER_I2C,
    **{
        scenario.name: scenario
        for scenario in (
            *(_over_uart(_OVER_I2C[name]) for name in TOO_OVER_UART),
            _over_uart(_WITH_CHECKSUM),
        )
    },
}
