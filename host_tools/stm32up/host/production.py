"""`produce`: from a blank part to a tested product, step by step.

deploy      the updater, and for the next step the bench package
provision   the option bytes, once
clean up    the bench package leaves the host
identify    the unique IDs of host and target
update      push the image and install it
verify      read flash back, ask the application, look at the host's record
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from imgtool.keys import RSA, RSAPublic

from stm32up import device
from stm32up.board.model import Board
from stm32up.errors import Stm32upError, UpdateFailed, UsageError
from stm32up.events import Event, Report
from stm32up.host import bench_calls, calls, cycles, deploy, ram
from stm32up.host.bench_calls import Confirm
from stm32up.host.inventory import FAIL, PASS
from stm32up.host.transport import Connection

# UID_BASE in ST's CMSIS device headers of G0, G4 and L4, by product ID. That of other families is
# not confirmed, so their IDs are left empty.
_UNIQUE_ID = dict.fromkeys((0x466, 0x456, 0x460, 0x468, 0x479, 0x435, 0x462), 0x1FFF_7590)


@dataclass(frozen=True)
class Order:
    """What each unit gets. `provision`: whether the option bytes are written if needed."""

    board: Board
    image: cycles.Candidate
    keys: Sequence[RSA | RSAPublic] = ()
    main: bool = False
    provision: bool = True
    bor: int | None = None


@dataclass
class Unit:
    """What is known of a unit, and what came of it."""

    host_id: str = ""
    target_id: str = ""
    loader: str = ""
    failed_step: str = ""
    error: Stm32upError | None = None
    seconds: float = 0.0
    steps: list[str] = field(default_factory=list)

    @property
    def id(self) -> str:
        """The ID to recognise it by: the target's, or the host's where that cannot be read."""
        return self.target_id or self.host_id

    def row(self, order: Order) -> dict[str, Any]:
        return {
            "result": FAIL if self.error else PASS,
            "time": datetime.now(UTC).isoformat(timespec="seconds"),
            "target_id": self.target_id,
            "host_id": self.host_id,
            "board": order.board.name,
            "version": order.image.version,
            "flash_sha256": order.image.content,
            "loader": self.loader,
            "updater": device.updater_version(),
            "failed_step": self.failed_step,
            "message": str(self.error) if self.error else "",
            "seconds": round(self.seconds, 1),
        }


def produce(
    connection: Connection,
    order: Order,
    unit: Unit,
    report: Report,
    confirm: Confirm,
    known: Callable[[], object],
) -> None:
    """Make `unit`. `known` is called when its ID is known, before its flash is changed, and may
    refuse it with a UsageError. Any other error is noted in `unit`, because it is the outcome, and
    raised."""
    began = time.monotonic()

    def step(name: str, work: Callable[[], object]) -> None:
        report({"event": "step", "step": name})
        unit.failed_step = name
        work()
        unit.steps.append(name)

    try:
        unit.host_id = _host_id(connection)
        step("deploy", lambda: _deploy(connection, order, report, bench=order.provision))
        if order.provision:
            step("provision", lambda: _provision(connection, order, report, confirm))
            step("clean up", lambda: _deploy(connection, order, report, bench=False))
        step("identify", lambda: _identify(connection, order, unit))
        known()
        step("update", lambda: calls.update(connection, order.image.path, report))
        step("verify", lambda: _verify(connection, order))
        unit.failed_step = ""
    except UsageError:
        raise
    except Stm32upError as error:
        unit.error = error
        raise
    finally:
        unit.seconds = time.monotonic() - began


def _host_id(connection: Connection) -> str:
    connection.define()
    return str(connection.ask("hexlify(_built_in('machine').unique_id()).decode()"))


def _deploy(connection: Connection, order: Order, report: Report, *, bench: bool) -> None:
    deploy.deploy(
        connection, order.board, report, public_keys=order.keys, main=order.main, bench=bench
    )


def _provision(connection: Connection, order: Order, report: Report, confirm: Confirm) -> None:
    bench_calls.provision(connection, report, confirm, order.bor)


def _identify(connection: Connection, order: Order, unit: Unit) -> None:
    ram.send(connection, cycles.modules())
    at = _UNIQUE_ID.get(order.board.chip.product_id)
    found = cycles.call(connection, cycles.IDENTIFIED.format(at=at), _ignore)
    unit.target_id = str(found.get("target") or "")
    unit.loader = str(found.get("loader") or "")


def _verify(connection: Connection, order: Order) -> None:
    """Raises UpdateFailed."""
    image, method = order.image, order.board.as_json()["confirm"]["method"]
    found = cycles.checked(connection, image.stretches)
    wrong = cycles.difference(image, found, method)
    if wrong:
        raise UpdateFailed(*wrong, {"error": "verify-failed"})


def _ignore(event: Event) -> None:
    pass
