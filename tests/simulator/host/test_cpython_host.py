"""Device code in CPython: each host has its own modules, files and time."""

from __future__ import annotations

import gc
import sys
import time

import pytest

from stm32assets import FIRMWARE
from stm32sim.host import cpython
from stm32sim.host.cpython import DevicePackages
from stm32sim.host.seam import HostPowerLost, HostReset
from stm32sim.in_process import Bench


@pytest.fixture
def boot(world, tmp_path):
    def make(**files: str) -> DevicePackages:
        for name, source in files.items():
            path = tmp_path / (name.replace("__init__", "%").replace("__", "/") + ".py")
            path = path.with_name(path.name.replace("%", "__init__"))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(source)
        return DevicePackages(world.call, [tmp_path])

    return make


def test_packages_import_each_other_relatively(boot):
    device = boot(
        pack____init__="from .one import first\nfrom . import two\n",
        pack__one="from .two import second\nfirst = second + 1\n",
        pack__two="from micropython import const\nsecond = const(1)\n",
    )
    pack = device.imports("pack")
    assert (pack.first, pack.two.second) == (2, 1)
    assert device.imports("pack.one").first == 2


def test_nothing_reaches_the_modules_of_this_process(boot):
    before = dict(sys.modules)
    device = boot(lonely="import machine, time, os, hashlib\n")
    device.imports("lonely")
    assert sys.modules == before
    assert device.imports("lonely").time is not time


def test_two_boots_share_no_module(boot):
    first = boot(counter="count = 0\n").imports("counter")
    first.count = 5
    assert boot().imports("counter").count == 0


def test_a_prepared_module_is_there_from_its_import_on(boot, tmp_path):
    files = {
        "pack____init__": "from .one import first\nname = __name__\n",
        "pack__one": "import json\nfrom . import two\nfirst = 1\n",
        "pack__two": "import machine\nlist = []\n",
        "late": "import pack.two\n",
    }
    device, prepared = boot(**files), boot()
    device.imports("pack")
    device.imports("late")
    visible = list(prepared.modules)
    prepared.prepare(tmp_path)
    assert list(prepared.modules) == visible
    prepared.imports("pack").two.list.append(1)
    assert "late" not in prepared.modules
    prepared.imports("late")
    assert list(prepared.modules) == list(device.modules)
    assert vars(prepared.modules["pack"]).keys() == vars(device.modules["pack"]).keys()
    assert prepared.imports("pack.two").list == [1] and boot().imports("pack.two").list == []


@pytest.mark.parametrize(
    "line",
    [
        "import time\nnow = time.ticks_us()",
        "import time\ntry:\n    time.sleep_ms(5)\nexcept:\n    pass",
        "print(1)",
    ],
)
def test_a_module_that_acts_when_it_is_imported_is_not_prepared(
    boot, world, line, tmp_path, capsys
):
    boot(acts=line).imports("acts")
    prepared = boot()
    before = world.now
    capsys.readouterr()
    prepared.prepare(tmp_path)
    assert world.now == before and not capsys.readouterr().out
    prepared.imports("acts")
    assert world.now > before or capsys.readouterr().out == "1\n"


def test_a_module_of_a_package_that_acts_is_prepared_nevertheless(
    boot, world, tmp_path, monkeypatch
):
    files = {
        "pack____init__": "import time\nsleeps = 1\ntime.sleep_ms(5)\nslept = 1\n",
        "pack__one": "tables = []\n",
    }
    device = boot(**files)
    device.imports("pack.one")
    prepared = boot()
    prepared.prepare(tmp_path)
    before, compiled, executed = world.now, cpython._compiled, []

    def compile_one(path):
        executed.append(path.stem)
        return compiled(path)

    monkeypatch.setattr(cpython, "_compiled", compile_one)
    assert prepared.imports("pack.one").tables == []
    assert executed == ["__init__"] and world.now > before
    assert prepared.modules["pack"].slept == 1 and list(prepared.modules) == list(device.modules)


