"""The adapter around mpremote: real mpremote against a board that answers like MicroPython."""

from __future__ import annotations

import hashlib
import socket
import threading

import pytest
from serial.tools import list_ports, list_ports_common

from stm32up import transport
from stm32up.errors import DeviceError, NoBoard


@pytest.fixture
def connection(fake):
    with transport.connected(fake.port) as connection:
        yield connection


def test_connecting_resets_the_board_and_resuming_does_not(fake):
    with transport.connected(fake.port):
        pass
    assert fake.soft_resets == 1
    with transport.connected(fake.port, resume=True) as connection:
        assert connection.exec("print(1 + 1)") == "2\n"
    assert fake.soft_resets == 1


def test_output_comes_line_by_line(connection):
    lines: list[str] = []
    connection.exec("for i in range(3): print('line', i)\nprint('end', end='')", lines.append)
    assert lines == ["line 0", "line 1", "line 2", "end"]


def test_an_exception_on_the_board_has_kind_and_trace(connection):
    with pytest.raises(DeviceError, match="the board raised ValueError: no") as raised:
        connection.exec("raise ValueError('no')")
    assert raised.value.kind == "ValueError"
    assert "Traceback" in raised.value.trace


def test_files_come_back_as_they_were_written(connection, payload):
    connection.make_folder("/a/b")
    connection.make_folder("/a/b")
    connection.replace_file("/a/b/file", payload)
    assert connection.read_file("/a/b/file") == payload
    assert connection.hash_file("/a/b/file") == (5000, hashlib.sha256(payload).hexdigest())
    assert connection.list_folder("/a/b") == [("file", False, 5000)]
    assert connection.list_folder("/a") == [("b", True, connection.list_folder("/a")[0].size)]
    connection.remove("/a/b/file")
    assert connection.list_folder("/a/b") == []


def test_what_is_not_there_is_told_apart_from_what_is_empty(connection):
    connection.replace_file("/empty", b"")
    assert connection.read_file("/empty") == b""
    assert connection.read_file("/missing") is None
    assert connection.hash_file("/missing") is None
    assert connection.list_folder("/missing") == []


def test_a_file_that_arrives_damaged_does_not_replace_the_old_one(fake, connection):
    connection.replace_file("/file", b"old")

    def damage(code: str) -> None:
        if "_swap(" in code and "def" not in code:
            fake.file("/file.part").write_bytes(b"bad")

    fake.before_exec = damage
    with pytest.raises(DeviceError, match="did not arrive"):
        connection.replace_file("/file", b"new" * 2000)  # more than one chunk
    assert fake.file("/file").read_bytes() == b"old"


@pytest.mark.parametrize(
    "port", ["/dev/no-such-port", "socket://127.0.0.1:1", "socket://", "socket://x:y", "zzz://1"]
)
def test_a_port_that_is_not_there_is_one_error_with_the_ports_that_are(port, capsys):
    with (
        pytest.raises(NoBoard, match=r"cannot open port .*(ports here|no serial ports)"),
        transport.connected(port),
    ):
        pass
    assert capsys.readouterr().out == ""


def test_something_that_is_not_micropython_is_one_error(capsys):
    server = socket.create_server(("127.0.0.1", 0))

    def babble() -> None:
        connection, _ = server.accept()
        connection.sendall(b"login: ")
        connection.close()

    threading.Thread(target=babble, daemon=True).start()
    port = f"socket://127.0.0.1:{server.getsockname()[1]}"
    with pytest.raises(NoBoard, match="does not answer as MicroPython"), transport.connected(port):
        pass
    server.close()
    assert capsys.readouterr().out == ""


def test_a_board_that_goes_away_is_one_error(fake):
    def unplug(code: str) -> None:
        raise ConnectionResetError

    with (
        pytest.raises(NoBoard, match="lost the board"),
        transport.connected(fake.port) as connection,
    ):
        fake.before_exec = unplug
        connection.exec("print(1)")


def test_an_st_link_is_never_taken_for_the_board(monkeypatch):
    def port(device, vid, pid):
        info = list_ports_common.ListPortInfo(device)
        info.vid, info.pid = vid, pid
        return info

    found = [
        port("/dev/ttyACM0", 0x0483, 0x374B),  # ST-LINK
        port("/dev/ttyS0", None, None),
        port("/dev/ttyUSB0", 0x10C4, 0xEA60),
        port("/dev/ttyACM1", 0x2E8A, 0x0005),
    ]
    monkeypatch.setattr(list_ports, "comports", lambda: found)
    assert transport.find_port() == "/dev/ttyACM1"
    twins = [*found, port("/dev/ttyACM2", 0x2E8A, 0x0005)]
    monkeypatch.setattr(list_ports, "comports", lambda: twins)
    with pytest.raises(NoBoard, match="more than one .*: /dev/ttyACM1, /dev/ttyACM2"):
        transport.find_port()
    monkeypatch.setattr(list_ports, "comports", lambda: found[:3])
    assert transport.find_port() == "/dev/ttyUSB0"
    monkeypatch.setattr(list_ports, "comports", lambda: found[:2])
    with pytest.raises(NoBoard, match="/dev/ttyACM0, /dev/ttyS0"):
        transport.find_port()


def test_a_port_that_may_not_be_opened_names_the_group(tmp_path, monkeypatch):
    """The commonest failure on Linux. Root may do all, so the answer is made."""
    port = tmp_path / "ttyACM0"
    port.touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(NoBoard, match="may not open") as caught, transport.connected(str(port)):
        pass
    assert "dialout" in caught.value.next_step
