"""Ctrl-C ends any program on a simulated board, and a client that disconnects leaves nothing
behind."""

from __future__ import annotations

import subprocess

import pytest

from tests.simulator.host.client import (
    SAFETY_NET_S,
    Client,
    execute,
    mpremote,
    mpremote_command,
)

RAW_PROMPT = b"raw REPL; CTRL-B to exit\r\n>"
LOOPS = {
    "nothing": "while True: pass",
    "counting": "n = 0\nwhile True: n += 1",
    "in a function": "def f():\n    while True: pass\nf()",
    "for": "for _ in range(1 << 30): pass",
    "generator": "def g():\n    while True: yield 1\nfor _ in g(): pass",
    "swallows exceptions": "while True:\n    try: 1 // 0\n    except Exception: pass",
    "time": "import time\nwhile True: time.ticks_ms()",
    "sleep": "import time\nwhile True: time.sleep(1)",
    "files": "import os\nwhile True: os.listdir('/')",
    "output": "while True: print('x' * 50)",
    "stdin": "import sys\nwhile True: sys.stdin.read(1)",
    "lines of stdin": "import sys\nfor line in sys.stdin: pass",
    "stdin.buffer": "import sys\nwhile True: sys.stdin.buffer.readinto(bytearray(100))",
    "input": "while True: input('name? ')",
    "poll": "import select, sys\np = select.poll(); p.register(sys.stdin)\nwhile True: p.poll()",
    "poll with a limit": "import select, sys\np = select.poll(); p.register(sys.stdin, 1)\n"
    "while True: p.poll(1000)",
    "asyncio": "import asyncio\nasync def f():\n    while True: await asyncio.sleep(0)\n"
    "asyncio.run(f())",
}


@pytest.mark.parametrize("loop", LOOPS.values(), ids=LOOPS)
def test_ctrl_c_ends_any_loop(raw, loop):
    raw.send(b"print('running')\n" + loop.encode() + b"\x04")
    raw.until(b"running\r\n")
    raw.send(b"\x03")
    assert b"KeyboardInterrupt" in raw.until(b"\x04>")
    assert execute(raw, "print('alive')") == b"alive\r\n"


@pytest.mark.parametrize("loop", [LOOPS["nothing"], LOOPS["stdin"]])
def test_ctrl_c_ends_pasted_code(raw, loop):
    raw.send(b"\x05A\x01")
    raw.until(b"R\x01\x00\x08\x01")
    raw.send(b"print('running')\n" + loop.encode() + b"\x04")
    raw.until(b"running\r\n")
    raw.send(b"\x03")
    assert b"KeyboardInterrupt" in raw.until(b"\x04>")
    assert execute(raw, "print('alive')") == b"alive\r\n"


def test_ctrl_c_ends_a_loop_typed_at_the_prompt(running):
    with Client(running) as client:
        client.send(b"while True: pass\r\r")
        client.until(b"... \r\n")
        client.send(b"\x03")
        assert b"KeyboardInterrupt" in client.until(b">>> ")


@pytest.mark.parametrize("name", ["boot.py", "main.py"])
def test_ctrl_c_ends_a_program_that_never_ends(world, host, name):
    world.write(f"/{name}", "print('running')\nwhile True: pass\n")
    host.power_on()
    with Client(host) as client:
        client.send(b"\x03")
        assert b"KeyboardInterrupt" in client.until(b">>> ")


def test_a_ctrl_c_that_is_there_before_the_code_runs_ends_it(raw):
    raw.send(b"while True: pass\x04\x03")
    assert b"KeyboardInterrupt" in raw.until(b"\x04>")


def test_each_ctrl_c_is_one_interrupt(raw):
    raw.send(
        b"for i in range(3):\n"
        b"    try:\n"
        b"        print('loop', i)\n"
        b"        while True: pass\n"
        b"    except KeyboardInterrupt: pass\n"
        b"print('end')\x04"
    )
    for i in range(3):
        raw.until(b"loop %d\r\n" % i)
        raw.send(b"\x03")
    assert raw.until(b"\x04>") == b"end\r\n\x04\x04>"


def test_what_was_sent_before_a_ctrl_c_is_dropped_and_what_comes_after_it_is_not(raw):
    raw.send(b"print('running')\nwhile True: pass\x04")
    raw.until(b"running\r\n")
    raw.send(b"1 // 0\r\x03print('after')\x04")
    raw.until(b"\x04>")
    assert raw.until(b"\x04>") == b"OKafter\r\n\x04\x04>"


def test_a_ctrl_c_that_was_data_interrupts_once_the_code_lets_it(raw):
    raw.send(
        b"import micropython\n"
        b"micropython.kbd_intr(-1)\n"
        b"print('off')\n"
        b"for i in range(100_000): pass\n"
        b"micropython.kbd_intr(3)\n"
        b"while True: pass\x04"
    )
    raw.until(b"off\r\n")
    raw.send(b"\x03")
    assert b"KeyboardInterrupt" in raw.until(b"\x04>")


def test_output_is_seen_while_a_loop_calls_nothing(raw):
    raw.send(b"print('dots', end='...')\nwhile True: pass\x04")
    raw.until(b"dots...")
    raw.send(b"\x03")
    raw.until(b"\x04>")


