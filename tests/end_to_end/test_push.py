"""Pushing to real MicroPython: speed beside mpremote, wear of the host's flash, interruptions."""

from __future__ import annotations

import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from stm32sim.host.fat import FatFilesystem
from stm32sim.host.filesystem import HostFilesystem
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.host.seam import HostReset, join
from stm32up.host import deploy, push, transport
from stm32up.host.paths import INBOX
from tests.simulator.host.client import SAFETY_NET_S, mpremote, mpremote_command
from tests.simulator.host.conftest import World
from tests.support import image, payload
from tests.throttled_line import line_to

pytestmark = pytest.mark.slow


class Host(NamedTuple):
    """A simulated host without a target."""

    board: MicroPythonHost
    files: Any  # HostFilesystem or FatFilesystem
    flash: Any  # what counts its erases: HostFlash or FatFilesystem

    def read(self, path: str) -> bytes:
        with self.board.paused():
            handle = self.files.fs_open(path, "r")
            data: bytes = self.files.fs_read(handle, -1)
            self.files.fs_close(handle)
        return data


@pytest.fixture(params=["rp2", "esp32", "fat"])
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def host(kind: str) -> Iterator[Host]:
    world = World()
    files: Any = FatFilesystem() if kind == "fat" else HostFilesystem.of(kind, world.flash)
    platform = "rp2" if kind == "fat" else kind
    call = join(files.calls(), world.serve)
    with MicroPythonHost(call, files, platform=platform) as board:
        board.power_on()
        assert board.wait_idle(SAFETY_NET_S)
        yield Host(board, files, files if kind == "fat" else world.flash)


def image_file(folder: Path, content: bytes) -> Path:
    path = folder / "app.img"
    path.write_bytes(image(payload(8) + content))
    return path


def arrived(host: Host) -> bytes:
    """The flushed part of an image."""
    try:
        return host.read(f"{INBOX}/app.part")
    except OSError:
        return b""


def pushed(host: Host, path: Path, notes: list[str] | None = None) -> push.Pushed:
    def report(event: Any) -> None:
        if notes is not None and event["event"] == "note":
            notes.append(event["text"])

    with transport.connected(host.board.url) as connection:
        done = push.push(connection, path, report)
    assert host.read(f"{INBOX}/app.img") == path.read_bytes()
    return done


# Speed

SHORT, LONG = 1024, 16 * 1024
RANDOM = random.Random(5).randbytes(128 * 1024)


def firmware() -> bytes:
    """Stands for Thumb code, which deflate shortens to 0.66 and `repr`, as mpremote sends it,
    stretches to 3.0 (newlib 3.3 for Armv6-M); here it is 0.68 and 2.7."""
    code = b"".join(deploy.product_modules().values())
    return code.translate(bytes((5 * byte + 7) & 0xFF for byte in range(256)))


def seconds(*command: str | Path) -> float:
    began = time.monotonic()
    subprocess.run([*map(str, command)], check=True, capture_output=True, timeout=SAFETY_NET_S)
    return time.monotonic() - began


def both(port: str, path: Path) -> tuple[float, float]:
    """Seconds of mpremote and of stm32up for this file."""
    theirs = seconds(*mpremote_command(port, "fs", "cp", path, ":/copy"))
    ours = seconds(sys.executable, "-m", "stm32up", "--port", port, "push", path)
    return theirs, ours


@pytest.mark.parametrize("kind", ["rp2"])
def test_at_115200_baud_a_file_takes_a_fraction_of_mpremotes_time(host, tmp_path):
    """What 15 KB more take, of random bytes, which cannot be compressed: the time to start and to
    connect is that of any command. A computer that is busy with something else gets a second
    try."""
    with line_to(host.board.port) as port:
        for left in (1, 0):
            few = both(port, image_file(tmp_path, RANDOM[:SHORT]))
            many = both(port, image_file(tmp_path, RANDOM[left:LONG]))
            theirs, ours = (long - short for long, short in zip(many, few, strict=True))
            if theirs > 2.5 * ours:
                return
    pytest.fail(f"{theirs:.1f} s are less than 2.5 times {ours:.1f} s: {few}, {many}")


@pytest.mark.parametrize("kind", ["rp2"])
def test_the_line_carries_a_fraction_of_mpremotes_bytes(host, tmp_path):
    """Whole commands, and exact, whatever else the computer does."""
    counts = [0, 0]

    def count(at: int, data: bytes) -> bytes:
        counts[turn] += len(data)
        return data

    path = image_file(tmp_path, firmware()[: 40 * 1024])
    with line_to(host.board.port, 10e6, count) as port:
        turn = 0
        mpremote(port, "fs", "cp", path, ":/copy")
        turn = 1
        seconds(sys.executable, "-m", "stm32up", "--port", port, "push", path)
    assert counts[0] > 3.3 * counts[1], counts


