"""From --port to a connection with a real board, or with a simulated one that is prepared
first."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator

from stm32up.board.model import Board
from stm32up.errors import UpdateRuns, UsageError
from stm32up.events import Report, note
from stm32up.host import AUTO, deploy, simulation
from stm32up.host.transport import Connection, Manners, connected, console, find_port

__all__ = ["address", "console", "opened", "simulated"]

BLANK = "blank-host=1"  # an option of the simulation: leave its filesystem as it is


@contextlib.contextmanager
def opened(
    port: str,
    board: Board,
    report: Report,
    *,
    options: Iterable[str] = (),
    resume: bool = False,
    prepare: bool = True,
    bench: bool = False,
    interrupt: bool = False,
    stay: bool = False,
) -> Iterator[Connection]:
    """The board on this port. Raises NoBoard, UpdateRuns.

    An update that runs there is waited for, unless `interrupt`. At the end the board's program is
    started again, unless `stay`, or a failed bench verb may have left the target at work.

    The updater is deployed to a simulated board without one, unless `prepare` is False or an
    option says that it is blank; with `bench`, the bench package too.
    """
    options = list(options)
    if not simulation.wanted(port):
        if options:
            raise UsageError(f"--sim-option is for a simulated board, and {port} is not one")
        manners = Manners(
            look=not interrupt, start=not stay, start_after_failure=not bench, tell=True
        )
        with connected(port, resume=resume, report=report, manners=manners) as connection:
            yield connection
        return
    manners = Manners(look=not interrupt)  # its power is switched off at the end
    with (
        _started(port, board, report, options) as ports,
        connected(ports.url, resume=resume, report=report, manners=manners) as connection,
    ):
        if prepare and BLANK not in options and not deploy.is_deployed(connection, bench=bench):
            deploy.deploy(connection, board, report, bench=bench)
            needs = "stm32up deploy --bench" if bench else "stm32up deploy"
            report({"event": "deployed", "needs": needs})
        yield connection


@contextlib.contextmanager
def _started(
    port: str, board: Board, report: Report, options: Iterable[str]
) -> Iterator[simulation.Ports]:
    """As simulation.started. Reports afterwards why applications ended by a fault."""
    faults: list[str] = []
    try:
        with simulation.started(port, board, options) as ports:
            faults = ports.faults
            yield ports
    finally:
        for fault in faults:
            report(note(f"the simulated application ended by a fault: {fault}"))


@contextlib.contextmanager
def address(
    port: str, board: Board, report: Report, *, options: Iterable[str] = ()
) -> Iterator[str]:
    """The port for a terminal: of the board behind `port`, or of a simulated one."""
    if simulation.wanted(port):
        with simulated(port, board, report, options=options) as ports:
            yield ports.url
    else:
        yield find_port(lambda text: report(note(text))) if port == AUTO else port


@contextlib.contextmanager
def simulated(
    port: str, board: Board, report: Report, *, options: Iterable[str] = ()
) -> Iterator[simulation.Ports]:
    """Run a simulated board that others can connect to; yield its ports."""
    options = list(options)
    with _started(port, board, report, options) as ports:
        if BLANK not in options:
            manners = Manners(look=True, wait=False, start=True)
            with (
                contextlib.suppress(UpdateRuns),  # then the updater is there
                connected(ports.url, manners=manners) as connection,
            ):
                if not deploy.is_deployed(connection):
                    deploy.deploy(connection, board, report)
        yield ports
