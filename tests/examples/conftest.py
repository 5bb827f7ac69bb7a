"""A product in one line: `product = make_product("watchdog.py", ...)`, an example as the main.py
of a simulated board with real MicroPython."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import HostPowerLost
from stm32sim.in_process import Bench
from stm32sim.wires.clock import NS_PER_S
from stm32up.host import paths
from tests.examples import web_server
from tests.support import put_updater

EXAMPLES = Path(__file__).parents[2] / "examples"
STAND_INS = Path(__file__).parent / "stand_ins"
REAL_LIMIT_S = 120.0


class Product:
    """A host whose main.py is an example."""

    def __init__(self, example: str, **arguments: Any) -> None:
        self.bench = Bench(**arguments)
        self.web: web_server.WebServer | None = None  # None: there is no network
        self.pieces_until_cut: int | None = None  # of a download, until the power fails
        self._body = io.BytesIO()
        self.program = (EXAMPLES / example).read_text()
        put_updater(self.bench)
        for path in STAND_INS.glob("*.py"):
            self.bench.write_file(f"{paths.LIB}/{path.name}", path.read_bytes())

    def change(self, old: str, new: str) -> None:
        """Replace a line of the program, which must occur exactly once."""
        assert self.program.count(old) == 1, old
        self.program = self.program.replace(old, new)

    def run(self, seconds: float) -> None:
        """Switch the host on, and off after `seconds` of its time. Fails if the program ended
        before, because then time would stand still."""

        def off() -> None:
            raise HostPowerLost

        bench = self.bench
        bench.write_file(paths.MAIN, self.program.encode())
        alarm = bench.clock.after(int(seconds * NS_PER_S), off)
        world = bench.world
        with MicroPythonHost(
            self._call, world, executed=world.executed, platform=world.host
        ) as host:
            host.power_on()
            ended = host.wait_off(REAL_LIMIT_S)
        alarm.cancel()
        bench.world.mount()
        assert ended, "the program has ended, or waits for input"

    def _call(self, name: str, *arguments: Any) -> Any:
        """Serve what the stand-ins ask, and pass everything else to the simulated world."""
        if name == "network_is_up":
            return self.web is not None
        if name == "http_get":
            url, headers = arguments
            status, headers, body = web_server.get(url, json.loads(headers))
            self._body = io.BytesIO(body)
            return json.dumps([status, headers])
        if name == "http_body":
            if self.pieces_until_cut is not None:
                self.pieces_until_cut -= 1
                if self.pieces_until_cut < 0:
                    self.pieces_until_cut = None
                    raise HostPowerLost
            return self._body.read(*arguments)
        return self.bench.world.call(name, *arguments)

    def log(self) -> list[dict[str, Any]]:
        """The log of the updater."""
        lines = self.bench.read_file("/updater/log.0").splitlines()
        return [json.loads(line) for line in lines]

    def results(self) -> list[str]:
        return [line["status"] for line in self.log() if line["event"] == "result"]


@pytest.fixture
def make_product() -> Callable[..., Product]:
    return Product