def test_a_package_that_reuses_the_name_of_its_module_is_not_prepared(boot, tmp_path):
    boot(pack____init__="from .run import run\n", pack__run="def run(): pass\n").imports("pack")
    prepared = boot()
    prepared.prepare(tmp_path)
    assert callable(prepared.imports("pack").run)


def test_the_modules_of_the_product_only_define_things(world):
    """So they may be prepared: none changes another one when it is executed. answers.py needs a
    terminal, which this host does not have."""
    device = DevicePackages(world.call, [FIRMWARE])
    names = [
        str(path.relative_to(FIRMWARE).with_suffix("")).replace("/", ".").removesuffix(".__init__")
        for package in ("stm32_rom", "stm32_updater")
        for path in sorted((FIRMWARE / package).glob("*.py"))
        if path.stem != "answers"
    ]
    for name in names:
        before = {
            module: {key: (value, repr(value)) for key, value in vars(namespace).items()}
            for module, namespace in device.modules.items()
            if module not in ("sys", "builtins")
        }
        device.imports(name)
        for module, contents in before.items():
            now = vars(device.modules[module])
            for key, (value, told) in contents.items():
                assert now[key] is value and repr(value) == told, (name, module, key)
            added = {f"{module}.{key}" for key in now.keys() - contents.keys()}
            assert added <= device.modules.keys(), (name, added)
    assert not world.log and not world.now


@pytest.mark.parametrize("name", ["typing", "dataclasses", "enum", "pathlib", "logging", "socket"])
def test_what_micropython_does_not_have_is_an_import_error(boot, name):
    device = boot(wants=f"import {name}\n")
    with pytest.raises(ImportError, match=name):
        device.imports("wants")


@pytest.mark.parametrize("line", ["from .nothing import x", "from . import nothing", "import a.b"])
def test_a_missing_submodule_is_an_import_error(boot, line):
    device = boot(pack____init__="", pack__mod=line + "\n", a____init__="")
    with pytest.raises(ImportError):
        device.imports("pack.mod")


def test_a_module_that_failed_to_import_is_imported_anew(boot, world):
    device = boot(fails="import machine\nmachine.reset()\n")
    for _ in range(2):
        with pytest.raises(HostReset):
            device.imports("fails")


def test_decorators_that_compile_are_harmless(boot):
    device = boot(
        fast="import micropython\n@micropython.viper\ndef f(a: int) -> int:\n    return a + 1\n"
        "@micropython.native\ndef g(a):\n    return a\n"
    )
    assert device.imports("fast").f(1) == 2


def test_open_is_the_filesystem_of_the_host(boot, world):
    device = boot(
        files="import os\n"
        "with open('/a.txt', 'w') as f: f.write('one\\ntwo \\u00e9\\n')\n"
        "with open('/a.txt') as f: lines = list(f)\n"
        "with open('a.txt', 'rb') as f:\n"
        "    head = f.read(2); buf = bytearray(3); n = f.readinto(buf); at = f.tell()\n"
        "    f.seek(-2, 2); tail = f.read()\n"
        "os.mkdir('/d'); os.chdir('/d')\n"
        "with open('inner', 'ab') as f: f.write(b'x')\n"
        "os.rename('inner', 'moved'); listed = os.listdir(); cwd = os.getcwd()\n"
        "size = os.stat('/d/moved')[6]; os.chdir('..'); root = sorted(os.listdir('/'))\n"
    ).imports("files")
    assert device.lines == ["one\n", "two é\n"]
    assert (device.head, device.n, bytes(device.buf), device.at) == (b"on", 3, b"e\nt", 5)
    assert device.tail == "é\n".encode()[1:]
    assert (device.listed, device.cwd, device.size) == (["moved"], "/d", 1)
    assert device.root == ["a.txt", "d"]
    assert [name for name, _, _ in world.filesystem.fs_list("/")] == ["a.txt", "d"]


def test_a_text_file_is_read_by_characters(boot):
    device = boot(
        text="with open('t', 'w') as f: f.write('a\\u00e9\\u20ac\\U0001f600z')\n"
        "f = open('t'); parts = [f.read(1), f.read(2), f.read(1), f.read(5), f.read(1)]\n"
    ).imports("text")
    assert device.parts == ["a", "é€", "😀", "z", ""]


