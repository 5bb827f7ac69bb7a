"""The download of http_fetch.py in MicroPython with its own sockets and micropython-lib's
`requests`, from a real server whose connections break."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from stm32up import device
from tests import micropython_unix
from tests.examples.web_server import WebServer
from tests.support import image, payload

EXAMPLE = (device.PROJECT / "examples" / "http_fetch.py").read_text()
OLD, NEW = image(payload(60_000, 1)), image(payload(50_000, 2))
NETWORK = """
STA_IF = 0

class WLAN:
    def __init__(self, interface):
        pass
    def active(self, value):
        pass
    def isconnected(self):
        return True
"""
FETCH = """
try:
    fetch()
    print("fetched")
except OSError as error:
    print(repr(error))
"""


class Download:
    """The functions of the example, in a folder of their own."""

    def __init__(self, root: Path, server: WebServer) -> None:
        self.part = root / "updater/inbox/fetched.part"
        self.image = root / "updater/inbox/fetched.img"
        self.tag = root / "fetched.etag"
        self._root = root
        self.part.parent.mkdir(parents=True)
        for package in device.product():
            shutil.copytree(package, root / "lib" / package.name)
        (root / "lib" / "network.py").write_text(NETWORK)
        functions = EXAMPLE.partition("\npause = ")[0]
        self.program = (
            functions.replace("http://updates.example/app.img", server.url)
            .replace('"/updater/', f'"{root}/updater/')
            .replace('"/fetched', f'"{root}/fetched')
        )

    def fetch(self) -> str:
        return micropython_unix.run(self._root, self.program + FETCH).strip()


@pytest.fixture
def server() -> Iterator[WebServer]:
    with WebServer() as started:
        started.offer(OLD, '"old"')
        yield started


@pytest.fixture
def download(tmp_path: Path, server: WebServer) -> Download:
    return Download(tmp_path, server)


def test_an_image_arrives_whole_and_only_once(download, server):
    assert download.fetch() == "fetched"
    assert download.image.read_bytes() == OLD and not download.part.exists()
    download.image.unlink()
    download.fetch()
    assert server.statuses == [200, 304] and not download.image.exists()


@pytest.mark.parametrize("resets", [False, True], ids=["end", "reset"])
def test_what_arrived_before_the_connection_broke_is_not_fetched_again(download, server, resets):
    server.breaks, server.resets = [20_000, 10_000], resets
    errors = [download.fetch(), download.fetch()]
    assert all(error.startswith("OSError") for error in errors), errors
    assert OLD.startswith(download.part.read_bytes()) and not download.image.exists()
    there = download.part.stat().st_size
    assert download.fetch() == "fetched"
    assert download.image.read_bytes() == OLD
    assert server.statuses == [200, 206, 206]
    assert server.answers[-1] == (206, len(OLD) - there)
    if not resets:
        assert there == 30_000


def test_an_image_that_changed_meanwhile_is_fetched_from_its_beginning(download, server):
    server.breaks = [20_000]
    download.fetch()
    server.offer(NEW, '"new"')
    assert download.fetch() == "fetched"
    assert download.image.read_bytes() == NEW and server.statuses == [200, 200]
    assert download.tag.read_text() == '"new"'


def test_a_server_without_ranges_sends_all_of_it_again(download, server):
    server.breaks, server.ranges = [20_000], False
    download.fetch()
    assert download.fetch() == "fetched"
    assert download.image.read_bytes() == OLD and server.statuses == [200, 200]


def test_a_file_that_was_complete_but_not_renamed_is_kept(download, server):
    download.part.write_bytes(OLD)
    download.tag.write_text('"old"')
    assert download.fetch() == "fetched"
    assert download.image.read_bytes() == OLD and server.answers == [(416, 0)]


def test_a_part_that_is_longer_than_the_image_is_dropped(download, server):
    download.part.write_bytes(OLD + b"?")
    download.tag.write_text('"old"')
    assert download.fetch() == "OSError('the server answers 416',)"
    assert not download.part.exists()
    assert download.fetch() == "fetched" and download.image.read_bytes() == OLD


def test_a_power_cut_just_before_the_first_byte_loses_nothing_but_the_time(download, server):
    download.part.write_bytes(b"")
    download.tag.write_text('"old"')
    assert download.fetch() == "fetched"
    assert download.image.read_bytes() == OLD and server.statuses == [200]


def test_a_server_error_does_not_cost_what_is_there(download, server):
    server.breaks = [20_000]
    download.fetch()
    server.fails = 503
    assert download.fetch() == "OSError('the server answers 503',)"
    server.fails = None
    assert download.fetch() == "fetched" and server.answers[-1] == (206, len(OLD) - 20_000)


def test_an_answer_without_a_length_is_refused(download, server):
    server.tells_length = False
    assert "does not say how long" in download.fetch()
    assert not download.image.exists()


def test_a_part_of_another_image_is_not_joined_to_this_one(download, server):
    """By a server that knows no If-Range."""
    server.breaks = [20_000]
    download.fetch()
    server.offer(NEW, '"new"')
    server.heeds_if_range = False
    assert "a part of another image" in download.fetch()
    assert download.fetch() == "fetched" and download.image.read_bytes() == NEW
