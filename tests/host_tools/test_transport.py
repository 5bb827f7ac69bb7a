"""The adapter around mpremote: real mpremote against a board that answers like MicroPython."""

from __future__ import annotations

import hashlib
import socket
import threading

import pytest
from serial.tools import list_ports, list_ports_common

from stm32up.errors import DeviceError, NoBoard
from stm32up.host import transport


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

    def damage() -> None:
        with fake.file("/file.part").open("r+b") as part:
            part.write(b"bad")

    fake.before_read = damage
    with pytest.raises(DeviceError, match="arrived damaged"):
        connection.replace_file("/file", b"new" * 2000)  # more than one block
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


def usb(*ports):
    """What pyserial lists: (device, vendor, product id), and the names of product and manufacturer
    if it says them."""
    found = []
    for device, vid, pid, *names in ports:
        info = list_ports_common.ListPortInfo(device)
        info.vid, info.pid = vid, pid
        info.product, info.manufacturer = (*names, None, None)[:2]
        found.append(info)
    return found


BOARDS = {
    "Pico": (0x2E8A, 0x0005),
    "a board of another maker with an id of Raspberry Pi": (0x2E8A, 0x1020),
    "ESP32-S3": (0x303A, 0x1001),
    "MicroPython's own": (0xF055, 0x9802),
    "MicroPython on a Feather": (0x239A, 0x80F2, "Board in FS mode", "MicroPython"),
}
MAYBE_BOARDS = {
    "Feather RP2040": (0x239A, 0x80F1),
    "CircuitPython on a Feather": (0x239A, 0x80F2, "Feather RP2040", "Adafruit Industries LLC"),
    "Nano RP2040 Connect": (0x2341, 0x025E),
    "Arduino Uno": (0x2341, 0x0043),
    "Pro Micro RP2040": (0x1B4F, 0x0026),
    "XIAO RP2040": (0x2886, 0x0042),
}
PROBES = {
    "ST-LINK": (0x0483, 0x374B),
    "ST-LINK V3": (0x0483, 0x374E),
    "Debug Probe": (0x2E8A, 0x000C),
    "picoprobe": (0x2E8A, 0x0004),
    "J-Link": (0x1366, 0x0105),
    "DAPLink": (0x0D28, 0x0204),
    "WCH-Link": (0x1A86, 0x8010),
    "CMSIS-DAP on a board's own id": (0x239A, 0x1234, "Probe CMSIS-DAP"),
    "J-Link by its name": (0x2E8A, 0x1234, "J-Link OB"),
}
BRIDGES = {
    "FTDI": (0x0403, 0x6001),
    "CP2102": (0x10C4, 0xEA60),
    "CH340": (0x1A86, 0x7523),
    "PL2303": (0x067B, 0x2303),
}


def chosen(monkeypatch, *ports):
    """The chosen port, and the note about it."""
    monkeypatch.setattr(list_ports, "comports", lambda: usb(*ports))
    notes: list[str] = []
    return transport.find_port(notes.append), notes


@pytest.mark.parametrize("board", BOARDS.values(), ids=BOARDS.keys())
def test_a_board_is_known_among_probes_bridges_and_ports_of_the_computer(monkeypatch, board):
    other_ids = (PROBES | BRIDGES | MAYBE_BOARDS).values()
    others = [(f"/dev/p{n}", *ids) for n, ids in enumerate(other_ids)]
    ports = [*others, ("/dev/ttyS0", None, None), ("/dev/board", *board)]
    assert chosen(monkeypatch, *ports) == ("/dev/board", [])


@pytest.mark.parametrize("probe", PROBES.values(), ids=PROBES.keys())
def test_a_debug_probe_is_never_taken_for_the_board(monkeypatch, probe):
    with pytest.raises(NoBoard, match="no MicroPython board on USB.*/dev/ttyACM0"):
        chosen(monkeypatch, ("/dev/ttyACM0", *probe))
    bridge = ("/dev/ttyUSB0", *BRIDGES["CP2102"])
    assert chosen(monkeypatch, ("/dev/ttyACM0", *probe), bridge)[0] == "/dev/ttyUSB0"


@pytest.mark.parametrize("bridge", BRIDGES.values(), ids=BRIDGES.keys())
def test_a_lone_bridge_is_taken_but_not_in_silence(monkeypatch, bridge):
    device, notes = chosen(monkeypatch, ("/dev/ttyUSB0", *bridge), ("/dev/ttyS0", None, None))
    assert device == "/dev/ttyUSB0"
    assert len(notes) == 1 and "/dev/ttyUSB0" in notes[0] and "--port" in notes[0]


@pytest.mark.parametrize("board", MAYBE_BOARDS.values(), ids=MAYBE_BOARDS.keys())
def test_a_board_that_may_run_something_else_is_taken_but_not_in_silence(monkeypatch, board):
    bridge = ("/dev/ttyUSB0", *BRIDGES["CP2102"])
    device, notes = chosen(monkeypatch, bridge, ("/dev/ttyACM0", *board))
    assert device == "/dev/ttyACM0"
    assert len(notes) == 1 and "may run something else" in notes[0] and "--port" in notes[0]


@pytest.mark.parametrize(
    "kind", [BOARDS, MAYBE_BOARDS, BRIDGES], ids=["boards", "maybe", "bridges"]
)
def test_of_several_candidates_none_is_taken_and_all_are_named(monkeypatch, kind):
    first, second = list(kind.values())[:2]
    with pytest.raises(NoBoard, match="more than one .*: /dev/a, /dev/b. .*--port"):
        chosen(monkeypatch, ("/dev/b", *first), ("/dev/a", *second))


def test_ports_that_are_none_of_it_are_listed(monkeypatch):
    with pytest.raises(NoBoard, match="/dev/ttyACM0, /dev/ttyS0"):
        chosen(monkeypatch, ("/dev/ttyACM0", 0x1234, 0x5678), ("/dev/ttyS0", None, None))
    with pytest.raises(NoBoard, match="no serial ports"):
        chosen(monkeypatch)


def test_a_port_that_may_not_be_opened_names_the_group(tmp_path, monkeypatch):
    """The most common failure on Linux. Root may open every port, so the answer is faked."""
    port = tmp_path / "ttyACM0"
    port.touch()
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with (
        pytest.raises(NoBoard, match="has no permission to open") as caught,
        transport.connected(str(port)),
    ):
        pass
    assert "dialout" in caught.value.next_step
