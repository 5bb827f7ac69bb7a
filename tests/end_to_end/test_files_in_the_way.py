"""User files that hide the updater or its imports, and unsuitable hosts, in real MicroPython; and
such files on the desktop."""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from stm32up.board import boards
from stm32up.cli import main
from stm32up.doctor import examine
from stm32up.errors import DeviceError, HostUnfit
from stm32up.events import Examined, Values
from stm32up.host import deploy, host_facts, session
from stm32up.host.transport import Connection
from tests.end_to_end.conftest import BOARDS, ON_BOTH_HOSTS

PICO = BOARDS["rp2"]
COMPILED = functools.cache(deploy.compiled)


@pytest.fixture(autouse=True)
def compiled_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deploy, "compiled", COMPILED)
    monkeypatch.setattr(examine, "compiled", COMPILED)


@pytest.fixture(scope="module")
def connection(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Connection]:
    """One simulated board for all tests; each leaves it unchanged."""
    folder = tmp_path_factory.mktemp("board")
    with session.opened(f"sim:{folder}", boards.load(PICO), lambda event: None) as opened:
        yield opened


@contextlib.contextmanager
def there(connection: Connection, path: str, content: str | None) -> Iterator[None]:
    """Make a file on the host, or a folder if the content is None."""
    if content is None:
        connection.make_folder(path)
    else:
        connection.replace_file(path, content.encode())
    try:
        yield
    finally:
        (connection.remove if content is not None else connection.remove_folder)(path)


def deployed(connection: Connection) -> Values:
    return deploy.deploy(connection, boards.load(PICO), lambda event: None)


def diagnosis(connection: Connection) -> Examined:
    path = connection.exec("print(sys.path)").strip()
    try:
        return examine.doctor(connection, boards.load(PICO))
    finally:  # as the reset at the beginning of the next command does
        connection.exec(f"import vfs\nvfs.umount('/ram')\nsys.path[:] = {path}")
        connection.exec(
            "for n in [n for n in sys.modules if n.startswith('stm32_')]: del sys.modules[n]"
        )


@pytest.mark.parametrize(
    "path, content",
    [
        ("/stm32_updater.py", "print('mine')"),
        ("/stm32_updater.mpy", "M"),
        ("/stm32_updater", None),
    ],
)
def test_another_updater_in_the_root_is_named(connection, path, content):
    with there(connection, path, content):
        with pytest.raises(HostUnfit, match=f"^{path} is imported instead of /lib/stm32_updater"):
            deployed(connection)
        assert diagnosis(connection)["error"] == "updater-hidden"


def test_an_updater_in_the_current_folder_or_another_of_the_path_is_named(connection):
    connection.make_folder("/app")
    with there(connection, "/app/stm32_updater.py", ""):
        for change, back in (
            ("os.chdir('/app')", "os.chdir('/')"),
            ("sys.path.insert(0, '/app')", "sys.path.remove('/app')"),
            ("sys.path.insert(1, 'app')", "sys.path.remove('app')"),
        ):
            connection.exec(change)
            try:
                with pytest.raises(HostUnfit, match="^/app/stm32_updater.py is imported instead"):
                    deployed(connection)
            finally:
                connection.exec(back)
        connection.exec("sys.path.append('/app')")  # after /lib
        assert deployed(connection)["copied"] == []
        connection.exec("sys.path.remove('/app')")


def test_a_path_without_lib_is_named(connection):
    connection.exec("sys.path.remove('/lib')")
    try:
        with pytest.raises(HostUnfit, match="/lib is not in the host's sys.path"):
            deployed(connection)
    finally:
        connection.exec("sys.path.append('/lib')")


@pytest.mark.parametrize(
    "name", ["json", "binascii", "time", "struct", "os", "hashlib", "asyncio", "machine"]
)
def test_a_file_that_hides_a_built_in_module_is_named(connection, name):
    with there(connection, f"/{name}.py", "ours = 1"):
        with pytest.raises(HostUnfit, match=f"^/{name}.py is imported instead of the built-in"):
            deployed(connection)
        found = diagnosis(connection)
        assert found["error"] == "built-in-hidden"
        assert f"/{name}.py" in found["findings"][0]["evidence"][0]
    assert deployed(connection)["copied"] == []


@pytest.mark.parametrize(
    "content, lacks",
    [
        ("def dumps(x): pass\ndef loads(x): pass\n", ""),
        ("def dumps(x): pass\n", "loads"),
        ("import nothing_of_that_name\n", "ImportError"),
        ("this is no program\n", "SyntaxError"),
        ("raise SystemExit\n", "SystemExit"),
        ("print({'platform': 'rp2'})\n", "dumps, loads"),
    ],
)
def test_what_a_hiding_file_lacks_is_told(connection, content, lacks):
    with there(connection, "/json.py", content):
        if lacks:
            with pytest.raises(HostUnfit, match=lacks):
                deployed(connection)
        else:  # as an extension of micropython-lib
            assert deployed(connection)["copied"] == []
            codes = [finding["code"] for finding in diagnosis(connection)["findings"]]
            assert "built-in-replaced" in codes and "built-in-hidden" not in codes


