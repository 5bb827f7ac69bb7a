"""A line that others also write to: our frames are always recognised."""

from __future__ import annotations

import random
import re

import pytest

from stm32up.errors import BoardReset, ContactLost, DeviceError, NoBoard
from stm32up.host import calls, raw_repl, transport
from stm32up.image import images
from tests.host_tools.fake_board import INSTALLED, Reset

pytestmark = pytest.mark.slow

WIFI = b"\x1b[0;32mI (1234) wifi:<ba-add>idx:0 (ifx:0, 3c:84:6a:11:22:33), tid:0\x1b[0m\r\n"
FOREIGN = {
    "a log line of an ESP32": WIFI,
    "the protocol's own bytes": b"W (88) net: OK\x04\x04>OK\x04raw REPL; CTRL-B to exit\r\n>",
    "a traceback": b"Traceback (most recent call last):\r\nOSError: 28\r\n\x04>",
    "an event": b'{"event": "result", "ok": false, "message": "no"}\r\n',
    "no ASCII": "E (7) wifi: ssid Müller €\r\n".encode(),
    "no line end": b"....",
    "a boot banner": b"ets Jul 29 2019 12:21:46\r\nMicroPython v1.29.0 on 2026-08-25\r\n>>> ",
}


def inside(foreign, rate, seed=1):
    """`foreign` before this share of all bytes."""
    chance = random.Random(seed)

    def noise(data: bytes) -> bytes:
        parts = ((foreign if chance.random() < rate else b"") + bytes((b,)) for b in data)
        return b"".join(parts)

    return noise


@pytest.mark.parametrize("rate", [0.01, 0.2, 1.0])
@pytest.mark.parametrize("foreign", FOREIGN.values(), ids=FOREIGN.keys())
def test_foreign_text_anywhere_in_an_answer_leaves_the_answer_whole(fake, payload, foreign, rate):
    fake.noise = inside(foreign, rate)
    fake.file("/name with <ESC>").write_bytes(payload)
    with transport.connected(fake.port) as connection:
        assert connection.exec("print('a', 1)\nprint('é')") == "a 1\né\n"
        assert connection.read_file("/name with <ESC>") == payload
        connection.replace_file("/copy", payload)
        with pytest.raises(DeviceError, match="the board raised KeyError"):
            connection.exec("{}['no']")
    assert fake.file("/copy").read_bytes() == payload


@pytest.mark.parametrize("rate", [0.02, 1.0])
@pytest.mark.parametrize("foreign", [WIFI, FOREIGN["the protocol's own bytes"]])
def test_an_update_on_a_line_full_of_log_lines_ends_as_on_a_quiet_one(
    run, fake, image, foreign, rate
):
    fake.noise = inside(foreign, rate)
    ran = run("--port", fake.port, "--json", "update", image)
    assert (ran.status, ran.result["status"]) == (0, "installed")
    assert fake.file("/updater/inbox/app.img").read_bytes() == image.read_bytes()


def test_foreign_text_is_shown_once_with_advice_and_not_line_by_line(run, fake, image):
    fake.noise = inside(WIFI, 0.5)
    for arguments in (["update", image], ["status"], ["probe"]):
        ran = run("--port", fake.port, *arguments)
        shown = [line for line in ran.out.splitlines() if line.startswith("board: ")]
        assert 1 <= len(shown) <= transport.Overheard.SHOWN
        assert "wifi:<ba-add>" in ran.out and "\x1b" not in ran.out
        assert ran.out.count("esp.osdebug(None)") == 1
        assert re.search(r"note: the board printed \d+ more lines", ran.out)


def test_what_a_program_prints_is_shown_without_advice(run, fake):
    fake.before_exec = lambda code: fake.output.write(b"hello\r\n") if "status()" in code else None
    ran = run("--port", fake.port, "status")
    assert "board: hello\n" in ran.out and "osdebug" not in ran.out


def test_a_log_is_pulled_pure_whatever_else_is_on_the_line(run, fake):
    fake.file("/updater").mkdir()
    fake.file("/updater/log.0").write_bytes(b'{"n": 1}\n{"n": 2}\n')
    fake.noise = inside(WIFI, 0.1)
    ran = run("--port", fake.port, "logs", "pull")
    assert ran.out == '{"n": 1}\n{"n": 2}\n'
    assert "esp.osdebug(None)" in ran.err


