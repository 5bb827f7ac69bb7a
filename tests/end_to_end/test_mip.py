"""The updater is installed by mip from a web server: by mpremote onto a simulated board, and by
mip in MicroPython itself."""

from __future__ import annotations

import functools
import io
import json
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from mpremote import mip

from stm32sim.chip.application import known_images
from stm32sim.host.micropython import MicroPythonHost
from stm32sim.in_process import Bench
from stm32up import device
from stm32up.errors import UsageError
from stm32up.host import mip_package
from tests import micropython_unix
from tests.simulator.host.client import mpremote
from tests.support import image, known, payload

OLD = payload(6000, 1)
RUN = "from stm32_updater import Updater; print(Updater.from_board('/board.json').run()['status'])"


@pytest.fixture(params=["source", "bytecode"])
def package(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """The folder with package.json."""
    if request.param == "source":
        return device.FIRMWARE
    assert mip_package.main([str(tmp_path / "mip")]) == 0
    return tmp_path / "mip"


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: Any) -> None:
        pass


@pytest.fixture
def url(package: Path) -> Iterator[str]:
    """Of that folder on a web server."""
    handler = functools.partial(Quiet, directory=str(package))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def files(package: Path) -> dict[str, bytes]:
    """What is to be in /lib."""
    urls = json.loads((package / "package.json").read_text())["urls"]
    return {target: (package / source).read_bytes() for target, source in urls}


def test_mpremote_installs_an_updater_that_runs(package, url):
    bench = Bench(applications=known_images(known(OLD)))
    with MicroPythonHost(
        bench.world.call, bench.world, executed=bench.world.executed, platform="rp2"
    ) as host:
        host.power_on()
        mpremote(
            host, "mip", "install", url if package == device.FIRMWARE else f"{url}/package.json"
        )
    bench.world.mount()
    for path, content in files(package).items():
        assert bench.read_file(f"/lib/{path}") == content
    bench.push(image(OLD))
    with MicroPythonHost(
        bench.world.call, bench.world, executed=bench.world.executed, platform="rp2"
    ) as host:
        host.power_on()
        assert mpremote(host, "exec", RUN).split()[-1] == "installed"
    assert bench.flash_holds(OLD)


def test_mip_on_the_host_itself_installs_the_same_files(package, url, tmp_path):
    target = tmp_path / "host" / "lib"
    target.mkdir(parents=True)
    told = micropython_unix.run(
        tmp_path / "host", f"import mip\nmip.install({url + '/'!r}, target={str(target)!r})\n"
    )
    assert told.splitlines()[-1] == "Done"
    found = {
        path.relative_to(target).as_posix(): path.read_bytes() for path in target.rglob("*.*py")
    }
    assert found == files(package)


class Files:
    """What mip writes."""

    def __init__(self) -> None:
        self.written: dict[str, bytes] = {}

    def fs_exists(self, path: str) -> bool:
        return True

    def fs_writefile(self, path: str, data: bytes, progress_callback: object = None) -> None:
        self.written[path] = data


def test_the_form_for_github_asks_for_the_files_of_that_tag(monkeypatch, capsys):
    """mpremote's own code, with the clone in the place of GitHub."""
    asked: list[str] = []

    def urlopen(url: str) -> io.BytesIO:
        asked.append(url)
        found = url.removeprefix("https://raw.githubusercontent.com/someone/stm32up/v0.1.0/")
        path = device.PROJECT / found
        if found == url or not path.is_file():
            raise urllib.error.HTTPError(url, 404, "Not Found", {}, None)  # type: ignore[arg-type]
        return io.BytesIO(path.read_bytes())

    monkeypatch.setattr(urllib.request, "urlopen", urlopen)
    board = Files()
    mip._install_package(
        board, "github:someone/stm32up/firmware", mip._PACKAGE_INDEX, "/lib", "v0.1.0", True
    )
    capsys.readouterr()
    assert board.written == {
        f"/lib/{path}": content for path, content in files(device.FIRMWARE).items()
    }
    assert len(asked) == len(board.written) + 1


def test_the_bytecode_package_refuses_a_folder_with_files_in_it(tmp_path, capsys):
    (tmp_path / "mine").write_text("")
    with pytest.raises(UsageError, match="is not empty"):
        mip_package.write(tmp_path)
    assert mip_package.main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == [tmp_path / "mine"]