def test_errors_carry_their_number_in_both_places(boot):
    device = boot(
        errors="import machine\nfound = []\n"
        "def attempt(f):\n"
        "    try: f()\n"
        "    except OSError as e: found.append((e.errno, e.args[0]))\n"
        "attempt(lambda: open('nope'))\n"
        "attempt(lambda: machine.I2C(0).writeto(0x33, b'x'))\n"
    ).imports("errors")
    assert device.found == [(2, 2), (5, 5)]


def test_i2c_and_pins_are_calls(boot, world):
    device = boot(
        wires="from machine import I2C, SoftI2C, Pin\n"
        "p = Pin(4, Pin.OPEN_DRAIN, Pin.PULL_UP, value=1); p(0); seen = p(); p.on()\n"
        "bus = I2C(0, scl=Pin(5), sda=Pin(4), freq=100_000, timeout=9)\n"
        "acks = bus.writeto(0x51, b'abc', False); data = bus.readfrom(0x51, 2)\n"
        "buf = bytearray(3); bus.readfrom_into(0x51, buf)\n"
        "mem = bus.readfrom_mem(0x51, 0x1234, 1, addrsize=16); bus.writeto_mem(0x51, 7, b'z')\n"
        "soft = SoftI2C(5, 4)\n"
    ).imports("wires")
    assert (device.seen, device.acks, device.data, bytes(device.buf)) == (1, 3, b"\0\1", b"\0\1\2")
    assert world.log == [
        ("pin_init", 4, 2, 1, 1),
        ("pin_write", 4, 0),
        ("pin_read", 4),
        ("pin_write", 4, 1),
        ("i2c_init", 0, False, 5, 4, 100_000, 9),
        ("i2c_write", 7, 0x51, b"abc", False),
        ("i2c_read", 7, 0x51, 2, True),
        ("i2c_read", 7, 0x51, 3, True),
        ("i2c_write", 7, 0x51, b"\x12\x34", False),
        ("i2c_read", 7, 0x51, 1, True),
        ("i2c_write", 7, 0x51, b"\x07z", True),
        ("i2c_init", -1, True, 5, 4, 400_000, 50_000),
    ]


@pytest.mark.parametrize(
    "made",
    [
        "Pin(30)",
        "Pin(-1)",
        "I2C(2, scl=Pin(5), sda=Pin(4))",
        "I2C(0, scl=Pin(4), sda=Pin(5))",
        "I2C(0, scl=Pin(5), sda=Pin(6))",
        "I2C(1, scl=Pin(5), sda=Pin(4))",
        "ADC(25)",
        "WDT(1)",
        "WDT(timeout=9000)",
    ],
)
def test_rp2_refuses_what_it_does_not_have(boot, made):
    with pytest.raises(ValueError):
        boot(asks=f"from machine import *\n{made}\n").imports("asks")


def test_scan_writes_no_byte_to_every_ordinary_address(boot, world):
    found = boot(scan="from machine import I2C\nfound = I2C(0).scan()\n").imports("scan").found
    assert found == [addr for addr in range(0x08, 0x78) if addr != 0x33]
    assert {args[3:] for args in world.log[1:]} == {(b"", True)}


def test_ticks_wrap_within_seconds_of_the_start(boot):
    device = boot(
        wrap="import time\n"
        "start = time.ticks_ms(); time.sleep_ms(4000); end = time.ticks_ms()\n"
        "elapsed = time.ticks_diff(end, start)\n"
        "us = time.ticks_us(); time.sleep(1); later = time.ticks_us()\n"
        "add = time.ticks_diff(time.ticks_add(start, 4000), start)\n"
        "back = time.ticks_diff(start, end)\n"
        "date = time.gmtime(1_709_164_800)\n"
    ).imports("wrap")
    assert device.end < device.start
    assert (device.elapsed, device.back, device.add) == (4000, -4000, 4000)
    assert device.date == (2024, 2, 29, 0, 0, 0, 3, 60)