def test_a_folder_hides_a_built_in_module_too(connection):
    named = pytest.raises(HostUnfit, match="^/json is imported .* fs rm -r :/json")
    with there(connection, "/json", None), named:
        deployed(connection)


def test_what_cannot_be_hidden_is_not_complained_of(connection):
    with there(connection, "/micropython.py", ""), there(connection, "/sys.py", ""):
        assert host_facts.look(connection).hidden == ()


@pytest.mark.parametrize(
    "module", ["stm32_updater/__init__", "stm32_updater/flasher", "stm32_rom/chips"]
)
@pytest.mark.parametrize("damage", ["version", "empty"])
def test_a_module_of_another_version_is_found_and_mended(connection, module, damage):
    path = f"/lib/{module}.mpy"
    content = bytearray(connection.read_file(path) or b"")
    content[1] = 5
    connection.replace_file(path, bytes(content) if damage == "version" else b"")
    found = diagnosis(connection)
    assert found["error"] == "updater-broken", found["findings"]
    assert "ValueError: incompatible .mpy" in found["findings"][0]["evidence"][0]
    assert deployed(connection)["copied"] == [path]
    assert diagnosis(connection).get("error") != "updater-broken"


def test_verbs_name_what_hides_the_updater_or_a_module(stm32up):
    board = boards.load(stm32up.board)
    for path, content in (("/json.py", "x = 1"), ("/stm32_updater.py", "")):
        with session.opened(f"sim:{stm32up.folder}", board, lambda event: None) as opened:
            opened.replace_file(path, content.encode())
        ran = stm32up("status")
        assert ran.status == 1 and f"{path} is imported instead" in ran.result["message"]
        with session.opened(f"sim:{stm32up.folder}", board, lambda event: None) as opened:
            opened.remove(path)


def test_a_host_whose_boot_py_unmounts_everything_has_no_filesystem(stm32up, images):
    board = boards.load(stm32up.board)
    with session.opened(f"sim:{stm32up.folder}", board, lambda event: None) as opened:
        opened.replace_file("/boot.py", b"import os\nos.umount('/')\n")
    blank = ("blank-host=1",)
    assert stm32up("doctor", sim=blank).result["error"] == "no-filesystem"
    image = images / "app-1.0.0.img"
    for verb in (["deploy"], ["status"], ["push", image], ["update", image]):
        message = stm32up(*verb, sim=blank).result["message"]
        assert message == "nothing is mounted at /: the host has no filesystem"


@ON_BOTH_HOSTS
def test_a_deployment_fits_where_it_says_that_it_fits(host, tmp_path, capfd):
    """Deploying succeeds with exactly the needed blocks free, and is refused with one less."""
    board = BOARDS[host]
    port = f"sim:{tmp_path}"
    blank = ["blank-host=1"]
    with session.opened(port, boards.load(board), lambda event: None, options=blank) as opened:

        def trial() -> int:
            """0 if it was deployed, otherwise the number of missing bytes."""
            try:
                deploy.deploy(opened, boards.load(board), lambda event: None)
            except DeviceError as error:
                free, needed = map(int, re.findall(r"\d+", error.message)[:2])
                assert opened.list_folder("/lib") == []
                return needed - free
            return 0

        block = host_facts.look(opened).block
        fill = "with open('/fill{}', 'wb') as f:\n for i in range({}): f.write(bytes({}))"
        opened.exec(fill.format(0, opened.free_space() // block - 8, block - 16))
        needed = trial() + opened.free_space()
        opened.remove("/fill0")
        left = (opened.free_space() - needed) // block
        opened.exec(fill.format(1, left, block - 16))
        while opened.free_space() > needed - block:
            opened.exec(
                f"with open('/x' + str({opened.free_space()}), 'wb') as f: f.write(bytes(3000))"
            )
        assert 0 < trial() <= 2 * block
        for file in opened.list_folder("/"):
            if file.name.startswith("x") and opened.free_space() < needed:
                opened.remove(f"/{file.name}")
        assert opened.free_space() == needed
        assert trial() == 0


def test_files_of_the_desktop_folder_are_not_imported_by_the_simulation(
    tmp_path, monkeypatch, capfd
):
    for name in ("json", "time", "struct", "os", "stm32sim", "select", "asyncio", "machine"):
        (tmp_path / f"{name}.py").write_text(f"raise RuntimeError('imported {name} of the user')")
    monkeypatch.chdir(tmp_path)
    assert main.run(["--port", "sim", "--json", "status"]) == 0, capfd.readouterr()
    assert Path("json.py").exists()