def test_the_keys_of_the_repl_do_what_they_do_on_a_board(running):
    with Client(running) as client:
        client.send(b"\r\x03")
        client.until(b"\r\n>>> ")
        client.send(b"\x05")
        client.until(b"paste mode; Ctrl-C to cancel, Ctrl-D to finish\r\n=== ")
        client.send(b"print(1)\rprint(2)\r\x04")
        client.until(b"1\r\n2\r\n>>> ")
        client.send(b"\x05while True\x03")
        client.until(b"\r\n>>> ")
        client.send(b"\x01")
        client.until(RAW_PROMPT)
        client.send(b"this is dropped\x03" + b"print(3)\x04")
        assert client.until(b"\x04>") == b"OK3\r\n\x04\x04>"
        client.send(b"\x02")
        client.until(b"\r\n>>> ")
        client.send(b"kept = 1\r\x04")
        client.until(b"MPY: soft reboot\r\n")
        client.until(b">>> ")
        client.send(b"'kept' in globals()\r")
        client.until(b"False\r\n>>> ")


def test_input_echoes_what_is_typed(raw):
    raw.send(b"print(repr(input('name? ')))\x04")
    raw.until(b"name? ")
    raw.send(b"ad\x7fb\r")
    assert raw.until(b"\x04>") == b"ad\x08 \x08b\r\n'ab'\r\n\x04\x04>"


def test_poll_waits_for_input_and_its_limit_is_virtual_time(raw):
    code = (
        "import select, sys, time\n"
        "p = select.poll(); p.register(sys.stdin, select.POLLIN)\n"
        "start = time.ticks_ms()\n"
        "print(p.poll(0), p.poll(300), time.ticks_diff(time.ticks_ms(), start) >= 300)\n"
        "print(p.poll()[0][1], sys.stdin.read(1), p.poll(0))\n"
    )
    raw.send(code.encode() + b"\x04")
    raw.until(b"OK[] [] True\r\n")
    raw.send(b"x")
    assert raw.until(b"\x04>") == b"1 x []\r\n\x04\x04>"


# Clients that go away.


@pytest.mark.parametrize(
    "what",
    [
        b"print('running')\nwhile True: pass\x04",
        b"print('running')\nimport sys\nsys.stdin.read(100)\x04",
        b"print('running')\nimport sys, micropython\nmicropython.kbd_intr(-1)\n"
        b"sys.stdin.read(100)\x04",
        b"print('running')\nwhile True: print('x' * 1000)\x04",
        b"print('running')\x04x = '''half of a ",
        b"print('running')\x04\x05A\x01half of a paste",
        b"print('running')\x04\x05A",
        b"print('running')\x04\x02\x05half of a paste",
    ],
)
def test_the_next_client_gets_a_working_repl(running, what):
    for _ in range(2):
        with Client(running) as client:
            client.send(b"\r\x03\x01")
            client.until(RAW_PROMPT)
            client.send(what)
            client.until(b"running\r\n")
        assert mpremote(running, "exec", "print('alive')").split() == ["alive"]


def test_mpremote_leaves_a_loop_and_the_next_one_ends_it(running):
    for command in (("exec", "print('alive')"), ("resume", "exec", "print('alive')")):
        mpremote(running, "exec", "--no-follow", "while True: pass")
        assert mpremote(running, *command).split() == ["alive"]


def test_mpremote_mounts_a_folder_of_the_computer(world, running, tmp_path):
    (tmp_path / "mounted.py").write_text(f"text = {'x' * 5000!r}\n")
    (tmp_path / "data").write_bytes(bytes(range(256)) * 30)
    code = (
        "import mounted, os\n"
        "with open('data', 'rb') as f:\n"
        "    f.seek(256); data = f.read()\n"
        "print(os.getcwd(), sorted(os.listdir()), len(mounted.text), len(data), data[:3])\n"
        "with open('back', 'wb') as f: f.write(b'\\x00\\x03\\x04' * 1000)\n"
        "with open('/own', 'w') as f: f.write('of the board')\n"
    )
    told = mpremote(running, "mount", tmp_path, "exec", code)
    assert "/remote ['data', 'mounted.py'] 5000 7424 b'\\x00\\x01\\x02'" in told
    assert (tmp_path / "back").read_bytes() == b"\x00\x03\x04" * 1000
    assert world.read("/own") == b"of the board"
    assert mpremote(running, "exec", "import os; print(os.getcwd())").split() == ["/"]


@pytest.mark.parametrize(
    "code",
    [
        "print('running')\nwhile True: open('data').read()",
        "print('running')\nwhile True: pass",
        # The import looks for time.py on the computer, too.
        "import time\nprint('running')\nwhile True: time.sleep(1)",
    ],
)
def test_a_mount_whose_computer_has_gone_leaves_nothing_behind(running, tmp_path, code):
    (tmp_path / "data").write_text("x" * 3000)
    command = mpremote_command(running.url, "mount", tmp_path, "exec", code)
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        while b"running" not in process.stdout.readline():
            pass
        process.kill()
    assert mpremote(running, "exec", "print('alive')").split() == ["alive"]


def test_ctrl_c_of_mpremote_ends_what_runs_on_the_board(running):
    command = mpremote_command(running.url, "exec", "print('running')\nwhile True: pass")
    with subprocess.Popen(command, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        process.send_signal(2)
        process.wait(SAFETY_NET_S)
    assert mpremote(running, "resume", "exec", "print('alive')").split() == ["alive"]
