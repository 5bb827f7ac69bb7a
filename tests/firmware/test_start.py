"""What a start costs: flash, files and RAM of the host. Most starts have nothing to do."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from typing import Any

import pytest

from stm32sim.chip.application import known_images
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.in_process import IDLE, Bench
from stm32up import device
from stm32up.host import deploy, paths
from tests.simulator.host.client import Client, execute
from tests.support import image, in_micropython, known, over_uart, payload, put_updater

OLD, WHOLE = payload(3000, 1), payload(128 * 1024, 2)
APPLICATIONS = known_images(known(OLD, "1.0.0", blinks_ms=20), known(WHOLE, "1.1.0"))
UPDATE = 'from stm32_updater import Updater\nupdater = Updater.from_board("/board.json")\n'
# Of the product packages, the modules that are loaded when there is nothing to do.
LOADED = {
    "stm32_rom": {"", "clock", "errors", "chips", "i2c", "pins"},
    "stm32_updater": {"", "updater", "settings", "board", "record", "store"},
}


def installed(**arguments: Any) -> Bench:
    """A host that has installed OLD and was switched on again."""
    bench = Bench(applications=APPLICATIONS, **arguments)
    assert bench.install(image(OLD, "1.0.0"))["ok"]
    bench.boot()
    return bench


def file_calls(bench: Bench) -> list[tuple[str, Any]]:
    """The name and the first argument of each call of the filesystem from now on."""
    seen: list[tuple[str, Any]] = []
    calls = bench.world.file_calls

    def seen_first(name: str, real: Any) -> Any:
        def call(*arguments: Any) -> Any:
            seen.append((name, arguments[0]))
            return real(*arguments)

        return call

    for name in calls:
        calls[name] = seen_first(name, calls[name])
    return seen


def modules(seen: list[tuple[str, Any]]) -> list[str]:
    return [what for name, what in seen if name == "fs_open" and str(what).endswith(".mpy")]


@pytest.mark.parametrize("kind", [{"host": "rp2"}, {"host": "esp32"}, {"fat": True}], ids=str)
def test_a_start_with_nothing_to_do_writes_nothing(kind):
    bench = installed(**kind)
    before = bench.host_flash.erases, bench.host_flash.progs, bench.last_logged()
    for _ in range(3):
        assert bench.run() == [IDLE]
        bench.boot()
    assert before == (bench.host_flash.erases, bench.host_flash.progs, bench.last_logged())


def erases_of_an_update(host: str) -> int:
    bench = installed(host=host)
    bench.push(image(WHOLE, "1.1.0"))
    bench.boot()
    before = bench.host_flash.erases
    assert bench.run()[-1]["status"] == "installed"
    return bench.host_flash.erases - before


@pytest.mark.slow
def test_an_update_erases_no_more_of_an_esp32s_own_flash_than_of_an_rp2s():
    assert erases_of_an_update("esp32") <= erases_of_an_update("rp2") <= 6


def test_events_that_are_logged_together_are_in_the_log_before_they_are_reported():
    bench = installed()
    bench.push(image(OLD, "1.0.1"))
    told = []
    for event in bench.updater().events():
        if event["event"] != "progress":
            told.append(event)
            lines = map(json.loads, bench.read_file("/updater/log.0").splitlines())
            logged = [{key: line[key] for key in line if key not in ("n", "t")} for line in lines]
            assert any(logged[-back - len(told) :][: len(told)] == told for back in (0, 1))
    assert [event["event"] for event in told][:2] == ["checked", "installing"]


def test_events_that_a_run_holds_are_in_the_log_if_it_is_closed():
    """ "written" is held until the next event, before which other tasks run."""
    bench = installed()
    bench.push(image(WHOLE, "1.1.0"))
    run = bench.updater().events()._generator
    for event in run:
        if event is None and bench.flash_holds(WHOLE):
            run.close()
            break
    logged = [json.loads(line)["event"] for line in bench.read_file("/updater/log.0").splitlines()]
    assert "written" in logged[logged.index("result") :]


@pytest.mark.parametrize("link", ["i2c", "uart"])
def test_a_start_with_nothing_to_do_looks_at_few_files(link):
    """An rp2 takes 1.5 ms for each stat."""
    bench = installed(**(over_uart() if link == "uart" else {}))
    put_updater(bench)
    seen = file_calls(bench)
    code = f"import sys\nfirst = set(sys.modules)\n{UPDATE}result = updater.run()\n"
    result = in_micropython(bench, code + "result['loaded'] = list(set(sys.modules) - first)")
    ours = {name for name in result.pop("loaded") if name.startswith("stm32_")}
    assert result == IDLE
    assert ours == {
        package + (name and "." + name) for package, names in LOADED.items() for name in names
    } | ({"stm32_rom.uart"} if link == "uart" else set())
    began = seen.index(("fs_stat", "/stm32_updater"))
    counts = Counter(name for name, _ in seen[began : seen.index(("fs_open", "/result"))])
    opened = modules(seen)
    assert [name for name in opened if "families" in name] == ["/lib/stm32_rom/families.mpy"]
    assert len(opened) == len(ours) + 1  # the table of families does not stay in RAM
    assert counts["fs_stat"] <= 3 * len(opened) + 10 and counts["fs_list"] <= 3
    assert counts["fs_open"] <= len(opened) + 3 and not counts["fs_write"]


def test_the_watchdog_is_fed_before_each_module_that_a_start_loads():
    bench = installed()
    bench.push(image(OLD, "1.0.0"))
    put_updater(bench)
    seen = file_calls(bench)
    code = UPDATE.replace('.json"', '.json", feed=lambda: os.stat("/board.json")')
    in_micropython(bench, f"import os\n{code}result = updater.run()")
    fed = [at for at, call in enumerate(seen) if call == ("fs_stat", "/board.json")]
    loaded = [len(modules(seen[begin:end])) for begin, end in itertools.pairwise(fed)]
    assert max(loaded) == 1 and sum(loaded) > 15


@pytest.mark.parametrize("error", [None, 5])
def test_a_module_of_the_user_is_found_before_the_built_in_one_of_that_name(error):
    """Also in a folder that cannot be listed."""
    bench = installed()
    if not bench.exists(paths.LIB):
        bench.files.fs_mkdir(paths.LIB)
    bench.write_file(
        f"{paths.LIB}/struct.py",
        b"import sys\npath = sys.path[:]\nsys.path[:] = []\nbuilt_in = __import__('struct')\n"
        b"sys.path[:] = path\npack, unpack_from = built_in.pack, built_in.unpack_from\n",
    )
    real = bench.world.file_calls["fs_list"]

    def list_folder(path: str) -> Any:
        if error and path == paths.LIB:
            raise OSError(error)
        return real(path)

    bench.world.file_calls["fs_list"] = list_folder
    code = f"{UPDATE}import struct\nresult = [updater.run(), hasattr(struct, 'built_in')]"
    assert in_micropython(bench, code) == [IDLE, True]


def full(path: str) -> None:
    raise OSError(28)


def test_a_start_that_cannot_go_on_loads_its_errors():
    bench = installed()
    bench.write_file("/updater/hands-off", b'{"what": "provision"}')
    result = in_micropython(bench, f"{UPDATE}result = updater.run()")
    assert (result["status"], result["error"]) == ("waiting", "hands-off")
    bench = Bench()
    bench.world.file_calls["fs_mkdir"] = full
    code = "except Exception as error: result = error.code"
    assert in_micropython(bench, f"try:\n  {'; '.join(UPDATE.splitlines())}\n{code}") == "store"


def test_the_ram_that_a_start_takes():
    """As a board measures it after a collection: code, classes and objects that stay."""
    bench = installed()
    put_updater(bench)
    with MicroPythonHost(bench.world.call, bench.world, platform=bench.world.host) as host:
        host.power_on()
        assert host.wait_idle()
        with Client(host) as repl:
            repl.send(b"\x01")
            repl.until(b"exit\r\n>")
            execute(repl, "import hashlib, machine, os, time")  # the simulation's
            before = ram(repl)
            execute(repl, UPDATE)
            assert ram(repl) - before < 35 * 1024
            execute(repl, "updater.run()")
            assert ram(repl) - before < 35 * 1024


def ram(repl: Client) -> int:
    execute(repl, "import gc")
    return min(int(execute(repl, "print(gc.mem_alloc())")) for _ in range(3))


def test_the_size_of_what_is_deployed():
    assert sum(map(len, deploy.product_modules().values())) <= 72_500
    assert len(device.main_program()) < 2000
