"""Files to the board: what is on the line, and what the board must be able to buffer."""

from __future__ import annotations

import io
import random
from binascii import crc32
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stm32up.errors import ContactLost, DeviceError
from stm32up.host import sending, transport

STDIN_BYTES = 259  # of an ESP32: ports/esp32/mphalport.c


class Board:
    """The code of a board in CPython, which has no deflate. Its input is a buffer of limited size,
    which must be empty whenever the board writes."""

    def __init__(self, sender: Callable[[], bytes]) -> None:
        self.written = io.BytesIO()
        self.flushed: list[int] = []
        self.most = 0
        self._sender = sender
        self.unread = b""

    def receive(self, left: int) -> int:
        names: dict[str, Any] = {
            "io": io,
            "crc32": crc32,
            "feed": lambda: None,
            "_send": self._ask,
            "_deflate": None,
            "open": lambda path, mode: self,
            "sys": SimpleNamespace(stdin=SimpleNamespace(buffer=self)),
        }
        exec(sending.RECEIVER.format(taken=0), names)
        missing: int = names["_receive"]("", "", left)
        return missing

    def _ask(self, kind: int) -> None:
        self.unread += self._sender()
        self.most = max(self.most, len(self.unread))
        assert self.most <= STDIN_BYTES and b"\x03" not in self.unread

    def read(self, count: int) -> bytes:
        assert len(self.unread) >= count, "the board waits for nothing"
        data, self.unread = self.unread[:count], self.unread[count:]
        return data

    def write(self, data: bytes) -> None:
        assert not self.unread, "bytes arrive while the board writes"
        self.written.write(data)

    def flush(self) -> None:
        self.flushed.append(self.written.tell())

    def __enter__(self) -> Board:
        return self

    def __exit__(self, *args: object) -> None:
        pass


def sent(data: bytes, start: int = 0) -> tuple[Board, list[int]]:
    """The board after `data[start:]` has arrived, and the ends that were reported."""
    ends: list[int] = []
    board = Board(sending.Sender(data, start, deflate=False, written=ends.append))
    assert board.receive(len(data) - start) == 0 and not board.unread
    return board, ends


@given(st.binary(max_size=600), st.integers(0, 700))
def test_any_bytes_arrive_as_they_are_and_none_is_a_ctrl_c(data, start):
    assert sent(data, min(start, len(data)))[0].written.getvalue() == data[start:]


@pytest.mark.parametrize("data", [b"\x03" * 9000, bytes(range(256)) * 40])
def test_control_characters_are_data_too(data):
    assert sent(data)[0].written.getvalue() == data


def test_the_buffer_of_an_esp32_is_enough_and_is_used():
    board, _ = sent(random.Random(1).randbytes(20_000))
    assert board.most == sending.WINDOW * sending.PIECE == 256


def test_a_file_is_flushed_where_a_block_of_littlefs_is_full():
    """By DESIGN.md of littlefs: block 0 holds 4096 bytes, the others their pointers too."""
    board, ends = sent(bytes(40_000))
    assert board.flushed == [4096, 8188, 12276, 16368, 20452, 24544, 28632, 32724, 36804]
    assert ends == [0, *board.flushed]


@pytest.mark.parametrize("start", [1, 4095, 4096, 5000, 8188, 8189, 19_999])
def test_what_continues_is_flushed_at_the_same_places(start):
    board, _ = sent(bytes(20_000), start)
    ends = [end for end in (4096, 8188, 12276, 16368) if end > start]
    assert [start + at for at in board.flushed] == ends


@pytest.mark.parametrize("at", [0, 7, 300, 4500])
def test_a_block_with_a_changed_byte_is_not_written(at):
    data = random.Random(2).randbytes(10_000)
    sender = sending.Sender(data, 0, deflate=False, written=lambda end: None)
    position = 0

    def changed() -> bytes:
        nonlocal position
        piece = bytearray(sender())
        if position <= at < position + len(piece):
            piece[at - position] ^= 0x40
        position += len(piece)
        return bytes(piece)

    board = Board(changed)
    assert board.receive(len(data)) > 0
    assert board.written.getvalue() == data[: 0 if at < 4096 else 4096]