@pytest.mark.parametrize("kind", ["rp2"])
def test_on_an_unlimited_line_a_push_is_not_slower_than_mpremote(host, tmp_path):
    for size in (110, 120):  # a second try, as above
        theirs, ours = both(host.board.url, image_file(tmp_path, RANDOM[: size * 1024]))
        if ours < theirs:
            return
    pytest.fail(f"{ours:.1f} s, and mpremote {theirs:.1f} s")


# Wear and interruptions


@pytest.mark.parametrize(("kind", "erases"), [("rp2", 35), ("esp32", 33)])
def test_a_push_of_128_kb_wears_few_blocks(host, tmp_path, erases):
    """It needs 33 blocks; the others are those of the folder."""
    path = image_file(tmp_path, RANDOM[8:])
    before = host.flash.erases
    pushed(host, path)
    assert host.flash.erases - before <= erases + 2  # the two new folders


@pytest.mark.parametrize("cut", [1, 9, 20, 30])
def test_a_push_goes_on_by_itself_after_a_reset_of_the_board(
    host, tmp_path, monkeypatch, kind, cut
):
    monkeypatch.setattr(transport, "SILENCE_S", 0.5)
    path, left = image_file(tmp_path, RANDOM[: 24 * 1024]), iter(range(1000))

    def tap(what: str, block: int) -> None:
        if what == "prog" and next(left) == cut:
            raise HostReset

    host.flash.tap = tap
    notes: list[str] = []
    pushed(host, path, notes)
    assert any("continuing where it stopped" in text for text in notes)


@pytest.mark.parametrize("kind", ["rp2"])
def test_what_has_arrived_before_a_reset_is_not_sent_again(host, tmp_path, monkeypatch):
    monkeypatch.setattr(transport, "SILENCE_S", 0.5)
    path, left = image_file(tmp_path, RANDOM[: 24 * 1024]), iter(range(1000))

    def tap(what: str, block: int) -> None:
        if what == "erase" and next(left) == 6:
            raise HostReset

    host.flash.tap = tap
    before = host.flash.erases
    done = pushed(host, path)
    arrived = path.stat().st_size - done["sent"]
    assert arrived in (12276, 16368, 20452)  # whole blocks
    assert host.flash.erases - before <= 7 + 4  # none is copied


@pytest.mark.parametrize("kind", ["rp2", "esp32"])
@pytest.mark.parametrize("at", [6200, 9000, 20_000])
def test_a_byte_that_the_line_loses_is_sent_again(host, tmp_path, monkeypatch, at):
    monkeypatch.setattr(transport, "SILENCE_S", 0.5)

    def lose(position: int, data: bytes) -> bytes:
        return data[1:] if position <= at < position + len(data) else data

    path = image_file(tmp_path, RANDOM[: 24 * 1024])
    with line_to(host.board.port, 10e6, lose) as port, transport.connected(port) as connection:
        notes: list[Any] = []
        push.push(connection, path, notes.append)
    assert host.read(f"{INBOX}/app.img") == path.read_bytes()
    assert any("continuing where it stopped" in event.get("text", "") for event in notes)


@pytest.mark.parametrize("kind", ["rp2"])
def test_a_push_that_the_user_interrupts_goes_on_with_the_next(host, tmp_path):
    path = image_file(tmp_path, RANDOM[: 24 * 1024])

    def interrupt(event: Any) -> None:
        if event["event"] == "progress" and event["done"] > 9000:
            raise KeyboardInterrupt

    with (
        pytest.raises(KeyboardInterrupt),
        transport.connected(host.board.url) as connection,
    ):
        push.push(connection, path, interrupt)
    assert pushed(host, path)["sent"] == path.stat().st_size - 12276


@pytest.mark.parametrize("kind", ["rp2"])
def test_the_next_program_gets_a_board_whose_push_was_killed(host, tmp_path):
    path = image_file(tmp_path, RANDOM[: 24 * 1024])
    with line_to(host.board.port) as port:
        command = [sys.executable, "-m", "stm32up", "--port", port, "push", str(path)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        while len(arrived(host)) < 4096:
            time.sleep(0.05)
        process.kill()
        process.wait()
    assert mpremote(host.board.url, "exec", "print('alive')").split() == ["alive"]
    assert pushed(host, path)["sent"] < path.stat().st_size


@pytest.mark.parametrize("kind", ["rp2"])
def test_a_board_without_deflate_gets_the_same_bytes(host, tmp_path, monkeypatch):
    without = transport._INFLATED.replace("'deflate'", "'no_such_module'")
    monkeypatch.setattr(transport, "_INFLATED", without)
    path = image_file(tmp_path, firmware()[: 24 * 1024])
    assert pushed(host, path)["sent"] == path.stat().st_size
