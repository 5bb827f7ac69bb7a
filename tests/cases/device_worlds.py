"""Boards for the cases of the device: three applications, the first one is installed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from stm32sim.chip.application import KnownImage, ModelApplication, known_images
from stm32sim.chip.flash import PAGE
from stm32sim.chip.stm32 import Running
from stm32sim.in_process import Bench, Event
from stm32sim.wires.clock import NS_PER_S
from tests.cases.case import expect
from tests.support import image, known, payload, signing_key, trust, version_bytes

OLD, NEW, NEWER = payload(5000, 1), payload(6500, 2), payload(4200, 3)
VERSIONS = {"1.0.0": OLD, "1.1.0": NEW, "1.2.0": NEWER}
ALL = known_images(*(known(content, version) for version, content in VERSIONS.items()))


def by_first_page(flash: bytes, chip: Any) -> ModelApplication | None:
    """Applications that run if their first page is in flash."""
    for version, content in VERSIONS.items():
        if flash[:PAGE] == content[:PAGE]:
            return ModelApplication(KnownImage(content, version_bytes(version)), chip)
    return None


def bench(*, signed: bool = False, applications: Any = ALL, **options: Any) -> Bench:
    """1.0.0 is installed. `signed`: the board accepts signed images only."""
    made = Bench(applications=applications, settings={"unsigned": not signed}, **options)
    if signed:
        trust(made, signing_key())
    push(made, "1.0.0", signed=signed)
    expect(made.run()[-1]["ok"], "1.0.0 cannot be installed")
    made.boot()
    return made


def update(**options: Any) -> Bench:
    """1.0.0 is installed, 1.1.0 is pushed."""
    made = bench(**options)
    push(made, "1.1.0", signed=options.get("signed", False))
    return made


def push(bench: Bench, version: str, *, signed: bool = False) -> None:
    key = signing_key() if signed else None
    bench.push(image(VERSIONS[version], version, key=key), version)


def runs(bench: Bench, version: str) -> bool:
    """Whether this application is completely in flash and runs."""
    flash_is_right = (
        bench.flash_holds(VERSIONS[version]) and not bench.target.flash.weak_granules()
    )
    return flash_is_right and bench.target.running is Running.APPLICATION


def settled(bench: Bench, tries: int = 6) -> Event:
    """Start the product until it has a result; return that."""
    for _ in range(tries):
        bench.boot()
        result = bench.run()[-1]
        if result["ok"] or result["status"] == "rolled-back":
            return result
        bench.clock.advance(10 * NS_PER_S)
    return result


def calls(bench: Bench, change: Callable[..., Any]) -> None:
    """From the next boot on, every call of the host goes through `change(real, name, *args)`."""
    real = bench.world.call
    bench.world.call = lambda name, *args: change(real, name, *args)  # type: ignore[method-assign]


def told(result: Event) -> str:
    """A result in words."""
    return f"{result['status']} {result.get('error', '')} {result.get('message', '')}".strip()