def test_only_what_deflate_shortens_by_an_eighth_is_deflated():
    def packed(data: bytes) -> int:
        return sum(len(pieces) for _, pieces in sending._blocks(data, 0, deflate=True))

    chance = random.Random(3)
    whole = packed(chance.randbytes(8188))
    assert whole == len([*sending._blocks(bytes(8188), 0, deflate=False)]) * whole // 2
    assert packed(bytes(chance.randrange(16) for _ in range(8188))) < 0.7 * whole
    assert packed(bytes(chance.randrange(240) for _ in range(8188))) == whole
    assert packed(bytes(8188)) == 2


# On a board


def calls_of(fake, run, *arguments):
    """The calls on the board, without those that connect and define."""
    fake.executed.clear()
    ran = run("--port", fake.port, "--json", *arguments)
    assert ran.status == 0
    return [code for code in fake.executed if "\ndef " not in code and code != "print(1)"]


def test_a_push_is_four_calls_however_long_it_is(run, fake, image):
    fake.file("/updater").mkdir()
    calls = calls_of(fake, run, "push", image)
    assert len(calls) == 4
    for part, call in zip(("_survey(", "_receive(", "_hash(", "os.rename("), calls, strict=True):
        assert part in call
    assert len(calls_of(fake, run, "push", image)) == 1  # already there


def test_a_push_cut_at_any_piece_goes_on_behind_the_last_whole_block(run, fake, image):
    part, whole = fake.file("/updater/inbox/app.part"), image.read_bytes()
    for cut in range(1, 88, 7):
        count = iter(range(1, 100))

        def unplug(cut=cut, count=count) -> None:
            if next(count) == cut:
                raise ConnectionResetError

        fake.before_read = unplug
        assert run("--port", fake.port, "push", image).status == 3
        there = part.stat().st_size
        assert there == (4096 if cut > 66 else 0) and part.read_bytes() == whole[:there]
        fake.before_read = lambda: None
        ran = run("--port", fake.port, "--json", "push", image)
        assert ran.result["sent"] == len(whole) - there
        assert fake.file("/updater/inbox/app.img").read_bytes() == whole
        fake.file("/updater/inbox/app.img").unlink()


@pytest.mark.parametrize("kind", ["changed", "lost"])
def test_a_byte_that_is_changed_or_lost_on_the_line_is_sent_again(
    run, fake, image, monkeypatch, kind
):
    monkeypatch.setattr(transport, "SILENCE_S", 0.5)
    count, read = iter(range(1000)), fake._read

    def damaged(size: int) -> bytes:
        if next(count) != 40:
            return read(size)
        if kind == "lost":
            read(1)
            return read(size)
        data = read(size)
        return data[:9] + bytes((data[9] ^ 1,)) + data[10:]

    monkeypatch.setattr(fake, "_read", damaged)
    ran = run("--port", fake.port, "--json", "push", image)
    assert ran.status == 0
    assert fake.file("/updater/inbox/app.img").read_bytes() == image.read_bytes()
    notes = [event["text"] for event in ran.events if event["event"] == "note"]
    assert len(notes) == 1 and "continuing where it stopped" in notes[0]


def test_after_an_exception_in_the_middle_of_a_file_the_board_still_answers(fake):
    with transport.connected(fake.port) as connection:

        def fail() -> None:
            raise MemoryError

        fake.before_read = fail
        with pytest.raises(DeviceError, match="too little memory"):
            connection.append_file("/file", b"x" * 9000)
        assert connection.exec("print(2)") == "2\n"


def test_a_deployed_file_that_is_changed_on_the_line_is_an_error(fake):
    fake.file("/file").write_bytes(b"old")
    with transport.connected(fake.port) as connection:
        fake._read = lambda count, read=fake._read: read(count)[:-1] + b"?"
        with pytest.raises(ContactLost, match="characters are changed on the line"):
            connection.replace_file("/file", b"new")
    assert fake.file("/file").read_bytes() == b"old"