def test_asyncio_runs_on_virtual_time(boot, world):
    device = boot(
        tasks="import asyncio\nlog = []\n"
        "async def tick(name, ms):\n"
        "    for i in range(3):\n"
        "        await asyncio.sleep_ms(ms); log.append((name, i))\n"
        "    return name\n"
        "async def main():\n"
        "    results = await asyncio.gather(tick('a', 100), tick('b', 250))\n"
        "    try: await asyncio.wait_for_ms(tick('c', 1000), 1500)\n"
        "    except asyncio.TimeoutError: results.append('late')\n"
        "    return results\n"
        "result = asyncio.run(main())\n"
    ).imports("tasks")
    assert device.result == ["a", "b", "late"]
    assert device.log == [
        ("a", 0), ("a", 1), ("b", 0), ("a", 2), ("b", 1), ("b", 2), ("c", 0),
    ]  # fmt: skip
    assert 2_250_000 <= world.now < 2_251_000


def test_a_loss_of_power_cannot_be_caught_and_nothing_is_written_on_the_way_out(boot, world):
    device = boot(
        careful="def save():\n"
        "    try:\n"
        "        with open('/state', 'w') as f: f.write('x' * 5000)\n"
        "    except Exception: pass\n"
        "    finally: open('/late', 'w').close()\n"
    )
    save = device.imports("careful").save
    lost = HostPowerLost()

    def tap(what: str, block: int) -> None:
        if world.flash.progs > 2:
            raise lost

    world.flash.tap = tap
    with pytest.raises(HostPowerLost) as caught:
        save()
    assert caught.value is lost
    world.filesystem.power_loss()
    world.flash.tap = None
    world.filesystem.mount()
    assert world.filesystem.fs_list("/") in ([], [["state", 0x8000, 0]])


DYING = """
import machine, time

def steps(i2c):
    try:
        with open("/open", "w") as file:
            file.write("x")
            yield "open"
            i2c.writeto(0x2A, b"x")
            yield "written"
    finally:
        i2c.writeto(0x2A, b"late")
        machine.Pin(2, machine.Pin.OUT, value=0)

def begun():
    i2c = machine.I2C(0, scl=machine.Pin(5), sda=machine.Pin(4), freq=400000)
    found = steps(i2c)
    next(found)
    return found
"""


def _lose_power(bench: Bench) -> None:
    bench.world.power_loss()


def _soft_reset(bench: Bench) -> None:
    bench.world.soft_reset()


def _boot(bench: Bench) -> None:
    bench.boot()


@pytest.mark.parametrize("end", [_lose_power, _soft_reset, _boot])
def test_what_a_dropped_generator_of_a_dead_host_does_reaches_nothing(
    end, tmp_path, recwarn, capfd
):
    (tmp_path / "dying.py").write_text(DYING)
    bench = Bench(packages=tmp_path)
    steps = bench.device.imports("dying").begun()
    end(bench)
    passed = len(bench.trace)
    with pytest.raises(HostPowerLost):
        next(steps)
    again = bench.boot().imports("dying").begun()
    end(bench)
    del again
    gc.collect()
    assert len(bench.trace) == passed
    assert bench.target.nrst_high
    assert not list(recwarn) and capfd.readouterr().err == ""


@pytest.mark.parametrize("ends_by", [HostPowerLost, HostReset])
def test_what_runs_while_the_stack_of_a_dead_host_unwinds_reaches_nothing(ends_by, tmp_path):
    (tmp_path / "dying.py").write_text(DYING)
    bench = Bench(packages=tmp_path)
    steps = bench.device.imports("dying").begun()
    reason = ends_by()

    def tap(what: str, value: int) -> None:
        bench.trace.tap(what, value)
        if what == "start":
            raise reason

    bench.world.bus.tap = tap
    with pytest.raises(ends_by) as caught:
        next(steps)
    assert caught.value is reason
    assert len(bench.trace) == 1
    assert bench.target.nrst_high