def test_a_board_that_only_talks_is_silent(fake, monkeypatch):
    monkeypatch.setattr(raw_repl, "ENTER_S", 1.0)
    fake.silent = True
    with pytest.raises(NoBoard, match="does not answer as MicroPython.*main.py or boot.py"):
        transport.Connection(fake.port)


def test_characters_that_get_lost_are_told(fake):
    with transport.connected(fake.port) as connection:
        fake.noise = lambda data: data.replace(b"\xfb", b"", 1)
        with pytest.raises(ContactLost, match="characters are lost on the line"):
            connection.exec("print('many characters, of which one gets lost')")
        fake.noise = lambda data: data


def test_code_that_the_board_cannot_even_read_is_its_exception(fake):
    with transport.connected(fake.port) as connection:
        with pytest.raises(DeviceError, match="SyntaxError"):
            connection.exec("print(")
        connection._repl._type(b"_stm32up = None")
        with pytest.raises(DeviceError, match="TypeError"):
            connection.exec("print(1)")


# boot.py and main.py


def test_a_boot_py_that_never_ends_is_interrupted_and_named(run, fake, monkeypatch):
    monkeypatch.setattr(raw_repl, "ENTER_S", 1.5)
    fake.boot = "hangs"
    ran = run("--port", fake.port, "status")
    assert ran.status == 0 and "idle" in ran.out
    assert "mpremote resume fs rm :boot.py" in ran.out


def test_a_boot_py_that_swallows_ctrl_c_is_named_with_the_way_to_take_it_off(
    run, fake, monkeypatch
):
    monkeypatch.setattr(raw_repl, "ENTER_S", 1.5)
    fake.boot = "swallows"
    ran = run("--port", fake.port, "status")
    assert ran.status == 3 and ran.err.startswith("error: boot.py on ")
    assert "flash_nuke" in ran.err and "esptool erase_flash" in ran.err


# A reset in the middle


def resets_at(fake, text, times=1):
    """The board is reset when code with this text comes, that often."""
    left = iter(range(times))

    def before(code: str) -> None:
        if text in code and next(left, None) is not None:
            raise Reset

    fake.before_exec = before


@pytest.fixture
def quickly(monkeypatch):
    monkeypatch.setattr(transport, "SILENCE_S", 0.5)
    monkeypatch.setattr(transport, "TRIES", 4)
    monkeypatch.setattr(calls, "SILENCE_S", 0.5)


def test_an_exec_that_a_reset_ends_says_so_at_once(fake):
    resets_at(fake, "print(1 + 1)")
    with (
        transport.connected(fake.port) as connection,
        pytest.raises(BoardReset, match="the board was reset .* watchdog") as raised,
    ):
        connection.exec("print(1 + 1)", silence_s=0.5)
    assert "by itself" in raised.value.next_step


def test_a_silent_board_that_was_not_reset_is_not_said_to_be(fake):
    with transport.connected(fake.port) as connection, pytest.raises(NoBoard) as raised:
        connection.exec("[0 for _ in range(60_000_000)]", silence_s=0.3)
    assert not isinstance(raised.value, BoardReset)


@pytest.mark.usefixtures("quickly")
@pytest.mark.parametrize("times", [1, 3])
def test_a_push_that_resets_interrupt_goes_on_by_itself(run, fake, image, times):
    resets_at(fake, "_receive('/updater/inbox", times)
    ran = run("--port", fake.port, "--json", "push", image)
    assert ran.status == 0
    assert fake.file("/updater/inbox/app.img").read_bytes() == image.read_bytes()
    notes = [event["text"] for event in ran.events if event["event"] == "note"]
    assert len(notes) == times and all("watchdog" in text for text in notes)


@pytest.mark.usefixtures("quickly")
def test_a_push_that_resets_interrupt_for_good_ends(run, fake, image):
    resets_at(fake, "_receive('/updater/inbox", 1000)
    ran = run("--port", fake.port, "--json", "push", image)
    assert (ran.status, ran.result["error"]) == (3, "board-reset")
    assert "watchdog" in ran.err and ran.err.count("\n") == 1


@pytest.mark.usefixtures("quickly")
def test_an_update_that_a_reset_interrupts_is_finished(run, fake, image):
    resets_at(fake, "u.events(")
    ran = run("--port", fake.port, "--json", "update", image)
    assert (ran.status, ran.result["status"]) == (0, "installed")


