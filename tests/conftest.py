"""Worlds in one line: `bench = make_bench(...)`, once on rp2 and once on esp32."""

from __future__ import annotations

import json
import signal
from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import settings
from jsonschema import Draft202012Validator
from serial.urlhandler import protocol_socket

from stm32sim.in_process import Bench
from stm32up import device
from stm32up.events import Event, Values
from stm32up.say.output import JsonOutput

# Property tests try the same examples every time, so that failures are reproducible and only a
# change of the code causes one. `make fuzz` searches for new inputs. There is no deadline: virtual
# time needs none, and real time proves nothing.
settings.register_profile("repeatable", derandomize=True, deadline=None)
settings.load_profile("repeatable")


def pytest_configure() -> None:
    """Do not ignore Ctrl-C: a shell's background job does, and programs started by tests would
    inherit that."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def ports_close_at_once() -> Iterator[None]:
    """Skip pyserial's sleep of 0.3 s after closing a socket:// port, for servers that cannot
    accept the next connection at once. Simulated and fake boards can, and tests open many."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol_socket, "time", SimpleNamespace(sleep=lambda seconds: None))
        yield


@pytest.fixture(scope="session", autouse=True)
def json_is_as_the_schema_says() -> Iterator[None]:
    """Each line that --json prints in this process is checked against docs/schema.json."""
    published = json.loads((device.PROJECT / "docs" / "schema.json").read_bytes())
    check = Draft202012Validator(published).validate
    with pytest.MonkeyPatch.context() as patch:
        report, result = JsonOutput.report, JsonOutput.result

        def checked_report(self: JsonOutput, event: Event) -> None:
            check(json.loads(json.dumps(event)))
            report(self, event)

        def checked_result(self: JsonOutput, verb: str, values: Values) -> None:
            named = published["$defs"][f"result of {verb}"]
            Draft202012Validator(named).validate(json.loads(json.dumps(values)))
            result(self, verb, values)

        patch.setattr(JsonOutput, "report", checked_report)
        patch.setattr(JsonOutput, "result", checked_result)
        yield


@pytest.fixture(params=["rp2", "esp32"])
def host(request: pytest.FixtureRequest) -> str:
    """The port of MicroPython whose I2C controller the simulated host has."""
    return str(request.param)


@pytest.fixture
def make_bench(host: str) -> Callable[..., Bench]:
    """Makes a Bench on that host."""

    def make(**arguments: Any) -> Bench:
        return Bench(host=host, **arguments)

    return make
