"""Real MicroPython counts the bytecodes that device code executes, each one and no other.

The expected numbers are instructions of py/emitbc.c, written out beside the code.
"""

from __future__ import annotations

import shutil
import subprocess

import pytest

from stm32sim.host.micropython import find_node
from tests.simulator.host.client import SAFETY_NET_S, execute

HOST_FOLDER = "host_tools/stm32sim/host"
# mark() is a call over the seam, so the count of the second one is that of `work()` and the
# instructions around it, which `empty` has too.
MEASURE = """
import machine
mark = machine.ADC(26).read_u16
def empty(): pass
def measure(work, *args):
    mark(); work(*args); mark()
"""


@pytest.fixture
def count(raw, world):
    """count(code, call) -> (bytecodes, calls) of `f(arguments)` more than of an empty function
    with the same arguments. `code` defines f."""
    execute(raw, MEASURE)

    def measured(call: str) -> tuple[int, int]:
        world.executed.clear()
        assert execute(raw, f"measure({call})") == b""
        _, *between = world.executed
        return sum(bytecodes for bytecodes, _ in between), sum(calls for _, calls in between)

    def count(code: str, arguments: str = "") -> tuple[int, int]:
        assert execute(raw, code) == b""
        parameters = ", ".join("ab"[: arguments.count(",") + 1] if arguments else "")
        assert execute(raw, f"def empty({parameters}): pass\n") == b""
        bytecodes, calls = measured(f"f, {arguments}")
        least, one = measured(f"empty, {arguments}")
        return bytecodes - least, calls - one

    return count


@pytest.mark.parametrize("statements", [1, 7, 100])
def test_a_straight_line_counts_each_statement(count, statements):
    # LOAD_CONST_SMALL_INT, STORE_FAST
    assert count("def f():\n" + " x = 1\n" * statements) == (2 * statements, 0)


@pytest.mark.parametrize("rounds", [0, 1, 2, 1000, 100_000])
def test_a_loop_counts_each_round(count, rounds):
    # before: JUMP; LOAD_FAST i, POP_JUMP_IF_TRUE
    # each round: LOAD_FAST i, LOAD_CONST_SMALL_INT, BINARY_OP, STORE_FAST, and the two again
    code = "def f(i):\n while i: i -= 1\n"
    assert count(code, str(rounds)) == (3 + 6 * rounds, 0)


@pytest.mark.parametrize("length", [0, 1, 4, 256])
def test_a_loop_over_bytes_counts_each_byte(count, length):
    # before: LOAD_CONST_SMALL_INT, STORE_FAST; LOAD_FAST data, GET_ITER_STACK; the last FOR_ITER
    # each byte: FOR_ITER, STORE_FAST, LOAD_FAST, LOAD_FAST, BINARY_OP, STORE_FAST, JUMP
    code = "def f(data):\n s = 0\n for b in data: s ^= b\n"
    assert count(code, f"bytes({length})") == (5 + 7 * length, 0)


def test_calls_of_functions_and_resumed_generators_are_counted(count):
    # each call: LOAD_GLOBAL, CALL_FUNCTION, POP_TOP; and in it LOAD_CONST_NONE, RETURN_VALUE
    assert count("def g(): pass\ndef f():\n g(); g(); g()\n") == (3 * 5, 3)
    code = "def g():\n yield 1\n yield 2\ndef f():\n for _ in g(): pass\n"
    assert count(code)[1] == 3  # two values and the end; making the generator is none


def test_the_code_of_the_shims_is_not_counted(count, raw, world):
    execute(raw, "import time, os, hashlib\nbus = machine.I2C(0)\nbuffer = bytearray(300)\n")
    # LOAD_GLOBAL, LOAD_METHOD, arguments, CALL_METHOD, POP_TOP
    assert count("def f(): time.gmtime(1_000_000_000)\n") == (5, 0)
    assert count("def f(): os.urandom(16)\n") == (5, 0)
    execute(raw, "def f():\n bus.writeto(0x51, buffer)\n mark()\n")
    execute(raw, "measure(f)")
    assert world.executed[-3][0] > 0  # the call itself
    # POP_TOP; LOAD_GLOBAL mark, CALL_FUNCTION
    assert world.executed[-2] == (3, 0)


def test_asyncio_is_counted_because_it_is_python_on_a_board_too(count):
    bytecodes, calls = count("import asyncio\nasync def g(): pass\ndef f(): asyncio.run(g())\n")
    assert bytecodes > 200
    assert calls > 10


def test_the_same_program_has_the_same_counts(world, host):
    world.write("/main.py", MEASURE + "import json\nmeasure(json.loads, '[1, 2, 3]')\n")
    counts = []
    for _ in range(2):
        world.executed.clear()
        host.power_on()
        assert host.wait_idle(SAFETY_NET_S)
        counts.append(list(world.executed))
        host.power_off()
    assert counts[0] == counts[1] != []


def test_a_module_without_an_interpreter_is_refused(tmp_path):
    """Counting must not end silently when MicroPython's build changes."""
    shutil.copy(f"{HOST_FOLDER}/count_bytecodes.mjs", tmp_path)
    (tmp_path / "try.mjs").write_text(
        'import { countBytecodes } from "./count_bytecodes.mjs";\n'
        # a module with one function without instructions
        "countBytecodes(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0, 10, 4, 1, 2, 0, 11]));\n"
    )
    done = subprocess.run([find_node(), tmp_path / "try.mjs"], capture_output=True, text=True)
    assert done.returncode != 0
    assert "0 functions of MicroPython look like its interpreter" in done.stderr