@pytest.mark.usefixtures("quickly")
def test_an_update_that_the_board_finished_by_itself_after_a_reset_is_installed(run, fake, image):
    resets_at(fake, "u.events(")
    fake.updater.events_to_come = [{"event": "result", "ok": True, "status": "idle"}]
    installed = images.verify(image)["sha256"]
    fake.updater.status = lambda: {"confirmed": "1.4.2", "installed": installed}
    ran = run("--port", fake.port, "update", image)
    assert (ran.status, ran.out.splitlines()[-1]) == (0, "installed 1.4.2")
    for other in ({"confirmed": "1.4.1"}, {"confirmed": "1.4.2", "installed": "00" * 32}):
        fake.updater.status = lambda other=other: other
        assert run("--port", fake.port, "update", image).status == 1


# The watchdog that the interrupted program started


def test_no_watchdog_is_started_where_none_runs(run, fake, image):
    assert run("--port", fake.port, "update", image).status == 0
    assert fake.machine.started == [] and fake.machine.fed == 0


def test_a_watchdog_bite_of_long_ago_starts_none(run, fake):
    fake.machine.cause = fake.machine.WDT_RESET
    assert run("--port", fake.port, "status").status == 0
    assert fake.machine.started == []


@pytest.mark.parametrize(
    "program",
    [
        "import machine\nwdt = machine.WDT(5000)",
        "import machine\nclass App: pass\napp = App()\napp.wdt = machine.WDT(5000)",
    ],
)
def test_a_watchdog_of_the_interrupted_program_is_found_and_fed(run, fake, image, program):
    fake.program = program
    assert run("--port", fake.port, "update", image).status == 0
    assert fake.machine.started[0] == 5000
    assert set(fake.machine.started[1:]) == {raw_repl._WATCHDOG_MS}
    assert fake.machine.fed > 5


@pytest.mark.usefixtures("quickly")
def test_a_watchdog_that_cannot_be_found_is_fed_after_its_first_bite(run, fake, image):
    resets_at(fake, "_receive('/updater/inbox")
    assert run("--port", fake.port, "push", image).status == 0
    assert fake.machine.started and fake.machine.fed > 2


@pytest.mark.parametrize(("chip", "register"), [("RP2040", 0x40058000), ("RP2350", 0x400D8000)])
@pytest.mark.parametrize("running", [True, False])
def test_on_rp2_the_enable_bit_says_whether_one_runs(run, fake, chip, register, running):
    fake.implementation._machine = f"Raspberry Pi Pico with {chip}"
    fake.machine.mem32 = {register: 0xC0001234 if running else 0x07000000}
    fake.program = "" if running else "import machine\nwdt = machine.WDT(5000)"
    fake.machine.started.clear()
    assert run("--port", fake.port, "status").status == 0
    assert (raw_repl._WATCHDOG_MS in fake.machine.started) == running


def test_the_updater_feeds_with_what_stm32up_gives_it(fake):
    fake.updater.events_to_come = [INSTALLED]
    with transport.connected(fake.port) as connection:
        calls.run(connection, lambda event: None)
    assert callable(fake.updater.feed)


BANNERS = {
    "a reset": b'MicroPython v1.29.0 on 2026-08-25; Pico\r\nType "help()" for more.\r\n>>> ',
    "a soft reset": b"MPY: soft reboot\r\nraw REPL; CTRL-B to exit\r\n>",
}


@pytest.mark.parametrize("banner", BANNERS.values(), ids=BANNERS.keys())
def test_a_board_that_comes_to_its_prompt_is_not_waited_for(fake, banner):
    """The call may be silent for ten minutes, and the test does not take so long."""

    def restarted(code: str) -> None:
        if code == "reset()":
            fake.output.write(banner)
            raise Reset

    fake.before_exec = restarted
    with transport.connected(fake.port) as connection:
        with pytest.raises(BoardReset):
            connection.exec("reset()", silence_s=600)
        connection.reconnect(expected=True)
        assert connection.exec("print(1)") == "1\n"


@pytest.mark.parametrize("banner", BANNERS.values(), ids=BANNERS.keys())
def test_a_banner_that_something_follows_ends_no_call(fake, banner):
    """A program prints it, and goes on."""
    fake.before_exec = lambda code: (
        fake.output.write(banner + b"\r\n") if "10_000_000" in code else None
    )
    with transport.connected(fake.port) as connection:
        assert connection.exec("for _ in range(10_000_000): pass\nprint(2)") == "2\n"
